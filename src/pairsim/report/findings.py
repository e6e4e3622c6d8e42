"""What a report is made of: figures, curves, mistakes and their pictures, all measured when it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim._common.unit_similarity import lowest_match
from pairsim.data.image_sets import fetch_images
from pairsim.errors import DataError
from pairsim.evaluation import label_agreement
from pairsim.evaluation.errors.class_errors import ClassErrors, breakdown
from pairsim.evaluation.errors.pair_errors import RankedPairs, worst_pairs
from pairsim.evaluation.pairs.ranked import IntArray, count_matches
from pairsim.models import SimilarityModel
from pairsim.verification.model_evaluation import report_on, to_probability
from pairsim.verification.scoring import AllPairsScored, score_pairs
from pairsim.verification.verification_report import VerificationReport
from pairsim.visual.page.pixels import png_data_uri, to_pixels

STEP = 0.001
"""Distance of the thresholds that a report can be read at."""

_BINS = 100
_MOST_POINTS = 4000


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A pair that was judged wrongly.

    Attributes:
        images: Their pictures, as data URIs.
        names: Their classes.
        numbers: Their places in the dataset.
        similarity: Their similarity.
        probability: The model's probability that they show the same thing.
    """

    images: tuple[str, str]
    names: tuple[str, str]
    numbers: tuple[int, int]
    similarity: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """An image that looks like those of another class than its own.

    Attributes:
        image: Its picture, as a data URI.
        name: Its class.
        proposed: The class that it looks like.
        number: Its place in the dataset.
        margin: How much more similar it is to the images of that class.
    """

    image: str
    name: str
    proposed: str
    number: int
    margin: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report shows of a model on labelled images.

    Attributes:
        figures: What `evaluate` gives.
        thresholds: Where the two counts are given `[T]`, ascending.
        matching_positive: Positive pairs that match at each threshold `[T]`.
        matching_negative: Negative pairs likewise.
        edges: Bins of similarity `[B + 1]`.
        positive_share: Share of the positive pairs in each bin `[B]`.
        negative_share: Share of the negative pairs likewise.
        fmr: False match rate along the curve `[K]`.
        fnmr: False non-match rate along it.
        predicted: Mean probability of each bin of probabilities.
        observed: Share of positive pairs in it; NaN where it is empty.
        classes: Errors of each class.
        false_matches: The false matches of the highest similarity.
        num_false_matches: How many there are.
        false_non_matches: The false non-matches of the lowest similarity.
        num_false_non_matches: How many there are.
        suspects: Images whose label the others contradict, the clearest first.
        num_suspects: How many there are.
    """

    figures: VerificationReport
    thresholds: Float64Array
    matching_positive: IntArray
    matching_negative: IntArray
    edges: Float64Array
    positive_share: Float64Array
    negative_share: Float64Array
    fmr: Float64Array
    fnmr: Float64Array
    predicted: Float64Array
    observed: Float64Array
    classes: tuple[ClassErrors, ...]
    false_matches: tuple[Mistake, ...]
    num_false_matches: int
    false_non_matches: tuple[Mistake, ...]
    num_false_non_matches: int
    suspects: tuple[Suspect, ...]
    num_suspects: int


def find(
    model: SimilarityModel,
    dataset: Any,
    *,
    names: Sequence[str] | None = None,
    most: int = 12,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> Findings:
    """Judge all pairs of labelled images, and look for what a report shows.

    Args:
        model: The model, at its own threshold.
        dataset: Labelled, map-style.
        names: A name for each class, in the order of the sorted labels; by default the labels.
        most: Mistakes of each kind, and suspects, at most.
        batch_size: Images embedded at once.
        progress: Whether to show a progress bar.

    Returns:
        The findings, with pictures of the mistakes and suspects that are listed.

    Raises:
        DataError: If there are fewer than two images, or no similarity at which pairs match.
    """
    cut = model.threshold
    if not math.isfinite(cut):
        raise DataError(
            f"Expected a model with a threshold, got {cut}: its probability does not rise with similarity. Train it "
            "longer, or choose a threshold with: pairsim calibrate"
        )
    scored = score_pairs(model, dataset, batch_size=batch_size, progress=progress)
    if not isinstance(scored, AllPairsScored):
        raise DataError("Expected a labelled dataset, got given pairs. A report is of all pairs of labelled images.")
    called = [str(name) for name in scored.classes] if names is None else list(names)
    if len(called) != len(scored.classes):
        raise DataError(
            f"Expected a name for each of {len(scored.classes)} classes, got {len(called)}. Leave names out to use "
            "the labels."
        )
    worst = worst_pairs(scored.embeddings, scored.codes, lowest_match(cut), most)
    positive, negative = scored.pairs.ranked
    thresholds = np.round(np.arange(round(-1 / STEP), round(1 / STEP) + 1) * STEP, 6)
    lowest = min((ranked.values[0] for ranked in (positive, negative) if ranked.size), default=0.0)
    low = min(float(lowest), cut)
    thresholds = thresholds[max(int(np.searchsorted(thresholds, low, side="right")) - 1, 0) :]
    matching = [
        np.array([count_matches(ranked, lowest_match(threshold)) for threshold in thresholds.tolist()], dtype=np.int64)
        for ranked in (positive, negative)
    ]
    edges = np.linspace(float(thresholds[0]), 1.0, _BINS + 1)
    shares = [_shares(ranked, edges) for ranked in (positive, negative)]
    probability = to_probability(model)
    curve = scored.pairs.roc_curve(_MOST_POINTS)
    predicted, observed, _ = scored.pairs.calibration_bins(probability)
    suspects, num_suspects = _suspects(scored, model, dataset, called, most)
    return Findings(
        figures=report_on(model, scored),
        thresholds=thresholds,
        matching_positive=matching[0],
        matching_negative=matching[1],
        edges=edges,
        positive_share=shares[0],
        negative_share=shares[1],
        fmr=curve.fmr,
        fnmr=curve.fnmr,
        predicted=predicted,
        observed=observed,
        classes=breakdown(scored.embeddings, scored.codes, lowest_match(cut), names=called).class_errors,
        false_matches=_mistakes(worst.false_matches, scored, model, dataset, called),
        num_false_matches=worst.false_matches.total,
        false_non_matches=_mistakes(worst.false_non_matches, scored, model, dataset, called),
        num_false_non_matches=worst.false_non_matches.total,
        suspects=suspects,
        num_suspects=num_suspects,
    )


def _shares(ranked: Any, edges: Float64Array) -> Float64Array:
    if not ranked.size:
        return np.zeros(len(edges) - 1)
    below = np.array([ranked.size - count_matches(ranked, edge) for edge in edges.tolist()], dtype=np.int64)
    below[-1] = ranked.size  # the last bin has its upper edge
    shares: Float64Array = np.diff(below) / ranked.size
    return shares


def _mistakes(
    pairs: RankedPairs, scored: AllPairsScored, model: SimilarityModel, dataset: Any, names: Sequence[str]
) -> tuple[Mistake, ...]:
    probability = model.probability(torch.from_numpy(pairs.similarity.astype(np.float32))).tolist()
    found = []
    for row, (first, second) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
        found.append(
            Mistake(
                images=(picture(model, dataset, first), picture(model, dataset, second)),
                names=(names[scored.codes[first]], names[scored.codes[second]]),
                numbers=(first, second),
                similarity=float(pairs.similarity[row]),
                probability=probability[row],
            )
        )
    return tuple(found)


def _suspects(
    scored: AllPairsScored, model: SimilarityModel, dataset: Any, names: Sequence[str], most: int
) -> tuple[tuple[Suspect, ...], int]:
    if len(scored.classes) < 2:
        return (), 0
    agreement = label_agreement(scored.embeddings, scored.codes)
    margins = np.where(np.isnan(agreement.score), -np.inf, agreement.score)
    order = np.argsort(-margins, kind="stable")
    contradicted = int(np.count_nonzero(margins > 0))
    found = [
        Suspect(
            image=picture(model, dataset, number),
            name=names[scored.codes[number]],
            proposed=names[int(agreement.proposed[number])],
            number=number,
            margin=float(margins[number]),
        )
        for number in order[: min(most, contradicted)].tolist()
    ]
    return tuple(found), contradicted


def picture(model: SimilarityModel, dataset: Any, number: int) -> str:
    """One image of a dataset as a PNG data URI, made smaller where it is large.

    Args:
        model: Whose preprocessing it gets.
        dataset: Labelled, map-style.
        number: Its place in the dataset.
    """
    image: Tensor = fetch_images(dataset, np.array([number]), model.preprocessing)
    pixels = to_pixels(image, model.preprocessing if image.is_floating_point() else None)[0]
    return png_data_uri(pixels)
