"""The measured section of docs/evidence.md, from the files in `benchmarks/results/`.

`python -m benchmarks.readme` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.groups import COMPUTED, INDEPENDENT
from benchmarks.report import aligned_table
from benchmarks.results import Results
from benchmarks.timing import Row

_FIGURES = {
    "roc_auc": "AUC",
    "eer": "EER",
    "fmr": "FMR",
    "fnmr": "FNMR",
    "fnmr_at_fmr_0.01": "FNMR at FMR 1%",
}


_GROUP_EXAMPLES = {
    "Groups of products": "Examples: groceries of a shop, a frozen MobileNetV2 with cosine, and one threshold for all.",
    "Groups of faces by the brightness": "Faces of LFW, the same net, grouped by the mean brightness of the picture.",
    "Groups of people drawn": "The same faces, the people drawn into three groups at random.",
}
"""Tables of the benchmark by the beginning of their titles, and what is said of them."""


def evidence(results: Results) -> str:
    """Return the section between the markers."""
    parts = (
        _coverage(results),
        _groups(results),
        _identification(results),
        _calibration(results),
        _thresholds(results),
        _unseen(results),
        _audit(results),
        _cost(results),
    )
    lines = [line for part in parts for line in part]
    closing = "`python -m benchmarks.readme` writes this section from the files in `benchmarks/results`."
    return "\n".join([*lines, closing if lines else "Not measured yet."]) + "\n"


def _coverage(results: Results) -> list[str]:
    rows = results.rows("coverage", "Share of 95 %")
    if rows is None:
        return []
    arms = list(dict.fromkeys(str(row["arm"]) for row in rows))
    cells = {(row["arm"], row["figure"]): f"{float(row['covered']):.1%}" for row in rows}
    return [
        "## Do the intervals hold?",
        "",
        f"Share of 95% intervals that contain the true value, over {rows[0]['sets']} simulated test sets. In each set, "
        "pairs share images, and the true value is known.",
        "",
        *aligned_table(
            ["", *arms],
            [[name, *(cells.get((arm, figure), "-") for arm in arms)] for figure, name in _FIGURES.items()],
        ),
    ]


def _groups(results: Results) -> list[str]:
    rows = results.rows("groups", "Share of 95 % intervals of groups")
    if rows is None:
        return []
    cells = {(row["arm"], row["figure"], row["classes"]): f"{float(row['covered']):.1%}" for row in rows}
    sizes = sorted({int(row["classes"]) for row in rows})
    shown = {
        "FMR": (COMPUTED, "fmr"),
        "FNMR": (COMPUTED, "fnmr"),
        "FMR of the worst group over the mean": (COMPUTED, "worst_fmr"),
        "FNMR of the worst group over the mean": (COMPUTED, "worst_fnmr"),
        "FMR, pairs taken for independent": (INDEPENDENT, "fmr"),
        "FNMR, pairs taken for independent": (INDEPENDENT, "fnmr"),
    }
    lines = [
        "## Do the intervals of groups hold?",
        "",
        "Share of 95% intervals that contain the true value, by the number of classes (identities) in each of three "
        "simulated groups. The intervals of the ratio of the worst group to the geometric mean are made to be safe.",
        "",
        *aligned_table(
            ["", *(f"{size} classes" for size in sizes)],
            [[name, *(cells.get((*key, size), "-") for size in sizes)] for name, key in shown.items()],
        ),
    ]
    for title, about in _GROUP_EXAMPLES.items():
        if example := results.rows("groups", title):
            lines += _group_example(results, about, example)
    return lines


def _group_example(results: Results, about: str, rows: Sequence[Row]) -> list[str]:
    table = next(table for table in results.reports["groups"]["benchmarks"]["groups"] if table["rows"] == list(rows))
    return [
        f"{about} {' '.join(table['notes'])}",
        "",
        *aligned_table(
            ["group", "classes", "images", "FMR", "95% interval", "FNMR", "95% interval"],
            [
                [
                    str(row["group"]),
                    str(row["classes"]),
                    str(row["images"]),
                    *(text for figure in ("fmr", "fnmr") for text in _rate_cells(row, figure)),
                ]
                for row in rows
            ],
        ),
    ]


def _identification(results: Results) -> list[str]:
    rows = results.rows("identify", "Identification among")
    stated = results.rows("identify", "Stated FPIR")
    if rows is None or stated is None:
        return []
    return [
        "## Who is it, or none of these?",
        "",
        "Five pictures of each identity are enrolled; queries are other pictures of them, and pictures of identities "
        "that are not enrolled. Rank-1: share of the queries of enrolled identities whose nearest identity is the "
        "right one. FNIR: share of them that are not found at the threshold at which 10% or 1% of the unknown ones are "
        "assigned an identity (FPIR). Training had none of the products and characters, and none of the digits 7 to 9.",
        "",
        *aligned_table(
            ["", "enrolled", "rank-1", "FNIR at FPIR 10%", "FNIR at FPIR 1%"],
            [
                [
                    str(row["arm"]),
                    str(row["enrolled"]),
                    f"{float(row['rank_1']):.1%}",
                    f"{float(row['fnir_at_0.1']):.1%} ({float(row['fnir_at_0.1_low']):.0%} to "
                    f"{float(row['fnir_at_0.1_high']):.0%})",
                    f"{float(row['fnir_at_0.01']):.1%}",
                ]
                for row in rows
            ],
        ),
        "Does the FPIR hold that `calibrate_gallery` states from the gallery's own pictures, and does its prediction "
        f"hold for larger galleries? In {stated[0]['draws']} draws of who is enrolled: how often the interval contains "
        "what was found, and how often both agree within their intervals, as what was found has an error too:",
        "",
        *aligned_table(
            ["", "size of the gallery", "interval contains it", "both agree", "FPIR stated", "FPIR found"],
            [
                [
                    str(row["arm"]),
                    "as calibrated" if row["size"] == 1 else f"{row['size']} times",
                    f"{float(row['held']):.0%}",
                    f"{float(row['covered']):.0%}",
                    f"{float(row['stated']):.1%}",
                    f"{float(row['found']):.1%}",
                ]
                for row in stated
            ],
        ),
    ]


def _rate_cells(row: Row, figure: str) -> tuple[str, str]:
    """A rate of a group and its interval."""
    if row[figure] is None:
        return "too few classes", "-"
    return f"{float(row[figure]):.2%}", f"{float(row[f'{figure}_low']):.2%} to {float(row[f'{figure}_high']):.2%}"


def _calibration(results: Results) -> list[str]:
    rows = results.rows("calibration", "Probabilities on all test pairs")
    shifted = results.rows("calibration", "Log-loss where 1 %")
    if rows is None or shifted is None:
        return []
    return [
        "## Do the probabilities hold?",
        "",
        "MNIST, calibrated on all pairs of the validation images and evaluated on all pairs of the test images. Mean "
        f"of {_num_seeds(rows)} seeds, range in parentheses.",
        "",
        *aligned_table(
            ["", "calibration error (ECE)", "log-loss"],
            [[arm, _range(rows, arm, "ece"), _range(rows, arm, "log_loss")] for arm in _arms(rows)],
        ),
        "The same test pairs, weighted so that 1% of them are positive:",
        "",
        *aligned_table(["", "log-loss"], [[arm, _range(shifted, arm, "log_loss")] for arm in _arms(shifted)]),
    ]


def _thresholds(results: Results) -> list[str]:
    rows = results.rows("calibration", "A threshold for")
    if rows is None:
        return []
    return [
        "## Does the error rate hold?",
        "",
        "A threshold for a false match rate (FMR) of 0.1%, chosen on validation pairs of MNIST, with its stored "
        "interval, and the rates on all pairs of the test images.",
        "",
        *aligned_table(
            ["seed", "threshold", "stored interval", "FMR on test pairs", "inside interval", "FNMR on test pairs"],
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
        "## Do results hold for unseen classes?",
        "",
        f"All pairs of the evaluated images. Mean of {_num_seeds(rows)} training runs, range in parentheses. The 95% "
        "intervals are of the first run: for new images of the same classes, and for new classes.",
        "",
        *aligned_table(
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
        "20-way one-shot accuracy (chance: 5%):",
        "",
        *aligned_table(
            ["", "accuracy", "interval by classes (first run)"],
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
        "## Does the label audit find wrong labels?",
        "",
        "MNIST's training images with 2% of the labels changed at random. The precision is that of the first images on "
        "the audit's list, half as many as there are changed labels.",
        "",
        *aligned_table(
            ["seed", "images", "labels changed", "precision"],
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
        "## What does evaluation cost?",
        "",
        f"All pairs, embeddings of 128 dimensions, {report['hardware']['cores']} cores, "
        f"torch {report['versions']['torch']}. Memory is in addition to the loaded data.",
        "",
        *aligned_table(
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
