"""No figure in the README that was not measured."""

from __future__ import annotations

from benchmarks.readme import README, measured, with_measured


def test_readme_shows_the_files_in_results() -> None:
    page = README.read_text(encoding="utf-8")
    assert page == with_measured(page, measured()), "run: python -m benchmarks.readme"
