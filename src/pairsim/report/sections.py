"""The charts of a report, and the counts that its slider reads."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from pairsim.report import charts
from pairsim.report.charts import Axis, Line, Mark, draw_chart, nice_ticks, thin_out
from pairsim.report.findings import STEP, Findings
from pairsim.report.texts import percent
from pairsim.runs.run_records import RunRecords

_DECADES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def histogram(findings: Findings) -> str:
    """Similarities of both kinds of pairs, with the threshold."""
    edges = findings.edges
    top = max(float(findings.positive_share.max()), float(findings.negative_share.max()), 1e-6)
    x = Axis(label="similarity", low=float(edges[0]), high=1.0, ticks=nice_ticks(float(edges[0]), 1.0))
    y = Axis(label="share of its kind of pairs", low=1e-6, high=1.0, scale="log", percent=True, ticks=_DECADES)
    lines = [
        Line(name="same class", x=edges, y=np.maximum(findings.positive_share, 1e-6), steps=True),
        Line(name="different", x=edges, y=np.maximum(findings.negative_share, 1e-6), steps=True, kind="second"),
    ]
    cut = findings.figures.threshold
    return draw_chart(
        "Similarities of both kinds of pairs",
        x,
        y,
        lines,
        marks=[Mark(x=cut, style="threshold-mark")],
        name="histogram",
        summary=f"Two outlines over similarity on a logarithmic scale, their highest bin {top:.1%}; the line is the "
        f"threshold {cut:.4f}.",
    )


def curves(findings: Findings) -> str:
    """The section of ROC, DET and reliability."""
    if math.isnan(findings.figures.roc_auc):
        return "<section id='curves'><h2>Curves</h2><p>Not measurable: one kind of pairs is missing.</p></section>"
    figures = findings.figures
    fmr, fnmr = thin_out(findings.fmr, findings.fnmr)
    low = 1e-4
    rate = Axis(label="false match rate", low=low, high=1.0, scale="log", percent=True, ticks=_DECADES[2:])
    start = max(0.0, math.floor(float(1 - fnmr[fmr <= low].min()) * 10) / 10 - 0.1)
    share = Axis(label="same pairs that match", low=start, high=1.0, percent=True, ticks=nice_ticks(start, 1))
    roc = draw_chart(
        "ROC: found against falsely matched",
        rate,
        share,
        [Line(name="model", x=fmr, y=1 - fnmr)],
        marks=[Mark(x=max(figures.fmr, low), y=1 - figures.fnmr, text="threshold")],
        name="roc",
        summary=f"True match rate over false match rate on a logarithmic scale; area {figures.roc_auc:.4f}.",
    )
    ticks = (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)
    across, up = (
        Axis(label=label, low=5e-5, high=0.6, scale="deviate", percent=True, ticks=ticks)
        for label in ("false match rate", "false non-match rate")
    )
    equal = np.array([5e-5, 0.6])
    det = draw_chart(
        "DET: both error rates",
        across,
        up,
        [Line(name="model", x=fmr, y=fnmr), Line(name="equal", x=equal, y=equal, kind="plain")],
        marks=[Mark(x=figures.eer, y=figures.eer, text=f"EER {percent(figures.eer, 2)}")],
        name="det",
        summary=f"False non-match rate over false match rate; they are equal at {figures.eer:.4f}.",
    )
    unit_x, unit_y = (
        Axis(label=label, low=0.0, high=1.0, ticks=nice_ticks(0, 1), percent=True)
        for label in ("probability that the model states", "share of same pairs among them")
    )
    reliability = draw_chart(
        "Reliability of the probabilities",
        unit_x,
        unit_y,
        [
            Line(name="perfect", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]), kind="plain"),
            Line(name="model", x=findings.predicted, y=findings.observed, dots=True),
        ],
        name="reliability",
        summary=f"Observed share over stated probability in 15 bins; calibration error {figures.ece:.4f}.",
    )
    note = (
        f"Probabilities are stated for {figures.prior:.3g} of pairs positive, here "
        f"{figures.num_positive / figures.num_pairs:.3g} are. Below the line the model is too sure."
    )
    return (
        f"<section id='curves'><h2>Curves</h2><div class='charts'><figure>{roc}</figure><figure>{det}</figure>"
        f"<figure>{reliability}<figcaption>{note}</figcaption></figure></div></section>"
    )


def training(run: RunRecords) -> str:
    """The section of training curves."""
    if not run.epochs:
        text = "<p>This is a model folder without the log of its training.</p>"
        return f"<section id='training'><h2>Training</h2>{text}</section>"
    epochs = np.array([float(record["epoch"]) for record in run.epochs])
    columns = {
        key: np.array([math.nan if record.get(key) is None else float(record[key]) for record in run.epochs])
        for key in ("train_loss", "val_loss", "val_balanced_accuracy")
    }
    x = Axis(label="epoch", low=float(epochs[0]), high=float(epochs[-1]), ticks=_whole_ticks(epochs))
    lines = [
        Line(name="training", x=epochs, y=columns["train_loss"], kind="second", dots=True),
        Line(name="validation", x=epochs, y=columns["val_loss"], dots=True),
    ]
    finite = np.concatenate([columns["train_loss"], columns["val_loss"]])
    finite = finite[np.isfinite(finite)]
    top = float(finite.max()) if finite.size else 1.0
    loss = draw_chart(
        "Loss",
        x,
        Axis(label="loss (nats)", low=0.0, high=top, ticks=nice_ticks(0.0, top)),
        lines,
        name="loss",
        summary=f"Loss over {len(epochs)} epochs.",
    )
    shown = [f"<figure>{loss}</figure>"]
    accuracy = columns["val_balanced_accuracy"]
    if np.isfinite(accuracy).any():
        low, high = float(np.nanmin(accuracy)), float(np.nanmax(accuracy))
        low, high = (low - 0.01, high) if high - low < 1e-6 else (low, high)
        chart = draw_chart(
            "Balanced accuracy on validation pairs",
            x,
            Axis(label="balanced accuracy", low=low, high=high, ticks=nice_ticks(low, high), percent=True),
            [Line(name="validation", x=epochs, y=accuracy, dots=True)],
            name="accuracy",
            summary=f"From {low:.4f} to {high:.4f} over {len(epochs)} epochs.",
        )
        shown.append(f"<figure>{chart}</figure>")
    took = "" if run.seconds is None else f" They took {run.seconds:,.0f} s."
    return (
        f"<section id='training'><h2>Training</h2><p>{len(epochs)} epoch{'s' if len(epochs) != 1 else ''}; the best by "
        f"validation loss was kept.{took}</p><div class='charts'>{''.join(shown)}</div></section>"
    )


def _whole_ticks(epochs: Any) -> tuple[float, ...]:
    return tuple(sorted({float(round(tick)) for tick in nice_ticks(float(epochs[0]), float(epochs[-1]))}))


def counts(findings: Findings) -> str:
    """The counts at every threshold as JSON that can stand inside a page."""
    figures = findings.figures
    positive, negative = figures.num_positive, figures.num_pairs - figures.num_positive
    found = {
        "first": float(findings.thresholds[0]),
        "perUnit": round(1 / STEP),
        "positive": findings.matching_positive.tolist(),
        "negative": findings.matching_negative.tolist(),
        "numPositive": positive,
        "numNegative": negative,
        "own": {
            "threshold": figures.threshold,
            "positive": positive - (round(figures.fnmr * positive) if positive else 0),
            "negative": round(figures.fmr * negative) if negative else 0,
        },
        "low": float(findings.edges[0]),
        "chart": charts.plot_span(),
    }
    return json.dumps(found, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
