"""Folders with files of all kinds, and reading them as a user who may not read everything."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

_VERSION_3 = 0x20080522  # of the structures of Linux
_DAC_OVERRIDE_AND_READ_SEARCH = 0b110


def touch(folder: Path, names: Iterable[str]) -> Path:
    """Write an empty file for each name, with the folders above it; return `folder`."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@contextlib.contextmanager
def locked(*paths: Path, mode: int = 0) -> Iterator[None]:
    """Take the permissions of folders or files away from this thread and those that it starts, for root too.

    Skips the test where that is not possible.
    """
    if not hasattr(os, "geteuid") or (os.geteuid() == 0 and sys.platform != "linux"):
        pytest.skip("this system has no permissions of this kind")
    before = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(mode)
    try:
        with _without_privileges() if os.geteuid() == 0 else contextlib.nullcontext():
            yield
    finally:
        for path, permissions in zip(paths, before, strict=True):
            path.chmod(permissions)


@contextlib.contextmanager
def _without_privileges() -> Iterator[None]:
    """Root keeps its id, but not the capabilities to read and write whatever the permissions are."""
    libc = ctypes.CDLL(None)
    header, sets = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] = effective & ~_DAC_OVERRIDE_AND_READ_SEARCH
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0
