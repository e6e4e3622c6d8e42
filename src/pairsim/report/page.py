"""The page of a report: one HTML file that needs nothing else; it can be read without network and without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pairsim.evaluation.errors.class_errors import ClassErrors
from pairsim.report.findings import Findings
from pairsim.report.rendering import render
from pairsim.report.sections import curves, histogram, slider_counts, training_curves
from pairsim.runs.run_records import RunRecords

MAX_CLASSES = 500
"""Maximum number of classes in the table: more would make the page slow and too long to read."""
_SHOWN_SETTINGS = (
    "objective", "epochs", "batch_size", "optimizer", "learning_rate", "scheduler", "augment", "seed",
)  # fmt: skip


def build_page(
    findings: Findings,
    run: RunRecords,
    *,
    title: str,
    data: str,
    split: str,
    source: str,
    environment: Mapping[str, Any],
    made: str,
) -> str:
    """Build the page.

    Args:
        findings: Data of the report.
        run: Records of the run.
        title: Title of the page.
        data: Name of the data on the command line.
        split: Split of the data.
        source: Origin of the images.
        environment: Versions and device of the evaluation.
        made: Date and time.

    Returns:
        HTML; every name in it is escaped.
    """
    figures = findings.figures
    share = figures.num_positive / figures.num_pairs if figures.num_pairs else math.nan
    known, here = set(map(str, run.data.get("class_names", ()))), {row.name for row in findings.classes}
    most_errors = sorted(findings.classes, key=_num_errors, reverse=True)[:MAX_CLASSES]
    return render(
        "page.html",
        findings=findings,
        figures=figures,
        run=run,
        title=title,
        data=data,
        split=split,
        source=source,
        environment=environment,
        made=made,
        positive_share=share,
        other_share=abs(share - figures.prior) > 0.05,
        seen_classes=None if not known else "none" if not here & known else "all" if here <= known else "some",
        classes=findings.classes if len(most_errors) == len(findings.classes) else most_errors,
        training_data={key: run.data[key] for key in ("data", "num_images") if key in run.data},
        settings={key: run.config[key] for key in _SHOWN_SETTINGS if key in run.config},
        histogram=histogram(findings),
        curves=curves(findings),
        training=training_curves(run.epochs),
        counts=slider_counts(findings),
    )


def _num_errors(row: ClassErrors) -> int:
    return row.false_non_matches + row.false_matches
