"""The page on the record of an evaluation: its tables are those of the code, with all keys that are printed."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from run_command import here
from trained_run import train_run

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "concepts" / "record.md").read_text(encoding="utf-8")


def keys_of(heading: str) -> set[str]:
    """The keys in the table below a heading."""
    section = PAGE.split(f"### {heading}\n", 1)[1].split("\n### ", 1)[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


def test_the_tables_are_those_of_the_classes() -> None:
    made = runpy.run_path(str(DOCS / "record_tables.py"))
    section = PAGE.split(made["BEGIN"])[1].split(made["END"])[0]
    assert section == made["tables"](), "python docs/record_tables.py"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command prints on labelled images with groups, and on pairs with folds and kinds."""
    from picture_files import write_pictures

    folder = tmp_path_factory.mktemp("record")
    train_run(folder / "run")
    for number in range(4):
        names = [f"{k}.png" for k in range(4)]
        write_pictures(folder / "data" / f"{'ab'[number % 2]}{number}", names, (8, 8), brightest=60 + 60 * number)
    rows = ["a0/0.png,a0/1.png,1,,0", "b1/0.png,b1/1.png,1,,1", "a0/0.png,b1/0.png,0,x,0", "a0/1.png,b1/1.png,0,x,1"]
    (folder / "pairs.csv").write_text("\n".join(["first,second,target,kind,fold", *rows, "a0/2.png,gone.png,0,x,0"]))
    call = ("evaluate", "run", "data", "--json")
    labelled = here(*call, "--groups", "^[ab]", cwd=folder)
    given = here(*call, "--pairs", "pairs.csv", "--on-error", "skip", cwd=folder)
    assert (labelled.status, given.status) == (0, 0), labelled.err + given.err
    return labelled.json, given.json


def test_all_keys_that_are_printed_are_documented_and_the_other_way_round(
    printed: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    labelled, given = printed
    assert set(given) == keys_of("The object")
    assert set(labelled) == keys_of("The object") - {"num_skipped", "skipped"}
    for heading, found in (
        ("`by_group`", labelled["by_group"]),
        ("`by_group.groups`, a list", labelled["by_group"]["groups"][0]),
        ("`by_group.worst_fmr` and `by_group.worst_fnmr`", labelled["by_group"]["worst_fmr"]),
        ("`acquisition`", given["acquisition"]),
        ("`threshold_origin`", given["threshold_origin"]),
        ("`throughput`", given["throughput"]),
        ("`images_per_class`", labelled["images_per_class"]),
        ("`kinds`, an object by the name of the kind", given["kinds"]["x"]),
        ("`k_fold`", given["k_fold"]),
        ("`k_fold.folds`, a list", given["k_fold"]["folds"][0]),
    ):
        assert set(found) == keys_of(heading), heading
    assert given["num_skipped"] == 1
    assert given["acquisition"]["num_failures"] == 1
    assert labelled["by_group"]["by"] == "the pattern ^[ab]"
