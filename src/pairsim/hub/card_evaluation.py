"""The section of a model card on the latest evaluation of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pairsim._common import markdown as md
from pairsim.runs.run_records import RunRecords, last_name
from pairsim.verification.model_evaluation import FMR_TARGETS


class Figure(NamedTuple):
    """A figure of a report.

    Attributes:
        key: Its key.
        label: Its name.
        write: How it is written.
        metric: Its usual name in a model index, if any.
    """

    key: str
    label: str
    write: Callable[[Any], str] = md.rate
    metric: str = ""


FIGURES = (
    Figure("balanced_accuracy", "Balanced accuracy at the threshold", metric="balanced_accuracy"),
    Figure("accuracy", "Accuracy at the threshold", metric="accuracy"),
    Figure("fmr", "False match rate (FMR) at the threshold"),
    Figure("fnmr", "False non-match rate (FNMR) at the threshold"),
    Figure("roc_auc", "ROC AUC", metric="roc_auc"),
    Figure("average_precision", "Average precision"),
    Figure("eer", "Equal error rate", metric="equal_error_rate"),
    Figure("log_loss", "Log-loss, in nats", md.plain),
    Figure("brier", "Brier score", md.plain, metric="brier_score"),
    Figure("ece", "Expected calibration error, 15 bins", md.plain),
    *(Figure(f"fnmr_at_fmr_{fmr:g}", f"FNMR at FMR {fmr:.2%}") for fmr in FMR_TARGETS),
)
"""The figures of a card, in its order."""


def evaluation_of(records: RunRecords) -> list[str]:
    """Return the paragraphs on the latest evaluation of a run.

    Args:
        records: The records of its run or model folder.
    """
    evaluation, command = records.evaluation, "`pairsim evaluate RUN DATA`"
    if evaluation is None:
        return [f"Not measured. Measure it with {command}."]
    if not evaluation.of_these_weights:
        return [f"Not measured: the stored evaluation is of other weights. Measure again with {command}."]
    figures = evaluation.figures
    intervals, at_fmr = figures.get("intervals") or {}, figures.get("fnmr_at_fmr") or {}
    values = {**figures, **{f"fnmr_at_fmr_{fmr}": value for fmr, value in at_fmr.items()}}
    rows = []
    for key, label, write, _ in FIGURES:
        unknown = key in values and md.finite(values[key]) is None
        written = "not measurable with these pairs" if unknown else write(values.get(key))
        rows.append((label, written, md.interval(intervals.get(key))))
    where = "data not recorded"
    if evaluation.data:
        part = f"the {md.escape(evaluation.split)} split of " if evaluation.split else ""
        where = f"{part}{md.escape(last_name(evaluation.data))}"
    paragraphs = [
        f"On {where}: {md.escape(figures.get('protocol', 'pairs'))} of {md.count(figures.get('num_images'))} images, "
        f"{md.count(figures.get('num_pairs'))} pairs, {md.count(figures.get('num_positive'))} of them positive, at "
        f"similarity threshold {md.plain(figures.get('threshold'))}.",
        md.table(("Figure", "Value", "95 % interval"), rows),
        "Intervals account for pairs that share images. They hold for other images of the same kind.",
    ]
    by_group = figures.get("by_group")
    if by_group:
        paragraphs += _groups(by_group)
    pairs, positive = md.finite(figures.get("num_pairs")), md.finite(figures.get("num_positive"))
    if pairs and positive is not None:
        paragraphs.append(
            f"Of these pairs {md.rate(positive / pairs)} are positive; the probabilities are for "
            f"{md.rate(figures.get('prior'))}."
        )
    point = records.model.get("operating_point") or {}
    own, used = md.finite(point.get("threshold")), md.finite(figures.get("threshold"))
    if not evaluation.of_this_calibration:
        paragraphs.append(
            "The threshold or the calibration was changed after this evaluation: figures at the threshold and of "
            "probabilities are for the earlier ones."
        )
    elif own is not None and used is not None and own != used:
        paragraphs.append(f"The model's own threshold differs: {md.plain(own)}.")
    return paragraphs


def _groups(report: Mapping[str, Any]) -> list[str]:
    """Return a table of the errors of groups, and the ratios of the worst group."""
    by = f" by {md.escape(report['by'])}" if report.get("by") else ""
    rows = [
        (
            md.escape(row["name"]),
            md.count(row["num_classes"]),
            md.count(row["num_images"]),
            *(text for name in ("fmr", "fnmr") for text in (_rate(row[name]), md.interval(row["intervals"][name]))),
        )
        for row in report["groups"]
    ]
    ratios = [
        f"The {label} of the worst group, {md.escape(worst['name'])}, is {worst['ratio']:.2f} times the geometric mean "
        f"of all (95 % interval {worst['interval'][0]:.2f} to {worst['interval'][1]:.2f})."
        for label, worst in (("FMR", report["worst_fmr"]), ("FNMR", report["worst_fnmr"]))
        if worst.get("ratio") is not None
    ]
    heading = ("Group", "Classes", "Images", "FMR within", "95 % interval", "FNMR within", "95 % interval")
    unknown = f"Images without a group: {md.count(report.get('num_ungrouped'))}."
    return [f"Groups{by}, at the same threshold:", md.table(heading, rows), " ".join([*ratios, unknown])]


def _rate(value: Any) -> str:
    return "too few classes" if md.finite(value) is None else md.rate(value)
