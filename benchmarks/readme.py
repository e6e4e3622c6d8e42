"""Writes measured figures into README and docs from the files in `benchmarks/results/`: `python -m benchmarks.readme`.

What no file has is left out, or marked "not measured" where a table has a place for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import targets
from benchmarks.benchmarks_page import all_results
from benchmarks.evidence_page import evidence
from benchmarks.results import FOLDER, Results

_ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->\n"


def measured(results: Results) -> str:
    """The README's section between the markers."""
    parts = (_head(results), _quality(results), _recipes(results), _targets(results), _facts(results))
    lines = [line for part in parts if part for line in ("", *part)][1:]
    lines += ["", "From the files in [benchmarks/results](benchmarks/results); `python -m benchmarks` measures again."]
    return "\n".join(lines) + "\n"


def with_measured(page: str, section: str) -> str:
    """A page with the section between its markers replaced."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{section}{END}{after}"


def _head(results: Results) -> list[str]:
    report = results.reports.get("epoch") or results.reports.get("quality")
    if report is None:
        return []
    hardware, versions = report["hardware"], report["versions"]
    quality = results.reports.get("quality", report)
    threads = [count for count in (_threads(report), _threads(quality)) if count]
    counts = " ".join([*threads[:1], *(f"(quality: {count})" for count in threads[1:] if count != threads[0])])
    return [
        f"On {hardware['cores']} cores ({hardware['cpu']}, {', '.join(hardware['cpu_flags'])}), "
        f"{counts + ', ' if counts else ''}torch "
        f"{versions['torch']}, {report['date'][:10]}. Quality is balanced accuracy at probability 0.5 on **all** "
        "49,995,000 pairs of MNIST's 10,000 test images. pairsim uses no test image to choose anything; the notebook "
        "picks its best epoch by test pairs.",
    ]


def _threads(report: Mapping[str, Any]) -> str:
    count = report.get("threads", {}).get("torch")
    return "" if count is None else f"{count} thread{'' if count == 1 else 's'}"


def _torch_of(results: Results, name: str) -> str:
    """Which version a single figure was measured with, as files differ in it."""
    return f" (torch {results.reports[name]['versions']['torch']})"


def _quality(results: Results) -> list[str]:
    rows = results.rows("quality", "Quality on MNIST, mean")
    if rows is None:
        return []
    lines = [
        "| `pairsim train mnist` | seeds | mean | lowest to highest | mean EER |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        augment = f" --augment {row['augment']}" if row.get("augment") else ""
        lines.append(
            f"| `--objective {row['objective']} --epochs {row['epochs']}{augment}` | {row['seeds']} | "
            f"{row['mean_balanced_accuracy']:.2%} | {row['lowest']:.2%} to {row['highest']:.2%} | "
            f"{row['mean_eer']:.2%} |"
        )
    return lines


def _recipes(results: Results) -> list[str]:
    epochs = results.rows("epoch", "An epoch of")
    alone = {row["arm"]: row for row in results.rows("epoch", "Its training part alone") or ()}
    if epochs is None:
        return []
    lines = [
        'The notebook\'s recipe as written beside `objective="pairs"` with the same hyper-parameters, epochs taking '
        "turns in one process (medians):",
        "",
        "| | epoch, with evaluation and saving | speed | training part alone |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['arm']} | {row['seconds']:.1f} s | {row['ratio']:.2f}x | {alone[row['arm']]['ratio']:.2f}x |"
        for row in epochs
        if "seconds" in row and row["arm"] in alone
    ]
    notebook = results.row("reference", "Quality of the weights kept", "notebook")
    if notebook is not None:
        report = results.reports["reference"]
        lines += [
            "",
            f"The weights that the notebook keeps of {notebook['epochs']} epochs, judged likewise: "
            f"{notebook['balanced_accuracy']:.2%} (one run, torch {report['versions']['torch']}, "
            f"{report['date'][:10]}).",
        ]
    return lines


def _targets(results: Results) -> list[str]:
    """The targets, once one of the benchmarks that were made for them has been run."""
    if not targets.MADE_FOR_TARGETS & set(results.reports):
        return []
    lines = [
        "What is aimed at on 2 cores, and what was measured (ratios are medians; arms take turns in one process):",
        "",
        "| | against | at least | aim | measured |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['what']} | {row['against']} | {row['at_least']} | {row['aim']} | {row['measured']} |"
        for row in targets.rows(results)
    ]
    return lines


def _facts(results: Results) -> list[str]:
    lines = []
    drawn = results.row("sampling", "Drawing pairs: 60,000", "pairsim")
    many = results.row("sampling", "Drawing pairs: 10,000,000", "pairsim")
    if drawn is not None and many is not None:
        lines.append(
            f"- Pairs drawn on one core: {drawn['pairs_per_s'] / 1e6:.1f} million a second from 60,000 images, "
            f"{many['pairs_per_s'] / 1e6:.1f} million from 10,000,000{_torch_of(results, 'sampling')}."
        )
    built = results.rows("index", "ClassIndex.from_labels")
    if built is not None:
        text = f"- Index of {built[0]['labels']:,} labels: {built[0]['seconds']:.2f} s and "
        text += f"{built[0]['peak_added_MB']:.0f} MB"
        mnist = results.row("index", "Index of", "pairsim")
        if mnist is not None:
            text += f"; of MNIST's labels {mnist['ratio']:,.0f} times faster than decoding every image"
        lines.append(f"{text}{_torch_of(results, 'index')}.")
    searched = results.row("search", "The 10 nearest of 100,000: 1,000 queries, 100 classes", "pairsim")
    single = results.row("search", "The 10 nearest of 100,000: 1 query, 100 classes", "pairsim")
    flat = results.row("search", "The 10 nearest of 100,000: 1,000 queries, 100 classes", "FAISS")
    if searched is not None and single is not None and flat is not None:
        lines.append(
            f"- The 10 nearest of 100,000 embeddings of 100 classes, exactly: {1000 * single['seconds']:.1f} ms for "
            f"one query, {searched['queries_per_s']:,.0f} queries a second for 1,000 at once, "
            f"{searched['ratio']:.2g} times as many as FAISS's flat index{_torch_of(results, 'search')}."
        )
    added = results.row("import", "import pairsim", "import pairsim")
    if added is not None:
        lines.append(
            f"- `import pairsim` adds {added['seconds']:.2f} s to `import torch`{_torch_of(results, 'import')}."
        )
    return lines


PAGES = {
    _ROOT / "README.md": measured,
    _ROOT / "docs" / "evidence.md": evidence,
    _ROOT / "docs" / "benchmarks.md": all_results,
}
"""Pages with measured figures, and what writes their sections."""


if __name__ == "__main__":
    for page, section in PAGES.items():
        content = with_measured(page.read_text(encoding="utf-8"), section(Results.read(FOLDER)))
        page.write_text(content, encoding="utf-8")
    sys.exit(0)
