from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from folder_trees import locked
from moved_files import (
    COPIES,
    Killed,
    carry_out,
    killed_at,
    names_in,
    refusing,
    report_on_folder,
    state,
    two_file_systems,
    write_folder,
)

from pairsim.audits.duplicates.duplicate_report import Duplicate, DuplicateCluster
from pairsim.audits.duplicates.moving.moves import LeftFile, apply_moves, plan_moves, stamps_of
from pairsim.audits.duplicates.moving.undo import undo_moves
from pairsim.errors import RunError

MOVED = (*COPIES, "near.png")


def border(where: Path, action: str) -> Path:
    """The folder that is on a file system of its own; none that is used, for most actions."""
    return where / ("out" if "another" in action else "none")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos")


def test_a_plan_changes_nothing(folder: Path, tmp_path: Path) -> None:
    before = state(folder)
    plan = plan_moves(report_on_folder(), folder, stamps_of(folder, names_in(folder)), tmp_path / "out")
    assert [name for name, _ in plan.files] == list(MOVED)
    lines = plan.describe().split("\n")
    assert lines[0] == "Would move 5 files, 0.0 MB:"
    assert lines[1] == f"  sub/copy.png -> {tmp_path}/out/sub/copy.png"
    assert lines[4] == rf"  sub/caf\udce9.png -> {tmp_path}/out/sub/caf\udce9.png"
    assert lines[-1] == "Nothing was changed. To do this, add --apply."
    assert state(folder) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("disk", ["one file system", "two file systems", "no hard links"])
def test_members_are_moved_with_their_folders_and_come_back(folder: Path, tmp_path: Path, disk: str) -> None:
    before = state(folder)
    out = tmp_path / "out"
    if disk == "one file system":
        done = carry_out(folder, out)
    else:
        with two_file_systems(out) if disk[0] == "t" else refusing(errno.EPERM, calls=("link",)):
            done = carry_out(folder, out)
    assert (done.files, done.left) == (MOVED, ())
    assert names_in(folder) == ["a.png", "b.png", "c.png"]
    assert names_in(out) == sorted(MOVED)
    for name in MOVED:
        was = before[name]
        assert (out / name).read_bytes() == was.content
        assert ((out / name).stat().st_mtime_ns, (out / name).stat().st_mode) == (was.mtime_ns, was.mode)
    assert done.journal is not None
    assert done.describe().split("\n") == ["Moved 5 files.", f"To undo this: pairsim duplicates --undo {done.journal}"]
    with two_file_systems(out) if disk[0] == "t" else refusing(errno.EPERM, out.parent / "none"):
        undone = undo_moves(done.journal)
    assert undone.describe() == "Restored 5 files."
    assert state(folder) == before
    assert [path.name for path in out.iterdir()] == [done.journal.name]
    assert undo_moves(done.journal).files == ()  # once is enough
    assert state(folder) == before


def test_identical_files_become_links_and_files_again(folder: Path) -> None:
    before = state(folder)
    done = carry_out(folder, None)
    assert (done.files, done.left) == (COPIES, ())
    assert len({(folder / name).stat().st_ino for name in ("a.png", *COPIES)}) == 1
    assert (folder / "near.png").stat().st_nlink == 1
    assert done.journal is not None
    assert done.journal.parent == folder
    assert undo_moves(done.journal).files == COPIES
    assert state(folder) == before
    assert undo_moves(done.journal).files == ()


@pytest.mark.parametrize("action", ["move", "move to another file system", "link"])
def test_a_kill_at_any_call_loses_nothing(tmp_path: Path, action: str) -> None:
    write_folder(tmp_path / "whole" / "photos")
    with two_file_systems(border(tmp_path / "whole", action)), killed_at(None) as calls:
        carry_out(tmp_path / "whole" / "photos", None if action == "link" else tmp_path / "whole" / "out")
    num = len(calls)
    assert num > 15
    for number in range(1, num + 1):
        where = tmp_path / str(number)
        place = where / ("photos" if action == "link" else "out")
        target = None if action == "link" else place
        before = state(write_folder(where / "photos"))
        with two_file_systems(border(where, action)):
            with pytest.raises(Killed), killed_at(number):
                carry_out(where / "photos", target)
            there = [path.read_bytes() for path in where.rglob("*") if path.is_file()]
            assert all(one.content in there for one in before.values())
            if number % 3 == 0:  # the same command again, without an undo of the first
                carry_out(where / "photos", target)
            for journal in sorted(place.glob("*.jsonl"), reverse=True):
                assert undo_moves(journal).refused == ()
        assert state(where / "photos") == before, number
        assert names_in(place) == (sorted(before) if action == "link" else [])


@pytest.mark.parametrize("action", ["move", "move to another file system", "link"])
def test_a_kill_at_any_call_of_the_undoing(tmp_path: Path, action: str) -> None:
    number = 0
    while True:
        number += 1
        where = tmp_path / str(number)
        before = state(write_folder(where / "photos"))
        with two_file_systems(border(where, action)):
            journal = carry_out(where / "photos", None if action == "link" else where / "out").journal
            assert journal is not None
            try:
                with killed_at(number):
                    undo_moves(journal)
            except Killed:
                undo_moves(journal)
                assert state(where / "photos") == before, number
                assert names_in(journal.parent) == (sorted(before) if action == "link" else [])
            else:
                break
    assert number > 8


def test_files_that_were_changed_stay(folder: Path, tmp_path: Path) -> None:
    stamps = stamps_of(folder, names_in(folder))
    one = folder / "sub/copy.png"
    times = one.stat().st_mtime_ns
    one.write_bytes(b"other" * 300)
    os.utime(one, ns=(times, times))  # the same size and time
    (folder / "b.png").write_bytes(b"changed")
    plan = plan_moves(report_on_folder(), folder, stamps, tmp_path / "out")
    assert [name for name, _ in plan.files] == list(COPIES[1:])
    assert plan.left == (
        LeftFile("sub/copy.png", "it was changed since the search began"),
        LeftFile("near.png", "the picture that is kept was changed since the search began"),
    )
    assert "  near.png stays: the picture that is kept was changed" in plan.describe()
    (folder / COPIES[1]).unlink()
    (folder / COPIES[3]).write_bytes(b"changed after the plan")
    done = apply_moves(plan, stamps, tmp_path / "out" / "journal.jsonl")
    assert done.files == (COPIES[2],)
    assert [one.file for one in done.left] == ["sub/copy.png", "near.png", COPIES[1], COPIES[3]]
    assert (folder / COPIES[3]).read_bytes() == b"changed after the plan"


@pytest.mark.parametrize("action", ["move", "move to another file system", "link"])
def test_pictures_of_another_folder_are_kept(folder: Path, tmp_path: Path, action: str) -> None:
    kept, linked = tmp_path / "archive" / "a.png", tmp_path / "archive" / "linked.png"
    kept.parent.mkdir()
    kept.write_bytes((folder / "a.png").read_bytes())
    os.link(folder / COPIES[0], linked)  # restored as a hard link to a picture of the other folder
    report = report_on_folder()
    members = (Duplicate(file="a.png", similarity=1.0, kind="identical file"), *report.clusters[0].members)
    report = replace(report, clusters=(DuplicateCluster(keep=str(kept), members=members),))
    names = [*names_in(folder), str(kept), str(linked)]
    before, kept_before = state(tmp_path), kept.stat()
    out = None if action == "link" else tmp_path / "out"
    with two_file_systems(border(tmp_path, action)):
        stamps = stamps_of(folder, names)
        plan = plan_moves(report, folder, stamps, out)
        done = apply_moves(plan, stamps, plan.target / "pairsim-journal-0.jsonl")
        assert (done.files, done.left) == (("a.png", *COPIES), ())
        assert done.journal is not None
        assert undo_moves(done.journal).refused == ()
    if out is not None:
        assert names_in(out) == []
    after = {name: one for name, one in state(tmp_path).items() if "pairsim-journal" not in name and "lock" not in name}
    assert after == before
    assert kept.stat().st_ino == kept_before.st_ino


def test_files_stay_if_the_picture_of_another_folder_was_changed(folder: Path, tmp_path: Path) -> None:
    kept = tmp_path / "archive.png"
    kept.write_bytes(b"like the second")
    near = (Duplicate(file="near.png", similarity=1.0, kind="identical file"),)
    report = replace(report_on_folder(), clusters=(DuplicateCluster(keep=str(kept), members=near),))
    stamps = stamps_of(folder, [*names_in(folder), str(kept)])
    plan = plan_moves(report, folder, stamps, tmp_path / "out")
    assert plan.files == (("near.png", str(kept)),)
    kept.write_bytes(b"changed after the plan")
    expected = (LeftFile("near.png", "the picture that is kept was changed since the search began"),)
    assert apply_moves(plan, stamps, tmp_path / "out" / "journal.jsonl").left == expected
    assert plan_moves(report, folder, stamps, tmp_path / "out").left == expected


def test_only_bytes_that_agree_are_linked(folder: Path) -> None:
    wrong = Duplicate(file="near.png", similarity=1.0, kind="identical file")
    report = replace(report_on_folder(), clusters=(DuplicateCluster(keep="b.png", members=(wrong,)),))
    done = carry_out(folder, None, report)
    assert done.files == ()
    assert done.left == (LeftFile("near.png", "its bytes differ from those of the picture that is kept"),)


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "copy.png").write_bytes(b"of someone else")
    (out / "near.png").symlink_to(folder / "near.png")
    done = carry_out(folder, out)
    assert [one.file for one in done.left] == ["sub/copy.png", "near.png"]
    assert done.left[0].reason == (
        f"something is at {out}/sub/copy.png already (of an interrupted run? then undo that one first)"
    )
    assert (out / "sub" / "copy.png").read_bytes() == b"of someone else"
    assert (folder / "sub" / "copy.png").exists()
    second = carry_out(write_folder(tmp_path / "more"), out)
    assert second.files == ()
    assert len(second.left) == 5
    assert names_in(tmp_path / "more") == names_in(write_folder(tmp_path / "like it"))


def test_links_are_not_followed_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    outside = write_folder(tmp_path / "outside")
    (folder / "way").symlink_to(outside)
    (folder / "one.png").symlink_to(outside / "c.png")
    members = tuple(Duplicate(file=name, similarity=1.0, kind="near") for name in ("way/near.png", "one.png"))
    clusters = (
        DuplicateCluster(keep="a.png", members=members),
        DuplicateCluster(keep="way/b.png", members=(Duplicate(file="b.png", similarity=1.0, kind="near"),)),
    )
    before = state(outside)
    out = tmp_path / "out"
    done = carry_out(folder, out, replace(report_on_folder(), clusters=clusters))
    assert done.files == ()
    assert {one.reason for one in done.left[:2]} == {"its path leads through a link"}
    assert done.left[2].reason == "the path of the picture that is kept leads through a link"
    assert state(outside) == before
    out.mkdir(exist_ok=True)
    (out / "sub").symlink_to(outside)
    done = carry_out(folder, out)
    assert done.files == ("near.png",)
    assert done.left[0].reason == f"{out}/sub is a link"
    assert state(outside) == before


def test_hard_links_elsewhere_are_not_torn(folder: Path, tmp_path: Path) -> None:
    os.link(folder / "sub" / "copy.png", tmp_path / "elsewhere.png")
    with two_file_systems(tmp_path / "out"):
        done = carry_out(folder, tmp_path / "out")
    assert done.left == (LeftFile("sub/copy.png", "it has hard links elsewhere, which could not be restored"),)
    assert "sub/copy.png" in [one.file for one in carry_out(write_folder(folder), None).left]
    assert carry_out(folder, tmp_path / "same disk").files[0] == "sub/copy.png"


@pytest.mark.parametrize("target", ["photos", "photos/out", ".", "way/out"])
def test_folders_inside_of_each_other(folder: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "way").symlink_to(folder)
    with pytest.raises(RunError, match=r"to a folder outside of .* Choose another one"):
        plan_moves(report_on_folder(), folder, stamps_of(folder, names_in(folder)), tmp_path / target)


def test_a_folder_that_may_not_be_written_to(folder: Path, tmp_path: Path) -> None:
    stamps = stamps_of(folder, names_in(folder))
    with locked(folder / "sub", mode=0o500):
        plan = plan_moves(report_on_folder(), folder, stamps, tmp_path / "out")
        done = apply_moves(plan, stamps, tmp_path / "out" / "journal.jsonl")
    assert done.files == ("sub/deep/linked.png", "near.png")
    assert {one.reason for one in done.left} == {"its folder may not be written to"}
    (tmp_path / "full").mkdir()
    with locked(tmp_path / "full", mode=0o500), pytest.raises(RunError, match="full"):
        plan_moves(report_on_folder(), folder, stamps, tmp_path / "full")


def test_names_of_full_length(folder: Path, tmp_path: Path) -> None:
    name = "n" * 251 + ".png"
    (folder / name).write_bytes(b"long")
    members = (Duplicate(file=name, similarity=1.0, kind="near"),)
    report = replace(report_on_folder(), clusters=(DuplicateCluster(keep="a.png", members=members),))
    before = state(folder)
    out = tmp_path / "out"
    with two_file_systems(out):
        done = carry_out(folder, out, report)
        assert done.files == (name,)
        assert done.journal is not None
        undo_moves(done.journal)
    assert state(folder) == before
    deep = out.joinpath(*["d" * 200] * 19)  # a path that is too long with the name
    left = carry_out(folder, deep, report).left
    assert left[0].reason.endswith("File name too long")


def test_a_disk_without_room_leaves_the_file_and_says_what_was_done(folder: Path, tmp_path: Path) -> None:
    before = state(folder)
    out = tmp_path / "out"
    with two_file_systems(out), refusing(errno.ENOSPC, calls=("utime",)), pytest.raises(RunError) as caught:
        carry_out(folder, out)
    assert "Could not move" in str(caught.value)
    assert "0 files before it: done; pairsim duplicates --undo" in str(caught.value)
    assert names_in(out) == []
    assert state(folder) == before
    with refusing(errno.ENOSPC, calls=("fsync",)), pytest.raises(RunError, match="Could not write"):
        carry_out(folder, out)
    assert state(folder) == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_the_system_may_kill_it() -> None:
    program = Path(__file__).parents[4] / "helpers" / "killed_moves.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert all(number >= 4 for number in found["tried"].values()), found
    assert len(found["tried"]) == 6
