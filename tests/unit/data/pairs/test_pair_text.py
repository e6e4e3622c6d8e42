from __future__ import annotations

from pathlib import Path

import pytest

from pairsim._common.csv_files import SEPARATORS
from pairsim.data.pairs.pair_columns import is_pair, rank
from pairsim.data.pairs.pair_files import read_table
from pairsim.data.pairs.pair_text import find_separator, read_text
from pairsim.errors import DataError

ROWS = [("\u00e4.png", "b.png", "1"), ("c.png", "d.png", "0")]
PAIRS, TARGET = [(first, second) for first, second, _ in ROWS], [1, 0]


def text(separator: str = ",", end: str = "\n") -> str:
    return end.join([*(separator.join(row) for row in ROWS), ""])


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"],
)
@pytest.mark.parametrize("header", ["", "path1,path2,label\n"])
def test_encodings(tmp_path: Path, encoding: str, header: str) -> None:
    file = tmp_path / "pairs.csv"
    file.write_bytes((header + text()).encode(encoding))
    table = read_table(file)
    assert (table.pairs, table.target) == (PAIRS, TARGET)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("top", ["", "sep", "# made by hand", "file1{0}file2{0}same"])
def test_separators_and_line_ends(tmp_path: Path, end: str, separator: str, top: str) -> None:
    first = f"sep={separator}" if top == "sep" else top.format(separator)
    file = tmp_path / "pairs.csv"
    file.write_bytes((first + end + text(separator, end) if top else text(separator, end)).encode())
    table = read_table(file)
    assert (table.pairs, table.target) == (PAIRS, TARGET)
    file.write_bytes((text(separator, end) + separator.join(("a.png", "b.png", "perhaps")) + end).encode())
    with pytest.raises(DataError, match="Expected line 3 of"):
        read_table(file)


@pytest.mark.parametrize("separator", SEPARATORS)
def test_quoted_fields_hold_separators_quotes_and_spaces(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(f'"a{separator}1.png"{separator} "b ""x"".png" {separator}1\n')
    assert read_table(file).pairs == [(f"a{separator}1.png", 'b "x".png')]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_empty_columns_at_the_end_and_empty_lines_are_dropped(tmp_path: Path, separator: str) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("".join(f"{separator.join(row)}{2 * separator}\n{4 * separator}\n\n" for row in ROWS), "utf-8")
    table = read_table(file)
    assert (table.pairs, table.target, table.folds) == (PAIRS, TARGET, None)


def test_decimal_commas_beside_semicolons(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("path1;score;path2;label\na.png;0,93;b.png;1,0\nc.png;1,2;d.png;0\n")
    table = read_table(file)
    assert (table.pairs, table.target) == ([("a.png", "b.png"), ("c.png", "d.png")], [1, 0])


@pytest.mark.parametrize("name", ["a;b;c.png", "a\tb\tc.png", "a|b|c.png"])
def test_commas_come_before_other_separators(tmp_path: Path, name: str) -> None:
    file = tmp_path / "pairs.csv"
    for row in (f"{name},{name}2,1\n", f"{name},d.png\n"):
        file.write_text(row)
        assert find_separator(read_text(file, is_pair), rank) == ","
        assert read_table(file).pairs[0][0] == name


def test_comments_at_the_top_are_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("# one, two\n\n#three\na.png,b.png,1\n# late,x,1\n")
    found = read_text(file, is_pair)
    assert (found.comments, found.first, found.lines[0]) == (["# one, two", "", "#three"], 4, "a.png,b.png,1")
    file.write_text("#1.png,b.png\n#2.png,c.png\nd.png,e.png\n")
    assert read_text(file, is_pair).first == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04....", "it is a workbook or an archive. Save the table as CSV in UTF-8"),
        (b"\xff\xfe\x00", "it is not text in utf-8, utf-16 or cp1252"),
        (b"a.png,b\x81.png,1\n", "it is not text in utf-8, utf-16 or cp1252"),
        (b'a.png,b.png,1\n"c.png,d.png,0\n', "Expected quotes around whole fields in line 2 of"),
        (b"a.png,b.png,1\n" + b"c" * 200_000 + b",d.png,1\n", "Expected line 2 of .* to be a pair, but: field larger"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "pairs.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_table(file)
