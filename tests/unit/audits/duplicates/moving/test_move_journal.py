from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from moved_files import NOT_UTF_8

from pairsim._common.json_files import sealed_lines
from pairsim.audits.duplicates.moving.move_journal import Journal, Step, journal_name, read_journal
from pairsim.errors import RunError

STEP = Step(
    name=f"sub/{NOT_UTF_8}",
    kept="a.png",
    temporary=".move.0123456789abcdef.tmp",
    size=3,
    content_sha256="0" * 64,
    mtime_ns=10**18 + 1,
    mode=0o644,
    inode=2**63,
    kept_inode=0,
    links=("b.png",),
)
HEAD = {"format": "pairsim-moves", "version": 1, "action": "move", "folder": "/a", "target": "/b"}


def test_steps_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / journal_name()
    journal = Journal(path, "move", tmp_path / NOT_UTF_8, tmp_path)
    other = replace(STEP, name="other\n\u202e.png", links=())
    for step in ("sub", STEP, other):
        journal.add(step)
    journal.close()
    assert path.read_bytes().isascii()
    assert len(path.read_bytes().splitlines()) == 4
    record = read_journal(path)
    assert record is not None
    assert (record.action, record.folder, record.target) == ("move", tmp_path / NOT_UTF_8, tmp_path)
    assert record.steps == ("sub", STEP, other)


def test_a_step_that_was_not_taken(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "link", tmp_path, tmp_path)
    journal.add(STEP)
    journal.withdraw()
    journal.add("sub")
    journal.close()
    record = read_journal(tmp_path / "j")
    assert record is not None
    assert record.steps == ("sub",)


def test_a_journal_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("mine")
    with pytest.raises(RunError, match=r"Could not write the journal .*File exists"):
        Journal(tmp_path / "j", "move", tmp_path, tmp_path)
    assert (tmp_path / "j").read_text() == "mine"
    assert journal_name() != journal_name()


def test_each_cut_gives_the_steps_before_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", "move", tmp_path, tmp_path)
    journal.add("sub")
    journal.add(STEP)
    journal.close()
    content = (tmp_path / "j").read_bytes()
    for size in range(len(content) + 1):
        (tmp_path / "j").write_bytes(content[:size])
        whole = content[:size].count(b"\n")
        record = read_journal(tmp_path / "j")
        assert (record is None) == (whole == 0)
        if record is not None:
            assert record.steps == ("sub", STEP)[: whole - 1]


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([{"format": "other"}], "to be a journal of pairsim duplicates, found another file"),
        ([{**HEAD, "version": 2}], "to be of version 1, found 2"),
        ([{**HEAD, "action": "delete"}], "line 1, found other content"),
        ([{**HEAD, "folder": "a"}], "line 1, found other content"),
        ([HEAD, {"made": "../x"}], "line 2, found other content"),
        ([HEAD, {"withdrawn": True}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "name": "/etc/passwd"}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "name": "a/../../b"}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "links": ["../b"]}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "kept": "/a/../b"}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "temporary": "a.png"}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "temporary": "../.move.0123456789abcdef.tmp"}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "size": "3"}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "mtime_ns": 10**400}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "mode": -1}], "line 2, found other content"),
        ([HEAD, {**vars(STEP), "more": 1}], "line 2, found other content"),
    ],
)
def test_journals_of_strangers(tmp_path: Path, records: list[dict[str, Any]], said: str) -> None:
    (tmp_path / "j").write_bytes(sealed_lines(records))
    with pytest.raises(RunError, match=said):
        read_journal(tmp_path / "j")


def test_damage_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(sealed_lines([HEAD, vars(STEP)]).replace(b"b.png", b"c.png"))
    with pytest.raises(RunError, match="line 2 is damaged"):
        read_journal(tmp_path / "j")
    for content in (b"text", b"\n\n", b"[1]\n", json.dumps("x").encode() + b"\n"):
        (tmp_path / "j").write_bytes(content)
        with pytest.raises(RunError, match=r"Expected .*j"):
            read_journal(tmp_path / "j")
    with pytest.raises(RunError, match="No such file"):
        read_journal(tmp_path / "absent")
