"""Values of the page of a report: charts, counts for its slider, and facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pairsim.evaluation.errors.class_errors import ClassErrors
from pairsim.report.charts import LEFT, RIGHT, Axis, Line, Mark, draw_chart, nice_ticks
from pairsim.report.findings import STEPS_PER_UNIT, Findings
from pairsim.report.rendering import percent
from pairsim.runs.run_records import RunRecords

MAX_CLASSES = 500
"""Maximum number of classes in the table: more would make the page slow and too long to read."""
_SHOWN_SETTINGS = ("objective", "epochs", "batch_size", "optimizer", "learning_rate", "scheduler", "augment", "seed")
_DECADES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def histogram(findings: Findings) -> str:
    """Draw histograms of the similarities of both kinds of pairs, with the threshold."""
    bins, threshold = findings.histogram, findings.figures.threshold
    low = float(bins.edges[0])
    positive, negative = (np.maximum(share, 1e-6) for share in (bins.positive_share, bins.negative_share))
    return draw_chart(
        "Similarities of both kinds of pairs",
        Axis(label="similarity", low=low, high=1.0, ticks=nice_ticks(low, 1.0)),
        Axis(label="share of the pairs of each kind", low=1e-6, high=1.0, scale="log", percent=True, ticks=_DECADES),
        [
            Line(name="same class", x=bins.edges, y=positive, steps=True),
            Line(name="different classes", x=bins.edges, y=negative, steps=True, kind="second"),
        ],
        marks=[Mark(x=threshold, css_class="threshold-mark")],
        name="histogram",
        summary=f"Two outlines over similarity on a logarithmic scale, their highest bin "
        f"{max(positive.max(), negative.max()):.1%}; the line is the threshold {threshold:.4f}.",
    )


def curves(findings: Findings) -> list[str]:
    """Draw ROC, DET and reliability; an empty list if one kind of pairs is missing."""
    figures, bins = findings.figures, findings.reliability
    if math.isnan(figures.roc_auc):
        return []
    fmr, fnmr, low = findings.curve.fmr, findings.curve.fnmr, 1e-4
    start = max(0.0, math.floor(float(1 - fnmr[fmr <= low].min()) * 10) / 10 - 0.1)
    roc = draw_chart(
        "ROC curve",
        Axis(label="false match rate", low=low, high=1.0, scale="log", percent=True, ticks=_DECADES[2:]),
        Axis(label="true match rate", low=start, high=1.0, percent=True, ticks=nice_ticks(start, 1)),
        [Line(name="model", x=fmr, y=1 - fnmr)],
        marks=[Mark(x=max(figures.fmr, low), y=1 - figures.fnmr, text="threshold")],
        name="roc",
        summary=f"True match rate over false match rate on a logarithmic scale; area {figures.roc_auc:.4f}.",
    )
    ends, ticks = (5e-5, 0.6), (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)
    det_x, det_y = (
        Axis(label=label, low=ends[0], high=ends[1], scale="deviate", percent=True, ticks=ticks)
        for label in ("false match rate", "false non-match rate")
    )
    det = draw_chart(
        "DET curve",
        det_x,
        det_y,
        [Line(name="model", x=fmr, y=fnmr), Line(name="equal rates", x=np.array(ends), y=np.array(ends), kind="plain")],
        marks=[Mark(x=figures.eer, y=figures.eer, text=f"EER {percent(figures.eer, 2)}")],
        name="det",
        summary=f"False non-match rate over false match rate; they are equal at {figures.eer:.4f}.",
    )
    unit = np.array([0.0, 1.0])
    predicted, observed = (
        Axis(label=label, low=0.0, high=1.0, ticks=nice_ticks(0, 1), percent=True)
        for label in ("predicted probability of the same class", "share of pairs of the same class")
    )
    reliability = draw_chart(
        "Reliability of the probabilities",
        predicted,
        observed,
        [
            Line(name="perfect", x=unit, y=unit, kind="plain"),
            Line(name="model", x=bins.mean_probability, y=bins.positive_share, dots=True),
        ],
        name="reliability",
        summary=f"Observed share over predicted probability in {len(bins.num_pairs)} bins; calibration error "
        f"{figures.ece:.4f}.",
    )
    return [roc, det, reliability]


def training_curves(epochs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draw loss, and balanced accuracy if it was measured, over the epochs of a run; an empty list for no epoch."""
    if not epochs:
        return []
    columns = {
        key: np.array([record.get(key) for record in epochs], dtype=np.float64)
        for key in ("epoch", "train_loss", "val_loss", "val_balanced_accuracy")
    }
    numbers, accuracy = columns["epoch"], columns["val_balanced_accuracy"]
    first, last = float(numbers[0]), float(numbers[-1])
    whole_ticks = tuple(sorted({float(round(tick)) for tick in nice_ticks(first, last)}))
    x = Axis(label="epoch", low=first, high=last, ticks=whole_ticks)
    losses = np.concatenate([columns["train_loss"], columns["val_loss"]])
    top = float(np.max(losses, where=np.isfinite(losses), initial=0.0)) or 1.0
    charts = [
        draw_chart(
            "Loss",
            x,
            Axis(label="loss (nats)", low=0.0, high=top, ticks=nice_ticks(0.0, top)),
            [
                Line(name="training", x=numbers, y=columns["train_loss"], kind="second", dots=True),
                Line(name="validation", x=numbers, y=columns["val_loss"], dots=True),
            ],
            name="loss",
            summary=f"Loss over {len(epochs)} epochs.",
        )
    ]
    if np.isfinite(accuracy).any():
        low, high = float(np.nanmin(accuracy)), float(np.nanmax(accuracy))
        low = low - 0.01 if high - low < 1e-6 else low
        charts.append(
            draw_chart(
                "Balanced accuracy on validation pairs",
                x,
                Axis(label="balanced accuracy", low=low, high=high, ticks=nice_ticks(low, high), percent=True),
                [Line(name="validation", x=numbers, y=accuracy, dots=True)],
                name="accuracy",
                summary=f"From {low:.4f} to {high:.4f} over {len(epochs)} epochs.",
            )
        )
    return charts


def slider_counts(findings: Findings) -> dict[str, Any]:
    """Return the counts of matches at every threshold, as JSON values for the script of the page."""
    figures = findings.figures
    positive, negative = figures.num_positive, figures.num_pairs - figures.num_positive
    return {
        "first": float(findings.thresholds[0]),
        "perUnit": STEPS_PER_UNIT,
        "positive": findings.matching_positive.tolist(),
        "negative": findings.matching_negative.tolist(),
        "numPositive": positive,
        "numNegative": negative,
        "own": {
            "threshold": figures.threshold,
            "positive": positive - (round(figures.fnmr * positive) if positive else 0),
            "negative": round(figures.fmr * negative) if negative else 0,
        },
        "low": float(findings.histogram.edges[0]),
        "chart": {"left": LEFT, "width": RIGHT - LEFT},
    }


def page_values(findings: Findings, run: RunRecords) -> dict[str, Any]:
    """Return the values of the page's template that are computed from a report's data and the records of the run."""
    figures = findings.figures
    share = figures.num_positive / figures.num_pairs if figures.num_pairs else math.nan
    known, here = set(map(str, run.data.get("class_names", ()))), {row.name for row in findings.classes}
    most_errors = sorted(findings.classes, key=_num_errors, reverse=True)[:MAX_CLASSES]
    return {
        "findings": findings,
        "figures": figures,
        "run": run,
        "positive_share": share,
        "other_share": abs(share - figures.prior) > 0.05,
        "seen_classes": "none" if known and not here & known else "all" if known and here <= known else "",
        "classes": findings.classes if len(most_errors) == len(findings.classes) else most_errors,
        "training_data": {key: run.data[key] for key in ("data", "num_images") if key in run.data},
        "settings": {key: run.config[key] for key in _SHOWN_SETTINGS if key in run.config},
        "histogram": histogram(findings),
        "curves": curves(findings),
        "training": training_curves(run.epochs),
        "counts": slider_counts(findings),
    }


def _num_errors(row: ClassErrors) -> int:
    return row.false_non_matches + row.false_matches
