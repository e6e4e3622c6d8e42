"""Data of a report: metrics, curves, errors and their pictures, all computed when the report is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pairsim._common.arrays import Float64Array
from pairsim._common.unit_similarity import MATCH_TOLERANCE, lowest_match
from pairsim.data import ImageFiles, PairDataset
from pairsim.errors import DataError
from pairsim.evaluation import RocCurve, label_agreement
from pairsim.evaluation.curve_data import Reliability, ScoreHistogram, match_counts, reliability, score_histogram
from pairsim.evaluation.errors.class_errors import ClassErrors, breakdown
from pairsim.evaluation.errors.pair_errors import RankedPairs, worst_given_pairs, worst_pairs
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.models import SimilarityModel
from pairsim.verification.model_evaluation import Groups, report_on, to_probability
from pairsim.verification.scoring import AllPairsScored, score_pairs
from pairsim.verification.verification_report import VerificationReport
from pairsim.visual.page.pixels import fetch_separate, png_data_uri, to_pixels

STEPS_PER_UNIT = 1000
"""Thresholds of the slider in a report, in a similarity range of length 1."""

_BINS, _CURVE_POINTS = 100, 400


@dataclass(frozen=True, kw_only=True)
class ShownImage:
    """An image of the dataset.

    Attributes:
        uri: Its picture, as a data URI; empty if it is an embedding of another model.
        number: Its index in the dataset.
        name: Its class; of given pairs the name of its file with its folder, where there is one.
    """

    uri: str
    number: int
    name: str


@dataclass(frozen=True, kw_only=True)
class PairError:
    """A false match or a false non-match.

    Attributes:
        images: The two images.
        similarity: Their similarity.
        probability: Probability that they show the same class.
    """

    images: tuple[ShownImage, ShownImage]
    similarity: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An image that is more similar to the images of another class than to those of its own.

    Attributes:
        image: The image.
        proposed: The other class.
        margin: Difference of the similarities.
    """

    image: ShownImage
    proposed: str
    margin: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Data of a report on a model and labelled images, or given pairs, which have no classes and no suspects.

    Attributes:
        figures: The result of `evaluate`.
        thresholds: Thresholds of the slider `[T]`, ascending.
        matching_positive: Positive pairs that match at each threshold `[T]`.
        matching_negative: Negative pairs that match at each threshold `[T]`.
        histogram: Histogram of the similarities of positive and negative pairs.
        curve: At most 400 exact points of the ROC and DET curve, dense where an error is small.
        reliability: Reliability of the probabilities.
        classes: Errors of each class.
        false_matches: The false matches with the highest similarity.
        num_false_matches: Number of all false matches.
        false_non_matches: The false non-matches with the lowest similarity.
        num_false_non_matches: Number of all false non-matches.
        suspects: Images whose label is probably wrong, the largest margin first.
        num_suspects: Number of all images that are more similar to another class.
    """

    figures: VerificationReport
    thresholds: Float64Array
    matching_positive: IntArray
    matching_negative: IntArray
    histogram: ScoreHistogram
    curve: RocCurve
    reliability: Reliability
    classes: tuple[ClassErrors, ...]
    false_matches: tuple[PairError, ...]
    num_false_matches: int
    false_non_matches: tuple[PairError, ...]
    num_false_non_matches: int
    suspects: tuple[Suspect, ...]
    num_suspects: int


def find(
    model: SimilarityModel,
    dataset: Any,
    *,
    names: Sequence[str] | None = None,
    most: int = 12,
    groups: Groups | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Findings:
    """Evaluate a model on all pairs of labelled images, or on given pairs, and collect the data of a report.

    Args:
        model: The model, with its own threshold.
        dataset: Labelled, map-style, or a `PairDataset`.
        names: A name for each class, in the order of the sorted labels; by default the labels.
        most: Maximum number of errors of each kind, and of suspects.
        groups: Groups of images or pairs, as for `evaluate`.
        batch_size: Images embedded at once.
        progress: Whether to show a progress bar.

    Returns:
        The data, with pictures of the errors and suspects that are listed.

    Raises:
        DataError: If there are fewer than two images, names do not fit, or the model has no threshold.
    """
    threshold = model.threshold
    if not math.isfinite(threshold):
        raise DataError(
            f"Expected a model with a threshold, got {threshold}: its probability does not rise with similarity. Train "
            "it longer, or choose a threshold with: pairsim calibrate"
        )
    scored = score_pairs(model, dataset, batch_size=batch_size, progress=progress)
    all_pairs = scored if isinstance(scored, AllPairsScored) else None
    class_names = list[str]()
    if all_pairs is not None:
        class_names = [str(name) for name in all_pairs.classes] if names is None else list(names)
        if len(class_names) != len(all_pairs.classes):
            raise DataError(
                f"Expected a name for each of {len(all_pairs.classes)} classes, got {len(class_names)}. Leave names "
                "out to use the labels."
            )
    images = dataset.dataset if isinstance(dataset, PairDataset) else dataset

    def shown(number: int) -> ShownImage:
        uri = ""
        if not model.preprocessing.of_vectors:
            image = fetch_separate(images, [number], model.preprocessing)
            uri = png_data_uri(to_pixels(image, model.preprocessing)[0])
        name = class_names[all_pairs.codes[number]] if all_pairs is not None else _file_name(images, number)
        return ShownImage(uri=uri, number=number, name=name)

    def errors(pairs: RankedPairs) -> tuple[PairError, ...]:
        probability = model.probability(torch.from_numpy(pairs.similarity.astype(np.float32))).tolist()
        rows = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.similarity.tolist(), probability, strict=True)
        return tuple(PairError(images=(shown(a), shown(b)), similarity=s, probability=p) for a, b, s, p in rows)

    suspects: tuple[Suspect, ...] = ()
    num_suspects = 0
    if all_pairs is not None and len(class_names) > 1:
        agreement = label_agreement(all_pairs.embeddings, all_pairs.codes)
        margins = np.nan_to_num(agreement.score, nan=-np.inf)
        num_suspects = int(np.count_nonzero(margins > 0))
        suspects = tuple(
            Suspect(image=shown(k), proposed=class_names[int(agreement.proposed[k])], margin=float(margins[k]))
            for k in np.argsort(-margins, kind="stable")[: min(most, num_suspects)].tolist()
        )
    lowest_matching, classes = lowest_match(threshold), tuple[ClassErrors, ...]()
    if isinstance(scored, AllPairsScored):
        worst = worst_pairs(scored.embeddings, scored.codes, lowest_matching, most)
        classes = breakdown(scored.embeddings, scored.codes, lowest_matching, names=class_names).class_errors
    else:
        columns = scored.similarity, scored.target, scored.first, scored.second
        worst = worst_given_pairs(*columns, threshold=lowest_matching, n=most)
    # From the lowest similarity or the model's threshold on.
    lowest = min(threshold, *(float(ranked.values[0]) for ranked in scored.pairs.ranked if ranked.size))
    thresholds = np.round(np.arange(-STEPS_PER_UNIT, STEPS_PER_UNIT + 1) / STEPS_PER_UNIT, 6)
    thresholds = thresholds[max(int(np.searchsorted(thresholds, lowest, side="right")) - 1, 0) :]
    matching_positive, matching_negative = match_counts(scored.pairs, thresholds - MATCH_TOLERANCE)
    return Findings(
        figures=report_on(model, scored, groups=groups),
        thresholds=thresholds,
        matching_positive=matching_positive,
        matching_negative=matching_negative,
        histogram=score_histogram(scored.pairs, _BINS, low=float(thresholds[0]), high=1.0),
        curve=scored.pairs.roc_curve(_CURVE_POINTS),
        reliability=reliability(scored.pairs, to_probability(model)),
        classes=classes,
        false_matches=errors(worst.false_matches),
        num_false_matches=worst.false_matches.total,
        false_non_matches=errors(worst.false_non_matches),
        num_false_non_matches=worst.false_non_matches.total,
        suspects=suspects,
        num_suspects=num_suspects,
    )


def _file_name(images: Any, number: int) -> str:
    """Return the name of the file of an image with its folder; its number where there is no file."""
    return "/".join(Path(images.paths[number]).parts[-2:]) if isinstance(images, ImageFiles) else f"{number}"
