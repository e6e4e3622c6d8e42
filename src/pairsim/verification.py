"""`evaluate` and `compare_models`: how well a model tells pairs apart, and whether one is better, with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from pairsim.evaluation import Logistic
from pairsim.evaluation._inputs import Float64Array, Values
from pairsim.evaluation.class_errors import ClassErrors, ClassPairErrors, breakdown
from pairsim.evaluation.k_fold import KFoldReport, k_fold_accuracy
from pairsim.evaluation.operating_points import negatives_needed
from pairsim.evaluation.resampling import Difference, Unit, paired_differences
from pairsim.models import SimilarityModel
from pairsim.scoring import AllPairsScored, GivenPairsScored, Scored, score_pairs

FMR_TARGETS = (0.1, 0.01, 0.001, 0.0001)
_WEAKEST = 5


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
        d_prime: Distance of the mean similarities of both kinds, in standard deviations.
        fnmr_at_fmr: Lowest FNMR with at most that FMR, by FMR.
        log_loss: Mean negative log-likelihood of the model's probabilities, in nats.
        balanced_log_loss: The same with positive and negative pairs weighing one half each, as in training.
        brier: Mean squared difference of probability and target.
        ece: Expected calibration error of the probabilities, 15 bins.
        prior: Share of positive pairs that the model states its probabilities for.
        intervals: 95 % intervals of some figures, which respect that pairs share images.
        weakest_classes: The classes that errors at the threshold come from, the worst first; only of all pairs.
        weakest_pairs: The pairs of classes that false matches come from, likewise.
        k_fold: Accuracy with each fold's threshold chosen on the other folds; only of pairs with folds.
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
    d_prime: float
    fnmr_at_fmr: dict[str, float]
    log_loss: float
    balanced_log_loss: float
    brier: float
    ece: float
    prior: float
    intervals: dict[str, tuple[float, float]]
    weakest_classes: tuple[ClassErrors, ...] = ()
    weakest_pairs: tuple[ClassPairErrors, ...] = ()
    k_fold: KFoldReport | None = None
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
            *(self._at_fmr(float(target), value) for target, value in self.fnmr_at_fmr.items()),
            f"  {'d-prime':<22}{self.d_prime:.2f}",
            f"of the probabilities, stated for {self.prior:.3g} of pairs positive "
            f"(here {self.num_positive / self.num_pairs:.3g}):",
            f"  {'log-loss':<22}{self.log_loss:.4f}  (positives and negatives alike: {self.balanced_log_loss:.4f})",
            f"  {'Brier score':<22}{self.brier:.4f}",
            f"  {'calibration error':<22}{self.ece:.4f}",
            *self._weakest(),
        ]
        if self.k_fold is not None:
            lines.append(
                f"{len(self.k_fold.folds)}-fold accuracy, thresholds from the other folds: {self.k_fold.accuracy:.3%} "
                f"+- {self.k_fold.standard_error:.3%} (standard error)"
            )
        return "\n".join(lines)

    def _weakest(self) -> list[str]:
        lines = []
        if self.weakest_classes:
            lines.append("weakest classes (false non-match rate within, false match rate with others):")
            lines += [f"  {row.name:<21} {_percent(row.fnmr)}, {_percent(row.fmr)}" for row in self.weakest_classes]
        if self.weakest_pairs:
            lines.append("weakest pairs of classes (false match rate between):")
            lines += [f"  {' and '.join(row.names):<21} {_percent(row.fmr)}" for row in self.weakest_pairs]
        return lines

    def _at_fmr(self, target: float, value: float) -> str:
        return f"  FNMR at FMR {target:<10.2%}{_percent(value)}{self._interval(f'fnmr_at_fmr_{target:g}')}"

    def _row(self, name: str, key: str) -> str:
        return f"  {name:<22}{_percent(getattr(self, key))}{self._interval(key)}"

    def _interval(self, key: str) -> str:
        low, high = self.intervals.get(key, (math.nan, math.nan))
        return "" if math.isnan(low) else f"  [{low:.3%}, {high:.3%}]"


def _percent(value: float) -> str:
    return "not measurable with so few pairs" if math.isnan(value) else f"{value:.3%}"


def _json_value(value: Any) -> Any:
    if isinstance(value, ClassErrors | ClassPairErrors | KFoldReport):
        value = asdict(value)
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
    folds: Values | None = None,
    resample: Unit | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> VerificationReport:
    """Evaluate a model on pairs, each image embedded once.

    Args:
        model: The model; its mode and weights stay as they are.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        threshold: Similarity from which a pair counts as a match; by default the model's own.
        folds: Fold of each pair of a `PairDataset` `[P]`, whole numbers: the report then has the accuracy over folds,
            each at the threshold that is best on the others, as for Labeled Faces in the Wild.
        resample: Take intervals from resampled `"images"` or `"classes"` (`evaluation.bootstrap`); by default they are
            computed without resampling, for other images of the same classes.
        num_resamples: Resampled sets.
        seed: Of the resampling.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The figures. Those that need both kinds of pairs are NaN when one is missing.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        ValueError: If the images do not fit the model, classes should be resampled with given pairs, or folds are given
            without.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), [0, 1] * 4)
        >>> evaluate(SimilarityModel(), images).num_pairs
        28
    """
    scored = score_pairs(model, data, batch_size=batch_size, progress=progress)
    report = report_on(model, scored, threshold, resample=resample, num_resamples=num_resamples, seed=seed)
    if folds is None:
        return report
    if not isinstance(scored, GivenPairsScored):
        raise ValueError("Expected a PairDataset with folds, got a labelled dataset. Folds are of given pairs.")
    return replace(report, k_fold=k_fold_accuracy(scored.similarity, scored.target, folds))


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """Two models on the same pairs.

    Attributes:
        protocol: Which pairs.
        num_images: Images, each embedded once by either model.
        num_pairs: Pairs.
        unit: What was resampled.
        num_resamples: How often.
        thresholds: Of the first and of the second model.
        differences: Of each figure, first model less second.
    """

    protocol: str
    num_images: int
    num_pairs: int
    unit: Unit
    num_resamples: int
    thresholds: tuple[float, float]
    differences: dict[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        values = {**vars(self), "differences": {name: asdict(found) for name, found in self.differences.items()}}
        return {name: _json_value(value) for name, value in values.items()}

    def to_json(self) -> str:
        """The figures as a JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        lines = [
            f"{self.protocol} of {self.num_images:,} images, {self.num_resamples:,} times resampled by {self.unit}; "
            f"thresholds {self.thresholds[0]:.4f} and {self.thresholds[1]:.4f}",
            f"  {'':<22}{'first':>10}{'second':>10}{'difference':>12}  95 % interval, p",
        ]
        for name, found in self.differences.items():
            if math.isnan(found.difference):
                continue
            lines.append(
                f"  {_READABLE.get(name, name.replace('_', ' ')):<22}{found.first:>10.3%}{found.second:>10.3%}"
                f"{found.difference:>+12.3%}  [{found.low:+.3%}, {found.high:+.3%}], p {_p_value(found.p_value)}"
            )
        return "\n".join(lines)


_READABLE = {
    "roc_auc": "ROC AUC",
    "eer": "equal error rate",
    "fmr": "false match rate",
    "fnmr": "false non-match rate",
    "balanced_accuracy": "balanced accuracy",
    **{f"fnmr_at_fmr_{target:g}": f"FNMR at FMR {target:.2%}" for target in FMR_TARGETS},
}


def _p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"


def compare_models(
    first: SimilarityModel,
    second: SimilarityModel,
    data: Any,
    *,
    unit: Unit = "images",
    num_resamples: int = 1000,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool | None = None,
) -> ModelComparison:
    """Compare two models on the same pairs, so that what both find hard cancels.

    Args:
        first: A model, at its own threshold.
        second: Another one, at its own threshold.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        unit: What is resampled: `"images"`, or `"classes"` if the models will meet others.
        num_resamples: Resampled sets.
        seed: Of the resampling.
        batch_size: As for `evaluate`.
        progress: As for `evaluate`.

    Returns:
        Differences with intervals and p-values. They speak of these two trained models, not of how they were trained:
        for that, train each with several seeds.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        ValueError: If the images do not fit a model, or classes should be resampled with given pairs.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8), [0, 1] * 4)
        >>> model = SimilarityModel()
        >>> compare_models(model, model, images, num_resamples=50).differences["roc_auc"].difference
        0.0
    """
    scored = [score_pairs(model, data, batch_size=batch_size, progress=progress) for model in (first, second)]
    cuts = (first.threshold, second.threshold)
    resampled = [
        found.resampled(cut, _measurable(found), unit=unit, num_resamples=num_resamples, seed=seed)
        for found, cut in zip(scored, cuts, strict=True)
    ]
    return ModelComparison(
        protocol=scored[0].protocol,
        num_images=scored[0].num_images,
        num_pairs=scored[0].pairs.num_pairs,
        unit=unit,
        num_resamples=num_resamples,
        thresholds=cuts,
        differences=paired_differences(*resampled),
    )


def _measurable(scored: Scored) -> list[float]:
    """The false match rates that there are negative pairs enough for."""
    if not scored.pairs.num_positive:
        return []
    return [target for target in FMR_TARGETS if scored.pairs.num_negative >= negatives_needed(target)]


def to_probability(model: SimilarityModel) -> Callable[[Float64Array], Float64Array]:
    """The model's function from similarity to probability, in float64."""
    calibration = model.calibration
    if calibration is None:
        return Logistic(model.projection.weight.item(), model.projection.bias.item())
    return lambda scores: calibration.probability(torch.from_numpy(scores)).numpy()


def report_on(
    model: SimilarityModel,
    scored: Scored,
    threshold: float | None = None,
    *,
    resample: Unit | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> VerificationReport:
    """The report of `evaluate` on pairs that are scored already, but for folds; arguments as there."""
    cut = model.threshold if threshold is None else float(threshold)
    measurable = _measurable(scored)
    if resample is None:
        intervals = scored.intervals(cut, measurable)
    else:
        found = scored.resampled(cut, measurable, unit=resample, num_resamples=num_resamples, seed=seed)
        intervals = found.intervals()
    scores, probability = scored.pairs, to_probability(model)
    losses = scores.log_loss_by_target(probability)
    counts = (scores.num_positive, scores.num_negative)
    total = sum(loss * count for loss, count in zip(losses, counts, strict=True) if count)
    fmr, fnmr = scores.fmr_fnmr(cut)
    classes: tuple[ClassErrors, ...] = ()
    class_pairs: tuple[ClassPairErrors, ...] = ()
    if isinstance(scored, AllPairsScored) and not math.isnan(cut):
        names = [str(name) for name in scored.classes]
        classes, class_pairs = breakdown(scored.embeddings, scored.codes, cut, names=names).weakest(_WEAKEST)
    return VerificationReport(
        protocol=scored.protocol,
        num_images=scored.num_images,
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
        d_prime=scores.d_prime(),
        fnmr_at_fmr={
            f"{target:g}": scores.fnmr_at_fmr(target) if target in measurable else math.nan for target in FMR_TARGETS
        },
        log_loss=total / scores.num_pairs,
        balanced_log_loss=sum(losses) / 2,
        brier=scores.brier_score(probability),
        ece=scores.expected_calibration_error(probability),
        prior=0.5 if model.calibration is None else model.calibration.prior,
        intervals=intervals,
        weakest_classes=classes,
        weakest_pairs=class_pairs,
    )
