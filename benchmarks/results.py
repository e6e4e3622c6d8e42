"""Reading result files: the newest figures of each benchmark on one kind of device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timing import Row

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Results:
    """Result files, by benchmark.

    Attributes:
        reports: For each benchmark the whole report that has it.
    """

    reports: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path | None = None, *, cuda: bool = False) -> Results:
        """The newest figures of each benchmark in a folder, but for those of `--quick`.

        Args:
            folder: `benchmarks/results` by default.
            cuda: Whether those of a GPU are wanted, or those of the CPU.
        """
        reports: dict[str, dict[str, Any]] = {}
        for report in sorted(_reports(FOLDER if folder is None else folder), key=lambda found: str(found["date"])):
            if report["options"]["quick"] or (report["options"]["device"] == "cuda") != cuda:
                continue
            reports |= dict.fromkeys(report["benchmarks"], report)
        return cls(reports)

    def rows(self, benchmark: str, title: str) -> list[Row] | None:
        """The rows of the benchmark's first table whose title begins so; `None` if that was not measured."""
        report = self.reports.get(benchmark)
        for table in report["benchmarks"][benchmark] if report is not None else ():
            if table["title"].startswith(title) and table["rows"]:
                rows: list[Row] = table["rows"]
                return rows
        return None

    def row(self, benchmark: str, title: str, arm: str) -> Row | None:
        """The first row of such a table whose arm begins so."""
        for row in self.rows(benchmark, title) or ():
            if str(row.get("arm", "")).startswith(arm):
                return row
        return None


def read_report(path: Path) -> dict[str, Any]:
    """One file of results.

    Raises:
        ValueError: If it is not one.
    """
    content: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "benchmarks" not in content:
        raise ValueError(f"Expected results of python -m benchmarks --json, found something else in {path}.")
    return content


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield read_report(path)
