"""Files are on disk before they are renamed, and the rename is on disk when writing returns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pairsim._common import storage


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was synced and renamed, in this order, each by its kind or final name."""
    made: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        made.append(("sync", "folder" if path.is_dir() else "file"))
        sync(handle)

    def noted_replace(source: Any, target: Any) -> None:
        made.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


def test_a_file(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    for write in (lambda path: storage.write_file(path, b"x"), _in_parts):
        calls.clear()
        write(tmp_path / "a")
        assert calls == [("sync", "file"), ("rename", "a"), ("sync", "folder")]


def _in_parts(path: Path) -> None:
    with storage.replacing(path) as file:
        file.write(b"x")


def test_files_that_belong_together(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    storage.write_files(tmp_path, {"a": b"x", "b": b"y"})
    assert calls == [("sync", "file")] * 2 + [("rename", "a"), ("rename", "b"), ("sync", "folder")]


def test_a_folder(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    storage.write_folder(tmp_path / "a", {"b": b"x"})  # and its checksums
    assert calls == [("sync", "file")] * 2 + [("sync", "folder"), ("rename", "a"), ("sync", "folder")]
