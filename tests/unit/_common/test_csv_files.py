from __future__ import annotations

import csv
import importlib
import inspect
import os
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pairsim
from pairsim._common.csv_files import write_csv
from pairsim.audits import Duplicate, DuplicateCluster, DuplicateReport, LabelAudit
from pairsim.errors import RunError
from pairsim.verification import PairVerdicts

NAME = 'ä, "b"\n=c.png'
RESULTS: dict[type, Any] = {
    PairVerdicts: PairVerdicts(
        first=(NAME, "x"),
        second=("y", "z"),
        similarity=np.array([0.1, -0.25]),
        probability=np.array([0.5, 0.0]),
        match=np.array([True, False]),
        threshold=0.3,
        fmr=None,
        target=np.array([1, 1]),
    ),
    DuplicateReport: DuplicateReport(
        clusters=(DuplicateCluster(keep=NAME, members=(Duplicate(file="x", similarity=0.995, kind="near"),)),),
        num_images=2,
        threshold=0.99,
        skipped=(),
    ),
    LabelAudit: LabelAudit(
        images=np.array([4, 1]), given=np.array([NAME, "b"]), proposed=np.array(["b", "c"]), score=np.array([0.5, 0.1])
    ),
}
ROWS: dict[type, list[str]] = {
    PairVerdicts: [
        "first,second,similarity,probability,match,threshold,fmr,target,correct",
        f"{NAME},y,0.1,0.5,1,0.3,,1,1",
        "x,z,-0.25,0.0,0,0.3,,1,0",
    ],
    DuplicateReport: ["cluster,file,similarity,kind,keep", f"1,{NAME},1.000000,kept,yes", "1,x,0.995000,near,no"],
    LabelAudit: ["image,given,proposed,score", f"4,{NAME},b,0.5", "1,b,c,0.1"],
}


def test_these_are_all_results_that_are_written_as_csv() -> None:
    found = set()
    for module in pkgutil.walk_packages(pairsim.__path__, "pairsim."):
        if not module.name.endswith("__main__"):
            members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            found |= {kind for _, kind in members if kind.__module__ == module.name and hasattr(kind, "to_csv")}
    assert found == set(RESULTS)


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("as_type", [str, Path])
def test_every_result_is_written_alike(tmp_path: Path, kind: type, as_type: type) -> None:
    result, path = RESULTS[kind], tmp_path / "new" / "deep" / "table.csv"
    assert result.to_csv(as_type(path)) is None
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert b"\r" not in content
    with path.open(newline="", encoding="utf-8") as file:
        assert [",".join(row) for row in csv.reader(file)] == ROWS[kind]
    path.write_text("an earlier file")
    result.to_csv(path)
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("kind", RESULTS)
def test_every_result_keeps_the_old_file_if_it_cannot_be_written(
    tmp_path: Path, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("an earlier file")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"Could not write .*table\.csv: No space left on device"):
        RESULTS[kind].to_csv(path)
    assert path.read_text() == "an earlier file"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize("kind", RESULTS)
def test_no_result_is_written_over_a_folder(tmp_path: Path, kind: type) -> None:
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(RunError, match=r"Could not write .*table\.csv"):
        RESULTS[kind].to_csv(tmp_path / "table.csv")
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_true_and_false_are_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ("a", "b"), [(True, 0.5), (False, None)])
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,0.5\n0,\n"


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
