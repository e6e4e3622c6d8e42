"""The measured section of docs/benchmarks.md: a summary, then every table of the files in `benchmarks/results/`.

`python -m benchmarks.readme` writes it.
"""

from __future__ import annotations

from benchmarks import targets
from benchmarks.report import Table, aligned_table, measured_on, to_markdown
from benchmarks.results import Results
from benchmarks.unseen_pages import winners


def benchmarks(results: Results) -> str:
    """Return the summary and the newest tables of every benchmark as Markdown."""
    summary = (
        _processors(results),
        _quality(results),
        winners(results),
        _recipes(results),
        _targets(results),
        _facts(results),
    )
    parts = ["\n".join(part) for part in summary if part]
    for name in sorted(results.reports):
        report = results.reports[name]
        parts.append(f"## {name}\n\n{measured_on(report)}\n")
        parts += [
            to_markdown(Table(table["title"], table["rows"], table["notes"])) for table in report["benchmarks"][name]
        ]
    return "\n".join(parts)


def _processors(results: Results) -> list[str]:
    every = [report["hardware"] for report in results.reports.values()]
    known = {hardware["cpu"] for hardware in every}
    others = {part["cpu"] for report in results.reports.values() for part in report.get("also_measured_on", ())}
    found = sorted({f"{hardware['cpu']} ({', '.join(hardware['cpu_flags'])})" for hardware in every} | (others - known))
    return ["## Summary", "", f"Measured on: {'; '.join(found)}.", ""] if found else []


def _quality(results: Results) -> list[str]:
    rows = results.rows("quality", "Quality on MNIST, mean")
    if rows is None:
        return []
    return [
        "### Quality on MNIST",
        "",
        "Balanced accuracy at probability 0.5 and equal error rate (EER) on all 49,995,000 pairs of MNIST's 10,000 "
        f"test images. {measured_on(results.reports['quality'])}",
        "",
        *aligned_table(
            ["`pairsim train mnist`", "seeds", "mean", "lowest to highest", "mean EER"],
            [
                [
                    f"`--objective {row['objective']} --epochs {row['epochs']}"
                    f"{' --augment ' + row['augment'] if row.get('augment') else ''}`",
                    str(row["seeds"]),
                    f"{row['mean_balanced_accuracy']:.2%}",
                    f"{row['lowest']:.2%} to {row['highest']:.2%}",
                    f"{row['mean_eer']:.2%}",
                ]
                for row in rows
            ],
        ),
        *_notebook_quality(results),
    ]


def _notebook_quality(results: Results) -> list[str]:
    row = results.row("reference", "Quality of the weights kept", "notebook")
    if row is None:
        return []
    return [
        f"On the same pairs, the weights that the notebook saves after {row['epochs']} epochs reach "
        f"{row['balanced_accuracy']:.2%} (one run). The notebook chooses its best epoch by test pairs. "
        f"{measured_on(results.reports['reference'])}",
        "",
    ]


def _recipes(results: Results) -> list[str]:
    epochs = results.rows("epoch", "An epoch of")
    alone = {row["arm"]: row for row in results.rows("epoch", "Its training part alone") or ()}
    if epochs is None:
        return []
    return [
        "### Speed compared with the notebook",
        "",
        'The notebook\'s recipe as written, and `objective="pairs"` with the same hyper-parameters (medians). '
        f"{measured_on(results.reports['epoch'])}",
        "",
        *aligned_table(
            ["", "epoch, with evaluation and saving", "speed", "speed of the training part alone"],
            [
                [
                    str(row["arm"]),
                    f"{row['seconds']:.1f} s",
                    f"{row['ratio']:.2f}x",
                    f"{alone[row['arm']]['ratio']:.2f}x",
                ]
                for row in epochs
                if "seconds" in row and row["arm"] in alone
            ],
        ),
    ]


def _targets(results: Results) -> list[str]:
    """Return the targets, if one of the benchmarks that were made for them has been run."""
    if not targets.MADE_FOR_TARGETS & set(results.reports):
        return []
    lines = [
        "### Targets",
        "",
        "Targets for 2 CPU cores, and the measured figures. Ratios are medians.",
        "",
        "| | compared with | at least | aim | measured |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['what']} | {row['against']} | {row['at_least']} | {row['aim']} | {row['measured']} |"
        for row in targets.rows(results)
    ]
    return [*lines, ""]


def _facts(results: Results) -> list[str]:
    lines = []
    drawn = results.row("sampling", "Drawing pairs: 60,000", "pairsim")
    many = results.row("sampling", "Drawing pairs: 10,000,000", "pairsim")
    if drawn is not None and many is not None:
        lines.append(
            f"- Drawing pairs on one core: {drawn['pairs_per_s'] / 1e6:.1f} million pairs per second from 60,000 "
            f"images, {many['pairs_per_s'] / 1e6:.1f} million from 10,000,000 images."
        )
    built = results.rows("index", "ClassIndex.from_labels")
    if built is not None:
        lines.append(
            f"- Indexing {built[0]['labels']:,} labels: {built[0]['seconds']:.2f} s and "
            f"{built[0]['peak_added_MB']:.0f} MB."
        )
    title = "The 10 nearest of 100,000: {}, 100 classes"
    searched = results.row("search", title.format("1,000 queries"), "pairsim")
    single = results.row("search", title.format("1 query"), "pairsim")
    if searched is not None and single is not None:
        lines.append(
            f"- Exact search for the 10 nearest of 100,000 embeddings of 100 classes: "
            f"{1000 * single['seconds']:.1f} ms for one query, {searched['queries_per_s']:,.0f} queries per second for "
            f"1,000 at once."
        )
    added = results.row("import", "import pairsim", "import pairsim")
    if added is not None:
        lines.append(f"- `import pairsim` adds {added['seconds']:.2f} s to `import torch`.")
    return ["### Other figures", "", *lines, ""] if lines else []
