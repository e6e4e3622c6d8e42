"""Figures in README and docs are those of the files in benchmarks/results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.readme import PAGES, highlights, with_measured
from benchmarks.report import other_machines
from benchmarks.results import FOLDER, Results
from pairsim.cli.training.fitting import EXPECTED_MNIST

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_the_files_in_results(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    assert content == with_measured(content, PAGES[page](Results.read(FOLDER))), "run: python -m benchmarks.readme"


def test_the_readme_has_seven_figures() -> None:
    assert {page.name for page in PAGES} == {"README.md", "evidence.md", "benchmarks.md", "heads.md"}
    section = highlights(Results.read(FOLDER))
    assert section.count("\n| ") == 7
    assert section in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_processor_that_a_file_names_is_stated_with_its_figures() -> None:
    reports = Results.read(FOLDER).reports
    readme, page = (path.read_text(encoding="utf-8") for path in (ROOT / "README.md", ROOT / "docs" / "benchmarks.md"))
    for name, report in reports.items():
        notes = " ".join(note for table in report["benchmarks"][name] for note in table.get("notes", ()))
        named = set(re.findall(r"\b(Intel|AMD) ?(?:\(R\) )?(?:Xeon|EPYC)", notes))
        stated = {report["hardware"]["cpu"], *(part["cpu"] for part in report.get("also_measured_on", ()))}
        assert named <= {re.split(r"\W", cpu)[0] for cpu in stated}, f"{name}: add also_measured_on"
        section = page.partition(f"\n## {name}\n")[2].partition("\n### ")[0]
        assert all(cpu in section for cpu in stated), name
    assert all(part in readme for part in other_machines(reports["open-world"]))


def test_train_expects_what_was_measured() -> None:
    ranges = [tuple(map(float, found)) for found in re.findall(r"([\d.]+) to ([\d.]+) %", EXPECTED_MNIST)]
    rows = Results.read(FOLDER).rows("quality", "Quality on MNIST by seed")
    assert rows is not None
    for epochs, (low, high) in zip((2, 22), ranges, strict=True):
        measured_runs = [
            round(100 * row["balanced_accuracy"], 1)
            for row in rows
            if (row["objective"], row["epochs"]) == ("all-pairs", epochs)
        ]
        assert len(measured_runs) == 3
        assert low <= min(measured_runs) <= max(measured_runs) <= high
