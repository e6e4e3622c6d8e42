"""No figure in the README that was not measured."""

from __future__ import annotations

import re

from benchmarks.readme import README, measured, with_measured
from benchmarks.results import FOLDER, Results
from pairsim.cli.train import EXPECTED_MNIST


def test_readme_shows_the_files_in_results() -> None:
    page = README.read_text(encoding="utf-8")
    assert page == with_measured(page, measured()), "run: python -m benchmarks.readme"


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
