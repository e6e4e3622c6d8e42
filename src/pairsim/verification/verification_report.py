"""`VerificationReport`: error rates and calibration of a model on pairs, with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pairsim._common.json_files import json_value
from pairsim._common.numbers import counted
from pairsim.errors import printable
from pairsim.evaluation import ClassErrors, ClassPairErrors, GroupReport, KFoldReport
from pairsim.verification.report_parts import Acquisition, ImagesPerClass, ThresholdOrigin, Throughput

_READABLE = {
    "roc_auc": "ROC AUC",
    "eer": "equal error rate",
    "fmr": "false match rate",
    "fnmr": "false non-match rate",
}


@dataclass(frozen=True, kw_only=True)
class KindErrors:
    """Errors of one kind of negative pairs, together with all positive pairs.

    Attributes:
        num_pairs: Number of negative pairs of this kind.
        fmr: Their false match rate at the threshold of the report.
        eer: Equal error rate of these negative pairs and all positive pairs.
        intervals: 95 % intervals of `fmr` and `eer`.
    """

    num_pairs: int
    fmr: float
    eer: float
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """The result of `evaluate`.

    Rates are shares in [0, 1]. A figure for which there are too few pairs is NaN, or null in JSON.

    Attributes:
        protocol: "all pairs" of the images, or "given pairs".
        num_images: Number of images.
        num_pairs: Number of pairs.
        num_positive: Number of pairs of the same class.
        num_classes: Number of classes of the images; `None` for given pairs, which do not name them.
        unseen_classes: How many of these training did not have; `None` if it is not known, as without a run.
        groups: Number of groups of the images or pairs, such as writers of signatures; `None` if they have none. The
            intervals of given pairs then cover other groups.
        threshold: A pair with at least this similarity was called a match.
        accuracy: Share of right decisions at the threshold.
        balanced_accuracy: Mean of the accuracies on positive and on negative pairs.
        fmr: False match rate at the threshold.
        fnmr: False non-match rate at the threshold.
        roc_auc: Area under the ROC curve.
        average_precision: Average precision.
        eer: Equal error rate.
        recall_at_1: Share of images whose most similar other image is of their class, of those that share a class with
            another; only of all pairs.
        d_prime: Distance of the mean similarities of both kinds of pairs, in standard deviations.
        fnmr_at_fmr: Lowest FNMR with at most that FMR, by FMR.
        log_loss: Mean negative log-likelihood of the model's probabilities, in nats.
        balanced_log_loss: The same with positive and negative pairs weighing one half each, as in training.
        brier: Mean squared difference of probability and target.
        ece: Expected calibration error of the probabilities, 15 bins.
        prior: Share of positive pairs that the model states its probabilities for.
        intervals: 95 % intervals of some figures, which respect that pairs share images.
        weakest_classes: The classes with the highest error at the threshold, the worst first; only of all pairs.
        weakest_pairs: The pairs of classes with the most false matches, the worst first; only of all pairs.
        k_fold: Accuracy with each fold's threshold chosen on the other folds; only of pairs with folds.
        kinds: Errors of each kind of negative pairs, by its name; only of given pairs with kinds.
        by_group: Errors within and between groups of images at the threshold; `None` if no groups were given.
        images_per_class: How many images the classes have; `None` for given pairs.
        policy: What is compared, and when it is a match, in a line.
        acquisition: Pictures that could not be read, and the error rates with them.
        threshold_origin: Where the threshold comes from, and whether its data share classes with these.
        throughput: Images and comparisons in a second, measured meanwhile, and the hardware.
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
    kinds: dict[str, KindErrors] = field(default_factory=dict)
    num_classes: int | None = None
    unseen_classes: int | None = None
    groups: int | None = None
    recall_at_1: float = math.nan
    by_group: GroupReport | None = None
    images_per_class: ImagesPerClass | None = None
    policy: str = ""
    acquisition: Acquisition = field(default_factory=Acquisition)
    threshold_origin: ThresholdOrigin = field(default_factory=ThresholdOrigin)
    throughput: Throughput | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values; NaN as `None`."""
        return {name: json_value(value) for name, value in vars(self).items()}

    def to_json(self) -> str:
        """The figures as a JSON object."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        negatives = self.num_pairs - self.num_positive
        decisions = ("balanced_accuracy", "accuracy", "fmr", "fnmr")
        rows = {name: getattr(self, name) for name in (*decisions, "roc_auc", "eer")}
        rows |= {f"fnmr_at_fmr_{target}": value for target, value in self.fnmr_at_fmr.items()}
        figures = [
            f"  {readable(name):<22}{percent(value)}{interval(self.intervals, name)}" for name, value in rows.items()
        ]
        lines = [
            f"{self.protocol} of {counted(self.num_images, 'image')}{self._classes()}: "
            f"{counted(self.num_pairs, 'pair')}, "
            f"{self.num_positive:,} positive, {negatives:,} negative",
            f"at similarity threshold {self.threshold:.4f}:",
            *figures[: len(decisions)],
            "over all thresholds:",
            *figures[len(decisions) :],
            f"  {'d-prime':<22}{self.d_prime:.2f}",
            *([] if math.isnan(self.recall_at_1) else [f"  {'recall at 1':<22}{percent(self.recall_at_1)}"]),
            f"of the probabilities, stated for {self.prior:.3g} of pairs positive "
            f"(here {self.num_positive / self.num_pairs:.3g}):",
            f"  {'log-loss':<22}{self.log_loss:.4f}  (positives and negatives alike: {self.balanced_log_loss:.4f})",
            f"  {'Brier score':<22}{self.brier:.4f}",
            f"  {'calibration error':<22}{self.ece:.4f}",
        ]
        if self.kinds:
            width = max(map(len, map(printable, self.kinds)))
            lines.append(f"each kind of negative pairs, with all positive pairs (FNMR {percent(self.fnmr)}):")
            lines += [
                f"  {printable(name):<{width}}  {row.num_pairs:>9,} pairs"
                f"  FMR {percent(row.fmr)}{interval(row.intervals, 'fmr')}"
                f"  EER {percent(row.eer)}{interval(row.intervals, 'eer')}"
                for name, row in self.kinds.items()
            ]
        if self.groups is not None and self.num_classes is None:
            lines.append(f"intervals are for other groups, of which there are {self.groups:,} here")
        if self.weakest_classes:
            lines.append("weakest classes (false non-match rate within, false match rate with others):")
            lines += [
                f"  {printable(str(row.name)):<21} {percent(row.fnmr)}, {percent(row.fmr)}"
                for row in self.weakest_classes
            ]
        if self.weakest_pairs:
            lines.append("weakest pairs of classes (false match rate between):")
            lines += [f"  {printable(' and '.join(row.names)):<21} {percent(row.fmr)}" for row in self.weakest_pairs]
        lines += [] if self.by_group is None else group_lines(self.by_group)
        if self.k_fold is not None:
            lines.append(
                f"{len(self.k_fold.folds)}-fold accuracy, thresholds from the other folds: {self.k_fold.accuracy:.3%} "
                f"+- {self.k_fold.standard_error:.3%} (standard error)"
            )
        lines += self._how()
        return "\n".join(lines)

    def _how(self) -> list[str]:
        """Say how the figures were made."""
        lines, sizes, origin, failed = ["how it was measured:"], self.images_per_class, self.threshold_origin, ""
        if self.policy:
            lines.append(f"  {self.policy}")
        if sizes is not None:
            lines.append(f"  images per class: {sizes.min:,} to {sizes.max:,}, median {sizes.median:g}")
        if origin.source == "given":
            lines.append("  threshold: given")
        elif origin.source != "not known":
            lines.append(
                f"  threshold: chosen on {printable(origin.source)}, for {origin.criterion}; {origin.in_words}"
            )
        found = self.acquisition
        if found.num_failures:
            failed = (
                f"  {counted(found.num_failures, 'picture')} could not be read ({found.failure_to_acquire:.3%}); as "
                f"non-matches: FMR {percent(found.generalized_fmr)}, FNMR {percent(found.generalized_fnmr)}"
            )
        if self.throughput is not None:
            speed = self.throughput
            lines.append(
                f"  {speed.images_per_s:,.0f} images and {speed.comparisons_per_s:,.0f} comparisons a second on "
                f"{speed.device}, {speed.hardware}"
            )
        return [*lines, *filter(None, [failed])] if len(lines) > 1 or failed else []

    def _classes(self) -> str:
        """Say in words how many classes and groups there are."""
        if self.num_classes is None:
            return ""
        unseen = "" if self.unseen_classes is None else f" ({self.unseen_classes:,} unseen in training)"
        groups = "" if self.groups is None else f" in {counted(self.groups, 'group')}"
        return f" of {counted(self.num_classes, 'class', 'classes')}{unseen}{groups}"


_MAX_MATRIX = 8
_NEEDED = "at least two groups, all with rates above 0% and below 100%"


def group_lines(report: GroupReport) -> list[str]:
    """Return the errors of groups as lines of text."""
    width = max(len(printable(row.name)) for row in report.groups)
    by = f" by {printable(report.by)}" if report.by else ""
    lines = [f"{counted(len(report.groups), 'group')}{by}, all at the same threshold; intervals for other classes:"]
    for row in report.groups:
        lines.append(
            f"  {printable(row.name):<{width}}  {counted(row.num_classes, 'class', 'classes')}, "
            f"{counted(row.num_images, 'image')}"
        )
        for label, name, errors, pairs in (
            ("FNMR", "fnmr", row.false_non_matches, row.num_positive),
            ("FMR", "fmr", row.false_matches, row.num_negative),
        ):
            rate = getattr(row, name)
            shown = "too few classes for a rate" if math.isnan(rate) else f"{rate:.3%}"
            errors_of = f"{errors:,} of {counted(pairs, 'pair')}"
            lines.append(f"  {'':<{width}}  {label:<4} {shown}{interval(row.intervals, name)}  ({errors_of})")
    for label, worst in (("FMR", report.worst_fmr), ("FNMR", report.worst_fnmr)):
        if math.isnan(worst.ratio):
            lines.append(f"  {label} of the worst group over the geometric mean: not measurable without {_NEEDED}")
        else:
            low, high = worst.interval
            lines.append(
                f"  {label} of the worst group, {printable(worst.name)}, over the geometric mean: {worst.ratio:.2f}  "
                f"[{low:.2f}, {high:.2f}]"
            )
    if len(report.groups) <= _MAX_MATRIX:
        lines.append("  FMR between groups:")
        for number, row in enumerate(report.groups):
            rates = report.fmr[number, : number + 1].tolist()
            cells = "".join(f"  {'too few' if math.isnan(rate) else f'{rate:.3%}':>9}" for rate in rates)
            lines.append(f"  {printable(row.name):<{width}}{cells}")
    if report.num_positive_between:
        lines.append(
            f"  {counted(report.num_positive_between, 'positive pair')} of images of two groups: "
            f"{report.false_non_matches_between:,} did not match"
        )
    if report.num_ungrouped:
        lines.append(
            f"  without a group: {counted(report.num_ungrouped, 'image')}, in "
            f"{counted(report.num_ungrouped_pairs, 'pair')} that no group has"
        )
    return lines


def readable(name: str) -> str:
    """Return the name of a figure in words.

    Example:
        >>> readable("fnmr"), readable("fnmr_at_fmr_0.001")
        ('false non-match rate', 'FNMR at FMR 0.10%')
    """
    _, at_rate, target = name.partition("fnmr_at_fmr_")
    return f"FNMR at FMR {float(target):.2%}" if at_rate else _READABLE.get(name, name.replace("_", " "))


def interval(intervals: Mapping[str, tuple[float, float]], name: str) -> str:
    """Format the interval of a figure, with two spaces before it; an empty text if there is none."""
    low, high = intervals.get(name, (math.nan, math.nan))
    return "" if math.isnan(low) else f"  [{low:.3%}, {high:.3%}]"


def percent(value: float) -> str:
    """Format a rate as a percentage; NaN as "not measurable with so few pairs"."""
    return "not measurable with so few pairs" if math.isnan(value) else f"{value:.3%}"
