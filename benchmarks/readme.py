"""Writes the README's measured figures from the files in `benchmarks/results/`: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->\n"


def measured(results: Path = HERE / "results") -> str:
    """The section between the markers."""
    quality, reference = _load(results, "quality"), _load(results, "reference")
    sampling, index, added = (_load(results, name) for name in ("sampling", "index", "import"))
    hardware, versions = reference["hardware"], reference["versions"]
    lines = [
        f"On {hardware['cores']} cores ({hardware['cpu']}, {', '.join(hardware['cpu_flags'])}), torch "
        f"{versions['torch']}, {reference['date'][:10]}. Quality is balanced accuracy at probability 0.5 on **all** "
        "49,995,000 pairs of MNIST's 10,000 test images. pairsim uses no test image to choose anything; the notebook "
        "picks its best epoch by test pairs.",
        "",
        "| `pairsim train mnist` | seeds | mean | lowest to highest | mean EER |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| `--objective {row['objective']} --epochs {row['epochs']}` | {row['seeds']} | "
        f"{row['mean_balanced_accuracy']:.2%} | {row['lowest']:.2%} to {row['highest']:.2%} | {row['mean_eer']:.2%} |"
        for row in _rows(quality, "quality", "Quality on MNIST, mean")
    ]
    kept = {row["arm"]: row for row in _rows(reference, "reference", "Quality of the weights kept")}
    lines += [
        "",
        'The notebook\'s recipe as written beside `objective="pairs"` with the same hyper-parameters, epochs taking '
        "turns in one process (medians; one training run each, so small differences in quality mean nothing):",
        "",
        f"| | epoch | speed | training part alone | quality after {next(iter(kept.values()))['epochs']} epochs |",
        "|---|---:|---:|---:|---:|",
    ]
    alone = {row["arm"]: row for row in _rows(reference, "reference", "Its training part alone")}
    for row in _rows(reference, "reference", "An epoch of"):
        name = row["arm"]
        reached = f"{kept[name]['balanced_accuracy']:.2%}" if name in kept else "not measured"
        lines.append(
            f"| {name} | {row['seconds']:.1f} s | {row['ratio']:.2f}x | {alone[name]['ratio']:.2f}x | {reached} |"
        )
    drawn = _rows(sampling, "sampling", "Drawing pairs: 60,000")[1]
    many = _rows(sampling, "sampling", "Drawing pairs: 10,000,000")[1]
    built = _rows(index, "index", "ClassIndex.from_labels")[0]
    mnist = _rows(index, "index", "Index of")[1]
    extra = _rows(added, "import", "import pairsim")[1]
    lines += [
        "",
        f"- Pairs drawn on one core: {drawn['pairs_per_s'] / 1e6:.1f} million a second from 60,000 images, "
        f"{many['pairs_per_s'] / 1e6:.1f} million from 10,000,000.",
        f"- Index of {built['labels']:,} labels: {built['seconds']:.2f} s and {built['peak_added_MB']:.0f} MB; of "
        f"MNIST's labels {mnist['ratio']:,.0f} times faster than decoding every image.",
        f"- `import pairsim` adds {extra['seconds']:.2f} s to `import torch`.",
        "",
        "From the files in [benchmarks/results](benchmarks/results); `python -m benchmarks` measures again.",
    ]
    return "\n".join(lines) + "\n"


def with_measured(page: str, section: str) -> str:
    """A page with the section between its markers replaced."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{section}{END}{after}"


def _load(results: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / f"{name}-cpu.json").read_text(encoding="utf-8"))
    return content


def _rows(report: dict[str, Any], benchmark: str, title: str) -> list[dict[str, Any]]:
    for table in report["benchmarks"][benchmark]:
        if table["title"].startswith(title):
            rows: list[dict[str, Any]] = table["rows"]
            return rows
    raise LookupError(f"no table {title!r} in the results of {benchmark}")


if __name__ == "__main__":
    README.write_text(with_measured(README.read_text(encoding="utf-8"), measured()), encoding="utf-8")
    sys.exit(0)
