from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from pairsim._common.csv_files import write_csv
from pairsim.errors import RunError


def test_rows_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    write_csv(path, ("name", "number"), [('a,"b"', 1), ("ü\nv", None), ("=1+1", 0.5)])
    assert path.read_bytes().startswith(b'name,number\n"a,""b""",1\n')
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name", "number"], ['a,"b"', "1"], ["ü\nv", ""], ["=1+1", "0.5"]]


def test_names_of_files_need_not_be_utf8(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ("name",), [(os.fsdecode(b"\xff.png"),)])
    assert (tmp_path / "table.csv").read_bytes() == b"name\n\xff.png\n"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Could not write .*table\.csv"):
        write_csv(tmp_path / "file" / "table.csv", ("name",), [])
