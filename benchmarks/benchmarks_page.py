"""The page of benchmarks in the docs: every table of `benchmarks/results`, with where and when it was measured."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Results


def all_results(results: Results) -> str:
    """The newest tables of every benchmark as Markdown."""
    parts = []
    for name in sorted(results.reports):
        report = results.reports[name]
        parts.append(f"## {name}\n\n{_where(report)}")
        parts += [_table(table) for table in report["benchmarks"][name]]
    return "\n".join(parts)


def _where(report: dict[str, Any]) -> str:
    hardware, versions = report["hardware"], report["versions"]
    threads = report.get("threads", {}).get("torch")
    used = "" if threads is None else f", {threads} thread{'s' if threads != 1 else ''}"
    return f"{report['date'][:10]}, {hardware['cpu']}, {hardware['cores']} cores{used}, torch {versions['torch']}.\n"


def _table(table: dict[str, Any]) -> str:
    lines = [f"**{table['title']}**", ""]
    rows = table["rows"]
    if rows:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        lines.append(f"| {' | '.join(column.replace('_', ' ') for column in columns)} |")
        lines.append(f"|{'|'.join('---' if column == columns[0] else '---:' for column in columns)}|")
        lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]
    lines += ["", *(f"- {note}" for note in table["notes"])]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value).replace("|", "\\|")
