"""Pairs that a list has more than once."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from picture_files import folder_of_classes

from pairsim import PairDataset
from pairsim.data import load_data
from pairsim.runs.run_pairs import read_numbered_list

LIST = "first,second,target\na/0.png,a/1.png,1\na/0.png,b/2.png,0\nb/2.png,b/3.png,1\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("b/3.png,b/2.png,1\n", "1 repeated pair counts each time. Remove repeats that are not intended."),
        (
            "a/1.png,a/0.png,0\n",
            "1 pair is listed with both targets, such as {0}/a/0.png and {0}/a/1.png. Keep the right one.",
        ),
        (
            "b/2.png,a/0.png,1\nb/2.png,a/0.png,1\na/0.png,b/2.png,0\nb/3.png,b/2.png,0\n",
            "2 pairs are listed with both targets, such as {0}/a/0.png and {0}/b/2.png. Keep the right one. "
            "2 repeated pairs count each time. Remove repeats that are not intended.",
        ),
    ],
)
def test_of_pictures(tmp_path: Path, rows: str, expected: str) -> None:
    folder_of_classes(tmp_path, "ab", shape=(10, 24))
    (tmp_path / "pairs.csv").write_text(LIST + rows)
    with pytest.warns(UserWarning, match="pair") as caught:
        PairDataset.from_csv(tmp_path / "pairs.csv")
    assert [str(one.message) for one in caught] == [expected.format(tmp_path)]
    assert caught[0].filename == __file__


def test_without_repeats_nothing_is_said(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, "ab", shape=(10, 24))
    (tmp_path / "pairs.csv").write_text(LIST)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(PairDataset.from_csv(tmp_path / "pairs.csv")) == 3


def test_by_number(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("first,second,target\n0,1,1\n1,0,0\n1,2,0\n")
    with pytest.warns(UserWarning, match=r"^1 pair is listed with both targets, such as 0 and 1. Keep the right one.$"):
        read_numbered_list(tmp_path / "pairs.csv", load_data("digits", "test"))
