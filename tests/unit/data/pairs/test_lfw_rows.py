from __future__ import annotations

from pathlib import Path

import pytest

from pairsim.data.pairs.lfw_rows import is_lfw, lfw_rows
from pairsim.data.pairs.pair_columns import is_pair
from pairsim.data.pairs.pair_text import read_text
from pairsim.errors import DataError


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["10", "300"], ["Ann", "1", "2"]], True),
        ([["300"], ["Ann", "1", "Cy", "2"]], True),
        ([["Ann", "1", "2"]], True),
        ([["0", "1", "1"], ["2", "3", "0"]], False),
        ([["a.png", "b.png", "1"]], False),
        ([["a,b"], ["c,d"]], False),
    ],
)
def test_lists_of_lfw_are_recognised(rows: list[list[str]], expected: bool) -> None:
    assert is_lfw(rows) is expected


def test_rows_name_pictures_and_targets(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("1\t1\nAnn_B\t1\t4\nAnn_B\t4\tCy_D\t12\n\n")
    text = read_text(file, is_pair)
    assert lfw_rows(text, [line.split("\t") for line in text.lines]) == [
        ("Ann_B/Ann_B_0001.jpg", "Ann_B/Ann_B_0004.jpg", 1),
        ("Ann_B/Ann_B_0004.jpg", "Cy_D/Cy_D_0012.jpg", 0),
    ]
    with pytest.raises(DataError, match=r"Expected line 2 of .* to be 'name n1 n2' .* found 'Ann_B"):
        lfw_rows(text, [["1", "1"], ["Ann_B", "1"]])
