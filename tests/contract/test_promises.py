"""Every promise to users names tests, and every test that is named is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
TRUST = ROOT / "docs" / "trust.md"
PAGES = [ROOT / "SECURITY.md", TRUST]
_QUOTED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@cache
def names_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def rows() -> list[str]:
    """The rows of the tables, without their heads."""
    lines = TRUST.read_text(encoding="utf-8").splitlines()
    heads = {number for number, line in enumerate(lines[1:]) if line.startswith("|---")}
    return [line for number, line in enumerate(lines) if line.startswith("| ") and number not in heads]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip()[:60])
def test_every_promise_names_a_test(row: str) -> None:
    assert row.count("|") == 3
    assert _QUOTED.search(row.split("|")[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    quoted = _QUOTED.findall(text)
    assert len(re.findall(r"tests/", text)) == len(quoted)  # none is written in another form
    absent = [
        f"{file}::{name}"
        for file, name in quoted
        if not (ROOT / file).is_file() or (name and name not in names_in(ROOT / file))
    ]
    assert absent == []


def test_promises_are_found() -> None:
    assert len(rows()) > 20


def test_the_page_lists_the_protections_that_are_taken_away() -> None:
    listed = TRUST.read_text(encoding="utf-8").split("## Protections that are taken away")[1].split("\n\n")[2]
    assert listed.strip(" .\n").replace("\n", " ").split(", ") == [mutant.name for mutant in MUTANTS]


def test_mutants_name_tests_and_text_that_are_there() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    for mutant in MUTANTS:
        text = (ROOT / "src" / "pairsim" / mutant.file).read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, mutant.name
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert not name or name in names_in(ROOT / file), test
            assert (ROOT / file).is_file(), test
