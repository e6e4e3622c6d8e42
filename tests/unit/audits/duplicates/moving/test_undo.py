from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from moved_files import COPIES, Killed, carry_out, killed_at, names_in, refusing, state, two_file_systems, write_folder

from pairsim.audits.duplicates.moving.moves import LeftFile
from pairsim.audits.duplicates.moving.undo import undo_moves
from pairsim.errors import RunError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos")


def moved(folder: Path) -> tuple[Path, Path]:
    """The folder with the files that were moved, and the journal."""
    out = folder.parent / "out"
    journal = carry_out(folder, out).journal
    assert journal is not None
    return out, journal


def linked(folder: Path) -> Path:
    journal = carry_out(folder, None).journal
    assert journal is not None
    return journal


def test_what_was_changed_since_is_refused_and_the_rest_restored(folder: Path) -> None:
    before = state(folder)
    out, journal = moved(folder)
    (out / "sub" / "copy.png").write_bytes(b"edited")
    (folder / "near.png").write_bytes(b"new")
    (out / COPIES[3]).unlink()
    done = undo_moves(journal)
    assert done.files == COPIES[1:3]
    assert done.refused == (
        LeftFile("sub/copy.png", f"{out}/sub/copy.png was changed since it was moved"),
        LeftFile(COPIES[3], f"it is neither there nor at {out / COPIES[3]}"),
        LeftFile("near.png", "another file is there now"),
    )
    assert "  near.png is not restored: another file is there now" in done.describe()
    assert done.to_dict()["refused"][2] == {"file": "near.png", "reason": "another file is there now"}
    assert (folder / "near.png").read_bytes() == b"new"
    assert (out / "sub" / "copy.png").read_bytes() == b"edited"
    (folder / "near.png").unlink()
    assert undo_moves(journal).files == ("near.png",)
    assert state(folder)["near.png"] == before["near.png"]


def test_a_link_that_was_written_through_is_refused(folder: Path) -> None:
    journal = linked(folder)
    (folder / "a.png").write_bytes(b"edited, as are all of its names")
    done = undo_moves(journal)
    assert done.files == ()
    assert {one.reason for one in done.refused} == {"it was changed since it was linked"}
    assert (folder / COPIES[0]).samefile(folder / "a.png")


def test_a_link_that_was_removed_or_replaced(folder: Path) -> None:
    journal = linked(folder)
    (folder / COPIES[0]).unlink()
    (folder / COPIES[3]).unlink()
    (folder / COPIES[3]).write_bytes(b"new")
    done = undo_moves(journal)
    assert done.files == COPIES[1:3]
    assert [one.reason for one in done.refused] == ["it is no longer there", "it was changed since it was linked"]
    assert (folder / COPIES[3]).read_bytes() == b"new"


def test_links_come_back_without_the_picture_that_was_kept(folder: Path) -> None:
    before = state(folder)
    journal = linked(folder)
    (folder / "a.png").unlink()
    undo_moves(journal)
    del before["a.png"]
    assert state(folder) == before


def test_a_folder_that_was_removed_is_made_again(folder: Path) -> None:
    before = state(folder)
    _, journal = moved(folder)
    (folder / "sub" / "deep").rmdir()
    (folder / "sub").rmdir()
    undo_moves(journal)
    assert state(folder) == before


def test_links_in_place_of_folders_are_not_followed(folder: Path, tmp_path: Path) -> None:
    out, journal = moved(folder)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "sub" / "deep").rmdir()
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(elsewhere)
    done = undo_moves(journal)
    assert done.files == ("near.png",)
    assert {one.reason for one in done.refused} == {f"{folder}/sub is a link now", f"{folder}/sub/deep is a link now"}
    assert list(elsewhere.iterdir()) == []
    out.rename(tmp_path / "away")
    out.symlink_to(tmp_path / "away")
    with pytest.raises(RunError, match="found a link to another"):
        undo_moves(journal)
    out.unlink()
    with pytest.raises(RunError, match="Put it back first"):
        undo_moves(tmp_path / "away" / journal.name)


def test_other_files_in_the_folder_stay(folder: Path) -> None:
    before = state(folder)
    out, journal = moved(folder)
    (out / "sub" / "mine.txt").write_text("mine")
    undo_moves(journal)
    assert names_in(out) == ["sub/mine.txt"]
    assert state(folder) == before


def test_a_copy_that_was_put_back_by_hand_is_restored_once(folder: Path) -> None:
    before = state(folder)
    with two_file_systems(folder.parent / "out"):
        out, journal = moved(folder)
    there = (out / "near.png").stat()
    (folder / "near.png").write_bytes((out / "near.png").read_bytes())
    (folder / "near.png").chmod(there.st_mode)
    os.utime(folder / "near.png", ns=(there.st_atime_ns, there.st_mtime_ns))
    undo_moves(journal)
    assert state(folder)["near.png"] == before["near.png"]
    assert not (out / "near.png").exists()


def test_a_journal_that_was_cut_off(folder: Path) -> None:
    before = state(folder)
    _, journal = moved(folder)
    lines = journal.read_bytes().splitlines(keepends=True)
    with killed_at(None):
        journal.write_bytes(b"".join(lines)[:-20])
    done = undo_moves(journal)
    assert done.files == COPIES  # the step of the last line, which was taken here, is unknown
    journal.write_bytes(b"".join(lines))
    assert undo_moves(journal).files == ("near.png",)
    assert state(folder) == before
    journal.write_bytes(b'{"sha')
    assert undo_moves(journal).describe() == "Restored 0 files."


def test_a_disk_without_room_says_how_to_go_on(folder: Path) -> None:
    before = state(folder)
    journal = linked(folder)
    with refusing(errno.ENOSPC, calls=("utime",)), pytest.raises(RunError, match=r"Could not restore .*same command"):
        undo_moves(journal)
    assert undo_moves(journal).files == COPIES
    assert state(folder) == before


def test_a_kill_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    before = state(folder)
    with killed_at(4), pytest.raises(Killed):
        carry_out(folder, tmp_path / "out")
    for journal in (tmp_path / "out").glob("*.jsonl"):
        assert undo_moves(journal).files == ()
    assert state(folder) == before
