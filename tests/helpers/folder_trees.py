"""Folders with files of all kinds, and reading them as a user who may not read everything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest


def touch(folder: Path, names: Iterable[str]) -> Path:
    """Write an empty file for each name, with the folders above it; return `folder`."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@contextlib.contextmanager
def locked(*paths: Path, mode: int = 0) -> Iterator[None]:
    """Take the permissions of folders or files away, also from root, which becomes another user for that long.

    Skips the test where that is not possible.
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no permissions of this kind")
    for path in paths:
        path.chmod(mode)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            for folder in paths[0].parents:
                if folder.stat().st_mode & 0o555 != 0o555:
                    folder.chmod(0o755)
            os.setegid(65534)
            os.seteuid(65534)
        yield
    finally:
        if is_root:
            os.seteuid(0)
            os.setegid(0)
        for path in paths:
            path.chmod(0o755)
