"""Evaluate a run on data and write the HTML report: its charts, the counts for its slider, and facts."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pairsim._common import storage
from pairsim._common.devices import resolve_device
from pairsim._common.environment import describe_environment
from pairsim.evaluation.curve_data import join_points
from pairsim.models import SimilarityModel
from pairsim.report.charts import LEFT, RIGHT, Axis, Line, Mark, draw_chart, nice_ticks
from pairsim.report.findings import STEPS_PER_UNIT, Findings, find
from pairsim.report.group_matrix import group_matrix
from pairsim.report.rendering import page_path, percent, render
from pairsim.runs.run_records import read_run
from pairsim.verification.model_evaluation import Groups
from pairsim.verification.verification_report import VerificationReport

MAX_CLASSES = 500
"""Maximum number of classes in the table: more would make the page slow and too long to read."""
_SHOWN_SETTINGS = ("objective", "epochs", "batch_size", "optimizer", "learning_rate", "scheduler", "augment", "seed")
_POINTS_BETWEEN = 100
"""Rates from one end of an axis to the other, at which points are added between those of a curve."""
_DECADES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def write_report(
    run: str | os.PathLike[str],
    dataset: Any,
    out: str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
    data: str = "",
    split: str = "",
    source: str = "",
    most: int = 12,
    groups: Groups | None = None,
    complete: Callable[[VerificationReport], VerificationReport] | None = None,
    batch_size: int | None = None,
    model: SimilarityModel | None = None,
    device: str = "auto",
    progress: bool | None = None,
) -> Findings:
    """Evaluate a model on all pairs of labelled images, or on given pairs, and write one HTML page.

    The page needs no other file.

    Args:
        run: Run folder, or model folder.
        dataset: Labelled images, or a `PairDataset`, on which the model was not trained.
        out: The page to write, `.html`; an existing one is replaced.
        names: A name for each class, in the order of the sorted labels; by default the labels.
        title: Title of the page; by default made from the name of the run.
        data: The data on the command line with their options, such as `"photos --groups site"`, for "how to reproduce".
        split: Split of the data: "test", "val" or "train".
        source: Origin of the images, in words.
        most: Maximum number of errors of each kind, and of label suspects.
        groups: Groups of images or pairs, as for `evaluate`.
        complete: Adds to the figures what only the caller knows.
        batch_size: Images embedded at once; by default a size that suits the device.
        model: The model of the run where it is loaded already; it stays on its device, and `device` is ignored. By
            default it is loaded from `run`.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The data of the page.

    Raises:
        DataError: If there are fewer than two images, names do not fit, or the model has no threshold.
        RunError: If there is no model, or the page cannot be written.
        ValueError: If `out` does not end in .html or .htm.
    """
    path = page_path(out)
    where = resolve_device(device) if model is None else model.device
    records = read_run(run)
    if model is None:
        model = SimilarityModel.from_pretrained(run).to(where)
    findings = find(model, dataset, names=names, most=most, groups=groups, batch_size=batch_size, progress=progress)
    if complete is not None:
        findings = dataclasses.replace(findings, figures=complete(findings.figures))
    figures, classes = findings.figures, findings.classes
    share = figures.num_positive / figures.num_pairs if figures.num_pairs else math.nan
    known, here = set(map(str, records.data.get("class_names", ()))), {row.name for row in classes}
    if len(classes) > MAX_CLASSES:
        most_errors = sorted(classes, key=lambda row: row.false_non_matches + row.false_matches, reverse=True)
        classes = tuple(most_errors[:MAX_CLASSES])
    page = render(
        "page.html",
        title=title or f"Similarity report: {records.name}",
        folder=shlex.quote(os.fspath(run)),
        data=data,
        split=split,
        source=source,
        environment=describe_environment(where),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        findings=findings,
        has_pictures=not model.preprocessing.of_vectors,
        figures=figures,
        run=records,
        positive_share=share,
        other_share=abs(share - figures.prior) > 0.05,
        seen_classes="none" if known and here and not here & known else "all" if known and here <= known else "",
        classes=classes,
        training_data={key: records.data[key] for key in ("data", "num_images") if key in records.data},
        settings={key: records.config[key] for key in _SHOWN_SETTINGS if key in records.config},
        histogram=histogram(findings),
        curves=curves(findings),
        training=training_curves(records.epochs),
        counts=slider_counts(findings),
        group_matrix=None if figures.by_group is None else group_matrix(figures.by_group),
    )
    storage.write_file(path, storage.encoded(page))
    return findings


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
    # Down to the lowest FMR above 0 that these pairs can have.
    lowest = min(math.floor(-math.log10(figures.num_pairs - figures.num_positive)), -2)
    decades = tuple(10.0**power for power in range(0, lowest - 1, -1))[:: 1 + (-lowest - 1) // 5]
    x = Axis(label="false match rate", low=10.0**lowest, high=1.0, scale="log", percent=True, ticks=decades)
    curve = join_points(findings.curve, x.spread(_POINTS_BETWEEN), np.zeros(0))
    start = max(0.0, math.floor(10 * (1.0 - float(curve.fnmr[curve.fmr >= x.low].max()))) / 10 - 0.1)
    roc = draw_chart(
        "ROC curve",
        x,
        Axis(label="true match rate", low=start, high=1.0, percent=True, ticks=nice_ticks(start, 1)),
        [Line(name="model", x=curve.fmr, y=1 - curve.fnmr)],
        marks=[
            Mark(
                x=max(figures.fmr, x.low),
                y=1 - figures.fnmr,
                text="threshold" if figures.fmr else "threshold, FMR 0 % (outside)",
            )
        ],
        name="roc",
        summary=f"True match rate over false match rate on a logarithmic scale; area {figures.roc_auc:.4f}.",
    )
    ends, ticks = np.array([5e-5, 0.6]), (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5)
    x, y = (
        Axis(label=f"false {kind} rate", low=5e-5, high=0.6, scale="deviate", percent=True, ticks=ticks)
        for kind in ("match", "non-match")
    )
    curve = join_points(findings.curve, x.spread(_POINTS_BETWEEN), y.spread(_POINTS_BETWEEN))
    seen = (curve.fmr > 0) & (curve.fmr < 1) & (curve.fnmr > 0) & (curve.fnmr < 1)
    det = draw_chart(
        "DET curve",
        x,
        y,
        [Line(name="model", x=curve.fmr, y=curve.fnmr), Line(name="equal rates", x=ends, y=ends, kind="plain")],
        marks=[Mark(x=figures.eer, y=figures.eer, text=f"EER {percent(figures.eer, 2)}", falling=True)],
        note="" if seen.any() else "at every threshold a rate is 0 or 100 %: outside the axes",
        name="det",
        summary=f"False non-match rate over false match rate; they are equal at {figures.eer:.4f}.",
    )
    unit, fifths = np.array([0.0, 1.0]), nice_ticks(0, 1)
    reliability = draw_chart(
        "Reliability of the probabilities",
        Axis(label="predicted probability of the same class", low=0.0, high=1.0, ticks=fifths, percent=True),
        Axis(label="share of pairs of the same class", low=0.0, high=1.0, ticks=fifths, percent=True),
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
    numbers, train, val, accuracy = (
        np.array([record.get(key) for record in epochs], dtype=np.float64)
        for key in ("epoch", "train_loss", "val_loss", "val_balanced_accuracy")
    )
    first, last = float(numbers[0]), float(numbers[-1])
    whole_ticks = tuple(sorted({float(round(tick)) for tick in nice_ticks(first, last)}))
    x = Axis(label="epoch", low=first, high=last, ticks=whole_ticks)
    losses = np.concatenate([train, val])
    top = float(np.max(losses, where=np.isfinite(losses), initial=0.0)) or 1.0
    charts = [
        draw_chart(
            "Loss",
            x,
            Axis(label="loss (nats)", low=0.0, high=top, ticks=nice_ticks(0.0, top)),
            [
                Line(name="training", x=numbers, y=train, kind="second", dots=True),
                Line(name="validation", x=numbers, y=val, dots=True),
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
