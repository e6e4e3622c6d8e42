"""Folders that a test may not enter, for root too, and a process of another user."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_CAN_LOCK = os.name == "posix" and (os.geteuid() != 0 or sys.platform == "linux")
WHY_NO_LOCKS = "" if _CAN_LOCK else "needs permissions of POSIX, which root has to give up as on Linux"
_VERSION_3 = 0x20080522
_DAC_OVERRIDE_AND_READ_SEARCH = 0b110


@contextlib.contextmanager
def locked(folder: Path, mode: int = 0) -> Iterator[None]:
    """Take permissions of a folder away from this thread and those that it starts."""
    before = folder.stat().st_mode
    folder.chmod(mode)
    try:
        with _without_privileges():
            yield
    finally:
        folder.chmod(before)


@contextlib.contextmanager
def _without_privileges() -> Iterator[None]:
    """Root keeps its id, but not the capabilities to read and write whatever the permissions are."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] = before & ~_DAC_OVERRIDE_AND_READ_SEARCH
    assert libc.capset(header, sets) == 0
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0
