"""Write measured figures into README and docs from the files in `benchmarks/results/`: `python -m benchmarks.readme`.

A figure that is in no file is left out, or written as "not measured" if a table has a place for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import targets
from benchmarks.benchmarks_page import benchmarks
from benchmarks.coverage import COMPUTED, INDEPENDENT
from benchmarks.duplicate_scores import FALSE_PAIRS
from benchmarks.duplicates import BY_EDIT, CNN, EDITED
from benchmarks.duplicates import PAIRSIM as SEARCH
from benchmarks.evidence_page import evidence
from benchmarks.open_world import FROZEN, TRAINED
from benchmarks.report import other_machines
from benchmarks.results import FOLDER, Results
from benchmarks.time_to_quality import DEFAULT, GOAL, PAIRSIM, SHARE
from benchmarks.unseen_pages import PHOTOGRAPHS, library_best, photographs

_ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->\n"
_BENCHMARKS = (
    "quality",
    "reference",
    "time-to-quality",
    "evaluation",
    "coverage",
    "unseen",
    "open-world",
    "duplicates",
)


def highlights(results: Results) -> str:
    """Return the main figures of the README as a Markdown table."""
    parts = (_quality, _time, _evaluation, _coverage, _unseen, _photographs, _duplicates)
    found = [part(results) for part in parts]
    rows = [f"| {' | '.join(row)} |" for row in found if row is not None]
    if not rows:
        return "Not measured yet.\n"
    return "\n".join(["| | pairsim | compared with |", "|---|---|---|", *rows, "", _measured_on(results)]) + "\n"


def with_measured(page: str, section: str) -> str:
    """Return a page with the section between its markers replaced."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{section}{END}{after}"


def _measured_on(results: Results) -> str:
    reports = [results.reports[name] for name in _BENCHMARKS if name in results.reports]
    machines = sorted({f"{report['hardware']['cpu']}, {report['hardware']['cores']} cores" for report in reports})
    versions = sorted({report["versions"]["torch"] for report in reports})
    others = [f". {part}" for report in reports for part in other_machines(report)]
    return f"Measured on {'; '.join(machines)}, with torch {' and '.join(versions)}{''.join(others)}."


def _quality(results: Results) -> list[str] | None:
    rows = results.rows("quality", "Quality on MNIST, mean") or ()
    notebook = results.row("reference", "Quality of the weights kept", "notebook")
    default = next((row for row in rows if row["objective"] == "all-pairs" and not row.get("augment")), None)
    if default is None or notebook is None:
        return None
    return [
        f"balanced accuracy of `pairsim train mnist` ({default['epochs']} epochs)",
        f"{default['mean_balanced_accuracy']:.2%} ({default['seeds']} seeds: {default['lowest']:.2%} to "
        f"{default['highest']:.2%})",
        f"{notebook['balanced_accuracy']:.2%}: notebook, {notebook['epochs']} epochs, one run",
    ]


def _time(results: Results) -> list[str] | None:
    own = results.row("time-to-quality", "Seconds of training to", PAIRSIM)
    speeds = [target.text(target.find(results)) for target in targets.TARGETS if target.what == "time to 99.19 %"]
    if own is None or targets.NOT_MEASURED in speeds:
        return None
    notebook, library = speeds
    default = results.row("time-to-quality", "Seconds of training to", DEFAULT)
    by_default = "" if default is None else f"; {default['seconds']:.1f} s by default"
    return [
        f"training time to {GOAL:.2%} balanced accuracy",
        f"{own['seconds']:.1f} s, with Muon and {SHARE:.0%} of the images{by_default}",
        f"notebook: {notebook} as long; pytorch-metric-learning: {library} as long (the faster of two setups)",
    ]


def _evaluation(results: Results) -> list[str] | None:
    own = results.row("evaluation", "AUC and EER of all", "pairsim")
    other = results.row("evaluation", "AUC and EER of all", "scikit-learn")
    if own is None or other is None:
        return None
    return [
        "AUC and EER of all 49,995,000 test pairs, from embeddings",
        f"{own['seconds']:.1f} s",
        f"scikit-learn: {other['seconds']:.1f} s",
    ]


def _coverage(results: Results) -> list[str] | None:
    rows = results.rows("coverage", "Share of 95 %") or ()
    auc = {row["arm"]: row for row in rows if row["figure"] == "roc_auc"}
    own, independent = auc.get(COMPUTED), auc.get(INDEPENDENT)
    if own is None or independent is None:
        return None
    return [
        f"95% intervals of the AUC that contain the true value ({own['sets']} simulated test sets)",
        f"{own['covered']:.1%}",
        f"{independent['covered']:.1%}: intervals that treat pairs as independent",
    ]


def _unseen(results: Results) -> list[str] | None:
    rows = results.rows("unseen", "The same, mean") or ()
    eer = {row["arm"]: row["eer"] for row in rows}
    seen, unseen = (eer.get(f"Omniglot, 3 alphabets, {kind} characters") for kind in ("seen", "unseen"))
    if seen is None or unseen is None:
        return None
    return [
        "EER on Omniglot characters that are not in the training data",
        f"{unseen:.2%}",
        f"{seen:.2%}: characters in the training data",
    ]


def _photographs(results: Results) -> list[str] | None:
    means = f"{PHOTOGRAPHS}, mean"
    own, frozen = (results.row("open-world", means, f"groceries, {arm}") for arm in (TRAINED, FROZEN))
    library = library_best(results, "groceries")
    if own is None or frozen is None or library is None:
        return None
    eer, splits = library
    fewer = "" if splits == own["splits"] else f" ({splits} splits)"
    return [
        f"EER on photographs of products that are not in the training data ({own['splits']} splits)",
        f"{own['eer']:.1%}",
        f"{frozen['eer']:.1%}: pretrained net as it is; {eer:.1%}{fewer}: pytorch-metric-learning's best",
    ]


def _duplicates(results: Results) -> list[str] | None:
    rows = results.rows("duplicates", EDITED) or []
    own = next((row for row in rows if row["arm"] == SEARCH), None)
    edits = results.rows("duplicates", BY_EDIT)
    others = sorted((row for row in rows if row["arm"] != SEARCH), key=lambda row: -float(row["recall"]))
    best = next((row for row in others if row["arm"] != CNN), None)
    if own is None or edits is None or best is None:
        return None
    net = next((f"; {row['recall']:.1%}: {row['arm']}" for row in others if row["arm"] == CNN), "")
    return [
        f"pairs of edited copies of photographs ({len(edits)} edits) that `pairsim duplicates` finds",
        f"{own['recall']:.1%}, with {own['false_pairs']} false pair{'' if own['false_pairs'] == 1 else 's'}",
        f"{best['recall']:.1%}: the best perceptual hash, {best['arm']}{net} "
        f"(at thresholds chosen on the same pictures, with at most {FALSE_PAIRS} false pair)",
    ]


PAGES = {
    _ROOT / "README.md": highlights,
    _ROOT / "docs" / "concepts" / "heads.md": photographs,
    _ROOT / "docs" / "evidence.md": evidence,
    _ROOT / "docs" / "benchmarks.md": benchmarks,
}
"""Pages with measured figures, and the functions that write their sections."""


if __name__ == "__main__":
    for page, section in PAGES.items():
        content = with_measured(page.read_text(encoding="utf-8"), section(Results.read(FOLDER)))
        page.write_text(content, encoding="utf-8")
    sys.exit(0)
