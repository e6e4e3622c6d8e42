from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

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
