from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from folder_trees import locked

from pairsim._common import storage
from pairsim.errors import ImageReadError, RunError


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_file_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.txt"
    storage.write_file(file, b"one")
    storage.write_file(file, b"two")
    assert file.read_bytes() == b"two"
    assert [path.name for path in file.parent.iterdir()] == ["x.txt"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    file = tmp_path / "x.txt"
    storage.write_file(file, b"old")
    monkeypatch.setattr(os, failing, no_space)
    with pytest.raises(RunError, match=r"Could not write .*x.txt: No space left on device.*untouched.*Free some space"):
        storage.write_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_full_disk_leaves_no_part_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setattr(os, failing, no_space)
    with pytest.raises(RunError, match="No space left on device"):
        storage.write_folder(tmp_path / "f", {"a": b"1"})
    assert list(tmp_path.iterdir()) == []


def test_folder_round_trip_and_every_flipped_bit_is_found(tmp_path: Path) -> None:
    files = {"a": b"abc", "b": b""}
    storage.write_folder(tmp_path / "f", files)
    assert storage.read_folder(tmp_path / "f") == files
    for bit in range(24):
        (tmp_path / "f" / "a").write_bytes((int.from_bytes(b"abc", "big") ^ (1 << bit)).to_bytes(3, "big"))
        with pytest.raises(RunError, match=r"f/a is damaged"):
            storage.read_folder(tmp_path / "f")
    (tmp_path / "f" / "a").unlink()
    with pytest.raises(RunError, match=r"Expected .*f/a to be readable"):
        storage.read_folder(tmp_path / "f")


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        storage.to_json({"x": float("nan")})
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(RunError, match="to hold one JSON object, found list"):
        storage.read_json(tmp_path / "x.json")


def test_a_file_written_in_parts_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.bin"
    with storage.replacing(path) as file:
        file.write(b"one ")
        assert not path.exists()
        file.write(b"two")
        file.seek(0)
        file.write(b"ONE")
    assert path.read_bytes() == b"ONE two"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.bin"]


def test_a_file_that_fails_midway_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.bin"
    storage.write_file(path, b"old")

    def fail() -> bytes:
        raise ImageReadError("7.png")

    with pytest.raises(ImageReadError, match=r"^7\.png$"), storage.replacing(path) as file:
        file.write(b"new" + fail())
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(RunError, match=r"Could not write .*x\.bin: No space"), storage.replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_what_is_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    found = {name: storage.found_at(tmp_path / name) for name in ("file", "link", "loop", "pipe", "none", "file/x", "")}
    assert found == {
        "file": "a file",
        "link": "a file",
        "loop": "nothing",
        "pipe": "a pipe or device",
        "none": "nothing",
        "file/x": "nothing",
        "": "a folder",
    }
    assert storage.found_at(str(tmp_path / ("x" * 300))) == "nothing"
    assert storage.found_at("a\0b") == "nothing"
    assert (storage.is_file(tmp_path / "file"), storage.is_file(tmp_path), storage.is_folder(tmp_path)) == (1, 0, 1)


@pytest.mark.parametrize("look", [storage.found_at, storage.is_file, storage.is_folder, storage.check_writable])
def test_denied_permission_is_not_absence(look: Any, tmp_path: Path) -> None:
    (tmp_path / "parent" / "inner").mkdir(parents=True)
    with locked(tmp_path / "parent"), pytest.raises(RunError, match=r"parent/inner, but permission was denied\."):
        look(tmp_path / "parent" / "inner")
    with locked(tmp_path / "parent"), pytest.raises(RunError, match=r"parent/inner.*[Pp]ermission"):
        storage.write_file(tmp_path / "parent" / "inner", b"")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "folder", "none"])
def test_only_files_are_read_and_nothing_is_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=rf"\[Errno \d+\] .*{name}'$"):
        storage.open_file(tmp_path / name)
    with pytest.raises(RunError, match=f"^Expected .*{name} to be readable, but: "):
        storage.read_bytes(tmp_path / name)
    with pytest.raises(RunError, match=f"^Expected a readable JSON file at .*{name}, but: "):
        storage.read_json(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_a_file_is_not_written_in_place_of_something_else(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, found in (("pipe", "there is a pipe or device, not a file"), ("folder", "")):
        with pytest.raises(RunError, match=f"Could not write .*{name}: {found}"):
            storage.write_file(tmp_path / name, b"x")
        with pytest.raises(RunError, match=f"Could not write .*{name}: there is .*, not a file"):
            storage.check_writable(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
    assert storage.found_at(tmp_path / "pipe") == "a pipe or device"


@pytest.mark.parametrize("kind", ["a file", "a folder"])
def test_what_can_be_written(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    storage.check_writable(tmp_path / "new" / "deep" / "name", kind)
    storage.check_writable(tmp_path / "file" if kind == "a file" else tmp_path, kind)
    for name, said in (("file/below", "Not a directory"), ("x" * 300, "File name too long")):
        with pytest.raises(RunError, match=f"Could not write .*: {said}"):
            storage.check_writable(tmp_path / name, kind)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("path", "kind"), [("run", "a folder"), ("run/x/y.csv", "a file"), ("run/x", "a folder")])
def test_a_folder_that_is_read_only_is_not_writable(path: str, kind: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    storage.check_writable(tmp_path / path, kind)
    with (
        locked(tmp_path / "run", mode=0o500),
        pytest.raises(RunError, match=f"Could not write .*{path}: Permission denied"),
    ):
        storage.check_writable(tmp_path / path, kind)


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    storage.write_file(tmp_path / ("x" * 255), b"one")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"one"


def test_names_that_are_not_utf_8_come_back_from_json(tmp_path: Path) -> None:
    names = {os.fsdecode(b"caf\xe9"): [os.fsdecode(b"\xff\xfe.png"), "caf\\udce9", "ü", "\U0001f600"]}
    content = storage.to_json(names)
    (tmp_path / "x.json").write_bytes(content)
    assert storage.read_json(tmp_path / "x.json") == names
    assert b'"caf\\udce9": [' in content
    assert "ü".encode() in content  # all else is written as before


# --- what a kill or a power cut leaves ---


@pytest.mark.skipif(os.name == "nt", reason="needs handles of folders")
def test_content_is_on_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(handle: int) -> None:
        events.append(f"synced {os.path.basename(os.readlink(f'/proc/self/fd/{handle}'))[:4]}")
        fsync(handle)

    def watched_replace(source: Any, target: Any) -> None:
        events.append(f"renamed {os.path.basename(target)}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    folder = tmp_path / "new"
    named = os.path.basename(tmp_path)[:4]
    storage.write_file(folder / "a", b"1")
    assert [event[:10] for event in events] == [f"synced {named[:3]}", "synced .a.", "renamed a", "synced new"]
    events.clear()
    with storage.replacing(folder / "a") as file:
        file.write(b"2")
    assert [event[:9] for event in events] == ["synced .a", "renamed a", "synced ne"]
    events.clear()
    storage.write_files(folder, {"a": b"3", "b": b"4"})
    assert [event[:9] for event in events] == ["synced .b", "synced .a", "renamed a", "renamed b", "synced ne"]
    events.clear()
    storage.write_folder(folder / "f", {"x": b"5"})
    assert [event[:9] for event in events] == ["synced x", "synced ch", "synced .f", "renamed f", "synced ne"]
    events.clear()
    storage.remove(folder / "f")
    assert [event[:9] for event in events] == ["renamed .", "synced ne"]


def test_a_folder_is_removed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_folder(tmp_path / "f", {"a": b"1"})
    (tmp_path / "link").symlink_to(tmp_path / "f")
    storage.remove(tmp_path / "link")
    assert storage.read_folder(tmp_path / "f") == {"a": b"1"}
    storage.remove(tmp_path / "none")
    with monkeypatch.context() as killed:
        killed.setattr("shutil.rmtree", lambda *_, **__: None)
        storage.remove(tmp_path / "f")
    (left,) = tmp_path.iterdir()
    assert storage.is_leftover(left.name)
    storage.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_writers_are_found_by_their_names(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    def left_by(write: Any) -> list[str]:
        with pytest.MonkeyPatch.context() as killed:
            killed.setattr(os, "replace", kill)
            killed.setattr(storage, "_delete", lambda path: None)
            with pytest.raises(Killed):
                write()
        return sorted(path.name for path in tmp_path.iterdir())

    (name,) = left_by(lambda: storage.write_file(tmp_path / ("long name" * 5), b"1"))
    assert storage.is_leftover(name)
    left_by(lambda: storage.write_folder(tmp_path / "f", {"a": b"1"}))
    left_by(lambda: storage.write_file(tmp_path / "config.json", b"{}"))
    for own in (".notes.tmp", "x.tmp", ".gitignore", "notes.0123456789abcdef.tmp", ".lock.json"):
        assert not storage.is_leftover(own)
        (tmp_path / own).write_text("mine")
    storage.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".gitignore", ".lock.json", ".notes.tmp", "notes.0123456789abcdef.tmp", "x.tmp",
    ]  # fmt: skip
    storage.remove_leftovers(tmp_path / "none")
