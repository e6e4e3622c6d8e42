from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import write_pictures

from pairsim import PairDataset
from pairsim.data import load_data
from pairsim.data.image_sets import subset
from pairsim.errors import DataError
from pairsim.runs.group_names import find_group_names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of each of three people at two sites."""
    for name in ("north_ann", "north_bob", "south_cy"):
        write_pictures(tmp_path / "data" / name, ["1_left.png", "2_right.png"], (8, 8))
    return tmp_path / "data"


def names_of(folder: Path, groups: str) -> list[str | None]:
    found = find_group_names(load_data(folder, "all", image_size=(8, 8)), str(folder), groups)
    return list(found.names)  # type: ignore[arg-type]


def test_a_pattern_is_searched_in_classes_then_in_paths(folder: Path) -> None:
    assert names_of(folder, "^([a-z]+)_") == ["north"] * 4 + ["south"] * 2
    assert names_of(folder, "left|right") == ["left", "right"] * 3
    assert names_of(folder, "bob") == [None, None, "bob", "bob", None, None]  # counted by the report, not dropped
    assert find_group_names(load_data(folder, "all"), str(folder), "bob").by == "the pattern bob"


def test_a_column_of_the_metadata_goes_first(folder: Path) -> None:
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in sorted(folder.rglob("*.png"))]
    sites = ["a", "b", "", "a", "b", "a"]
    lines = [f"{row},{site}" for row, site in zip(rows, sites, strict=True)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label,site", *lines]) + "\n")
    assert names_of(folder, "site") == ["a", "b", None, "a", "b", "a"]
    part = subset(load_data(folder, "all", image_size=(8, 8)), np.array([1, 3, 4]))
    found = find_group_names(part, str(folder), "site")
    assert (found.names, found.by) == (("b", "a", "b"), "the column site")


def test_pairs_have_the_groups_of_both_pictures_or_their_own(folder: Path) -> None:
    (folder / "pairs.csv").write_text(
        "first,second,target,group\n"
        "north_ann/1_left.png,north_ann/2_right.png,1,x\nnorth_ann/1_left.png,south_cy/1_left.png,0,y\n"
    )
    pairs = PairDataset.from_csv(folder / "pairs.csv", image_size=(8, 8))
    assert find_group_names(pairs, str(folder), "group").names == ("x", "y")
    found = find_group_names(pairs, str(folder), "^[a-z]+")
    assert found.names == (("north", "north"), ("north", "south"))


def test_what_names_no_group(folder: Path) -> None:
    with pytest.raises(DataError, match=r"Expected 'camera' to name groups of the pictures in .*, found none"):
        names_of(folder, "camera")
    with pytest.raises(ValueError, match="Expected groups to be a regular expression"):
        names_of(folder, "(")
    digits = load_data("digits", "test")
    with pytest.raises(DataError, match="Expected a folder of pictures to find groups in by 'x', got digits"):
        find_group_names(digits, "digits", "x")
