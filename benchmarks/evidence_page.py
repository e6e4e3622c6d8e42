"""The measured section of docs/evidence.md, from the files in `benchmarks/results/`. Written by `benchmarks.readme`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Results
from benchmarks.timing import Row

_FIGURES = {
    "roc_auc": "AUC",
    "eer": "EER",
    "fmr": "FMR",
    "fnmr": "FNMR",
    "fnmr_at_fmr_0.01": "FNMR at FMR 1 %",
}


def evidence(results: Results) -> str:
    """The section between the markers."""
    parts = (
        _coverage(results),
        _calibration(results),
        _thresholds(results),
        _unseen(results),
        _audit(results),
        _cost(results),
    )
    lines = [line for part in parts for line in part]
    closing = "From the files in `benchmarks/results`; `python -m benchmarks` measures again."
    return "\n".join([*lines, closing if lines else "Not measured yet."]) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    aligned = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, aligned, *rows)] + [""]


def _coverage(results: Results) -> list[str]:
    rows = results.rows("coverage", "Share of 95 %")
    if rows is None:
        return []
    arms = list(dict.fromkeys(str(row["arm"]) for row in rows))
    cells = {(row["arm"], row["figure"]): f"{float(row['covered']):.1%}" for row in rows}
    return [
        "## Do the intervals hold?",
        "",
        f"{rows[0]['sets']} simulated test sets with shared images, whose true figures are known: how often the 95 % "
        "interval holds the truth.",
        "",
        *_table(
            ["", *arms],
            [[name, *(cells.get((arm, figure), "-") for arm in arms)] for figure, name in _FIGURES.items()],
        ),
    ]


def _calibration(results: Results) -> list[str]:
    rows = results.rows("calibration", "Probabilities on all test pairs")
    shifted = results.rows("calibration", "Log-loss where 1 %")
    if rows is None or shifted is None:
        return []
    return [
        "## Do the probabilities hold?",
        "",
        "MNIST, calibrated on all pairs of the validation images, judged on all pairs of the test images; mean of "
        f"{_num_seeds(rows)} seeds, lowest to highest in brackets.",
        "",
        *_table(
            ["", "calibration error (ECE)", "log-loss"],
            [[arm, _range(rows, arm, "ece"), _range(rows, arm, "log_loss")] for arm in _arms(rows)],
        ),
        "The same test pairs with positive ones weighing 1 %:",
        "",
        *_table(["", "log-loss"], [[arm, _range(shifted, arm, "log_loss")] for arm in _arms(shifted)]),
    ]


def _thresholds(results: Results) -> list[str]:
    rows = results.rows("calibration", "A threshold for")
    if rows is None:
        return []
    return [
        "## Does the error rate hold?",
        "",
        "A threshold for a false match rate of 0.1 %, chosen on validation pairs of MNIST, with the interval that is "
        "stored beside it; and the rate on all pairs of the test images.",
        "",
        *_table(
            ["seed", "threshold", "stated interval", "FMR on test pairs", "inside", "FNMR on test pairs"],
            [
                [
                    str(row["seed"]),
                    f"{row['threshold']:.4f}",
                    f"{row['interval_low']:.3%} to {row['interval_high']:.3%}",
                    f"{row['test_fmr']:.3%}",
                    str(row["inside"]),
                    f"{row['test_fnmr']:.2%}",
                ]
                for row in rows
            ],
        ),
    ]


def _unseen(results: Results) -> list[str]:
    rows = results.rows("unseen", "Verification on seen")
    shots = results.rows("unseen", "20-way one-shot accuracy")
    if rows is None or shots is None:
        return []
    return [
        "## And classes that training never saw?",
        "",
        f"All pairs of the images named, {_num_seeds(rows)} training runs each, in brackets lowest to highest. The "
        "95 % intervals are those of the first run: for other images of the same classes, and for other classes.",
        "",
        *_table(
            ["", "classes", "EER", "interval by images", "by classes", "AUC"],
            [
                [
                    arm,
                    str(first["classes"]),
                    _range(rows, arm, "eer", percent=True),
                    f"{first['images_low']:.2%} to {first['images_high']:.2%}",
                    f"{first['classes_low']:.2%} to {first['classes_high']:.2%}",
                    _range(rows, arm, "roc_auc"),
                ]
                for arm in _arms(rows)
                for first in [next(row for row in rows if row["arm"] == arm)]
            ],
        ),
        "20-way one-shot accuracy (chance is 5 %):",
        "",
        *_table(
            ["", "accuracy", "interval by classes, first run"],
            [
                [
                    arm,
                    _range(shots, arm, "accuracy", percent=True),
                    f"{first['low']:.1%} to {first['high']:.1%}",
                ]
                for arm in _arms(shots)
                for first in [next(row for row in shots if row["arm"] == arm)]
            ],
        ),
    ]


def _audit(results: Results) -> list[str]:
    rows = results.rows("label-audit", "Label audit")
    if rows is None:
        return []
    return [
        "## Are the labels right?",
        "",
        "MNIST's training images, 2 % of labels flipped at random. Of the first images on the audit's list, half as "
        "many as were flipped, so many had been:",
        "",
        *_table(
            ["seed", "images", "flipped", "precision of the first half"],
            [
                [str(row["seed"]), f"{row['images']:,}", f"{row['flipped']:,}", f"{row['precision']:.1%}"]
                for row in rows
            ],
        ),
    ]


def _cost(results: Results) -> list[str]:
    rows = results.rows("metrics-cost", "Evaluation of all pairs")
    if rows is None:
        return []
    report = results.reports["metrics-cost"]
    return [
        "## What does it cost?",
        "",
        f"All pairs, embeddings of 128 dimensions, {report['hardware']['cores']} cores, "
        f"torch {report['versions']['torch']}; memory on top of what is loaded.",
        "",
        *_table(
            ["", "images", "pairs", "seconds", "MB"],
            [
                [
                    str(row["arm"]),
                    f"{row['images']:,}",
                    f"{row['pairs']:,}",
                    f"{row['seconds']:.1f}",
                    f"{row['peak_added_MB']:,.0f}",
                ]
                for row in rows
            ],
        ),
    ]


def _arms(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["arm"]) for row in rows))


def _num_seeds(rows: Sequence[Row]) -> int:
    return len({row["seed"] for row in rows})


def _range(rows: Sequence[Row], arm: str, column: str, *, percent: bool = False) -> str:
    values = [float(row[column]) for row in rows if row["arm"] == arm]
    mean, low, high = sum(values) / len(values), min(values), max(values)
    if percent:
        return f"{mean:.2%} ({low:.2%} to {high:.2%})"
    return f"{mean:.4f} ({low:.4f} to {high:.4f})"
