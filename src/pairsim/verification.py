"""`evaluate`: how well a model tells pairs apart, with intervals."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from pairsim.data import ClassIndex, PairDataset, read_labels, stratified_split
from pairsim.encoding import encode_dataset
from pairsim.errors import DataError
from pairsim.evaluation import (
    Logistic,
    PairScores,
    all_pair_scores,
    image_level_intervals,
    image_level_intervals_of_pairs,
)
from pairsim.models import SimilarityModel

FMR_TARGETS = (0.1, 0.01, 0.001, 0.0001)
_BEYOND_MEASURE = 3  # with no error among n negative pairs, rates below 3/n are not excluded at 95 % (rule of three)


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """What `evaluate` found.

    Rates are shares in [0, 1]. A figure that the pairs cannot support is NaN, or null in JSON.

    Attributes:
        protocol: Which pairs: "all pairs" of the images, or "given pairs".
        num_images: Images, each embedded once.
        num_pairs: Pairs.
        num_positive: Pairs of the same class.
        threshold: Similarity from which a pair was called a match.
        accuracy: Share of right decisions at the threshold.
        balanced_accuracy: Mean of the accuracies on positive and on negative pairs.
        fmr: False match rate at the threshold.
        fnmr: False non-match rate at the threshold.
        roc_auc: Area under the ROC curve.
        average_precision: Average precision.
        eer: Equal error rate.
        fnmr_at_fmr: Lowest FNMR with at most that FMR, by FMR.
        log_loss: Mean negative log-likelihood of the model's probabilities, in nats.
        balanced_log_loss: The same with positive and negative pairs weighing one half each, as in training.
        brier: Mean squared difference of probability and target.
        ece: Expected calibration error of the probabilities, 15 bins.
        intervals: 95 % intervals of some figures, which respect that pairs share images.
        notes: What was decided or passed over, a line each.
    """

    protocol: str
    num_images: int
    num_pairs: int
    num_positive: int
    threshold: float
    accuracy: float
    balanced_accuracy: float
    fmr: float
    fnmr: float
    roc_auc: float
    average_precision: float
    eer: float
    fnmr_at_fmr: dict[str, float]
    log_loss: float
    balanced_log_loss: float
    brier: float
    ece: float
    intervals: dict[str, tuple[float, float]]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        return {name: _json_value(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """The figures as a JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        negatives = self.num_pairs - self.num_positive
        lines = [
            f"{self.protocol} of {self.num_images:,} images: {self.num_pairs:,} pairs, "
            f"{self.num_positive:,} positive, {negatives:,} negative",
            f"at similarity threshold {self.threshold:.4f}:",
            self._row("balanced accuracy", "balanced_accuracy"),
            self._row("accuracy", "accuracy"),
            self._row("false match rate", "fmr"),
            self._row("false non-match rate", "fnmr"),
            "over all thresholds:",
            self._row("ROC AUC", "roc_auc"),
            self._row("equal error rate", "eer"),
            *(f"  FNMR at FMR {float(target):<11.2%}{_percent(value)}" for target, value in self.fnmr_at_fmr.items()),
            "of the probabilities:",
            f"  {'log-loss':<22}{self.log_loss:.4f}  (positives and negatives alike: {self.balanced_log_loss:.4f})",
            f"  {'Brier score':<22}{self.brier:.4f}",
            f"  {'calibration error':<22}{self.ece:.4f}",
        ]
        return "\n".join(lines)

    def _row(self, name: str, key: str) -> str:
        value: float = getattr(self, key)
        low, high = self.intervals.get(key, (math.nan, math.nan))
        interval = "" if math.isnan(low) else f"  [{low:.3%}, {high:.3%}]"
        return f"  {name:<22}{_percent(value)}{interval}"


def _percent(value: float) -> str:
    return "not measurable with so few pairs" if math.isnan(value) else f"{value:.3%}"


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def evaluate(
    model: SimilarityModel,
    data: Any,
    *,
    threshold: float | None = None,
    batch_size: int = 256,
    max_images: int = 20_000,
    progress: bool | None = None,
) -> VerificationReport:
    """Evaluate a model on pairs, each image embedded once.

    Args:
        model: The model; its mode and weights stay as they are.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        threshold: Similarity from which a pair counts as a match; by default the model's own.
        batch_size: Images embedded at once.
        max_images: Of a larger labelled dataset so many images are used, each class in proportion, the same each
            time; memory grows with its square, to 0.8 GB for 20,000.
        progress: Whether to show a progress bar; by default where there is a terminal.

    Returns:
        The figures. Those that need both kinds of pairs are NaN when one is missing.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        ValueError: If the images do not fit the model.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), [0, 1] * 4)
        >>> evaluate(SimilarityModel(), images).num_pairs
        28
    """
    cut = model.threshold if threshold is None else float(threshold)
    if isinstance(data, PairDataset):
        scores, intervals, num_images = _given_pairs(model, data, cut, batch_size, progress)
        return _report(model, scores, cut, intervals, num_images=num_images, protocol="given pairs")
    labels = read_labels(data)
    if len(labels) < 2:
        raise DataError(f"Expected at least two images to compare, found {len(labels)}. Check the split or the path.")
    index = ClassIndex.from_labels(labels)
    places, notes = np.arange(len(labels)), []
    if len(labels) > max_images:
        _, places = stratified_split(index, max_images / len(labels))
        notes.append(f"Evaluating on all pairs of {len(places):,} of {len(labels):,} images (max_images).")
    embeddings = encode_dataset(model, data, places=places, batch_size=batch_size, progress=progress)
    codes = index.codes[places].astype(np.int64)
    scores = all_pair_scores(embeddings, codes)
    intervals = image_level_intervals(embeddings, codes, cut, pair_scores=scores)
    return _report(model, scores, cut, intervals, num_images=len(places), protocol="all pairs", notes=tuple(notes))


def _given_pairs(
    model: SimilarityModel, data: PairDataset, cut: float, batch_size: int, progress: bool | None
) -> tuple[PairScores, dict[str, tuple[float, float]], int]:
    pairs = data.all_pairs()
    places, inverse = np.unique(np.concatenate((pairs.first, pairs.second)), return_inverse=True)
    embeddings: Tensor = encode_dataset(model, data.dataset, places=places, batch_size=batch_size, progress=progress)
    vectors = embeddings.cpu().numpy()
    first, second = np.split(inverse, 2)
    similarity = np.einsum("nd,nd->n", vectors[first], vectors[second]).clip(-1.0, 1.0)
    intervals = image_level_intervals_of_pairs(similarity, pairs.target, pairs.first, pairs.second, cut)
    return PairScores.from_scores(similarity, pairs.target), intervals, len(places)


def _report(
    model: SimilarityModel,
    scores: PairScores,
    cut: float,
    intervals: dict[str, tuple[float, float]],
    *,
    num_images: int,
    protocol: str,
    notes: tuple[str, ...] = (),
) -> VerificationReport:
    probability = Logistic(model.projection.weight.item(), model.projection.bias.item())
    losses = [
        PairScores(positive, negative).log_loss(probability)
        for positive, negative in (
            (scores.positive, scores.negative[:0]),
            (scores.positive[:0], scores.negative),
        )
    ]
    counts = (scores.num_positive, scores.num_negative)
    total = sum(loss * count for loss, count in zip(losses, counts, strict=True) if count)
    fmr, fnmr = scores.fmr_fnmr(cut)
    return VerificationReport(
        protocol=protocol,
        num_images=num_images,
        num_pairs=scores.num_pairs,
        num_positive=scores.num_positive,
        threshold=cut,
        accuracy=scores.accuracy(cut),
        balanced_accuracy=scores.balanced_accuracy(cut),
        fmr=fmr,
        fnmr=fnmr,
        roc_auc=scores.roc_auc(),
        average_precision=scores.average_precision(),
        eer=scores.equal_error_rate(),
        fnmr_at_fmr={
            f"{target:g}": scores.fnmr_at_fmr(target) if scores.num_negative * target >= _BEYOND_MEASURE else math.nan
            for target in FMR_TARGETS
        },
        log_loss=total / scores.num_pairs,
        balanced_log_loss=sum(losses) / 2,
        brier=scores.brier_score(probability),
        ece=scores.expected_calibration_error(probability),
        intervals=intervals,
        notes=notes,
    )
