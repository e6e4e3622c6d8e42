"""Values of the page of a report."""

from __future__ import annotations

import math
from typing import Any

from pairsim.evaluation.errors.class_errors import ClassErrors
from pairsim.report.findings import Findings
from pairsim.report.sections import curves, histogram, slider_counts, training_curves
from pairsim.runs.run_records import RunRecords

MAX_CLASSES = 500
"""Maximum number of classes in the table: more would make the page slow and too long to read."""
_SHOWN_SETTINGS = ("objective", "epochs", "batch_size", "optimizer", "learning_rate", "scheduler", "augment", "seed")


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
