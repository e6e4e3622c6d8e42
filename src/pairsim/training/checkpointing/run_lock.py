"""Which folders a run may be written to, and the lock that leaves a folder to one process at a time.

`.lock` in the folder is locked by the operating system, which unlocks it when the process ends in any way. On a file
system without such locks filelock creates and removes the file instead, and says so in a warning. `.lock.json` holds
the process that has the lock, its host, and since when. Neither is part of the run. Galleries are locked the same way.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pairsim._common import json_files, storage
from pairsim.errors import RunError
from pairsim.models.pretrained import check_format

RUN_FILE = "run.json"
RUN_FORMAT_VERSION = 1
LOCK, HOLDER = ".lock", ".lock.json"
_BEFORE_THE_RUN = {LOCK, HOLDER, "features"}
"""What a run folder has before `run.json` is written, beside temporary files."""

_trained_in = set[Path]()
"""Folders that a trainer of this process writes to."""


def check_usable(folder: Path) -> bool:
    """Check that a run may be written to a folder.

    Returns:
        Whether it holds a run.

    Raises:
        RunError: If it holds other files, or a run of a newer format.
    """
    run_file, found = folder / RUN_FILE, storage.found_at(folder)
    if storage.is_file(run_file):
        check_format(json_files.read_sealed(run_file), "pairsim-run", RUN_FORMAT_VERSION, run_file)
        return True
    if found != "nothing" and (
        found != "a folder"
        or any(name not in _BEFORE_THE_RUN and not storage.is_leftover(name) for name in os.listdir(folder))
    ):
        other = "other files" if found == "a folder" else found
        raise RunError(f"Expected {folder} to be a run folder or empty, found {other}. Choose another --out.")
    return False


@contextlib.contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Lock a run folder for this process, so that no other writes to it. The block may lock it again.

    Args:
        folder: It is created if needed, and removed if nothing was written to it; `None` for no folder.

    Raises:
        RunError: If another process has locked it, or it cannot be used for a run. Nothing is changed then.
    """
    if folder is None:
        yield
        return
    check_usable(folder)
    with locked_folder(folder):
        yield


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder of any kind, such as a gallery, as `locked` does with one of a run.

    Raises:
        RunError: If another process has locked it, or it cannot be locked.
    """
    is_new = not storage.is_folder(folder)
    storage.make_folder(folder)
    folder = folder.resolve()
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise _in_use(folder, _holder(folder)) from None
    except OSError as error:
        raise RunError(
            f"Expected to lock {folder}, but: {error.strerror or error}. Use a folder on a file system with locks, "
            "which you may write to."
        ) from error
    try:
        if lock.lock_counter == 1:
            since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            record = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
            storage.write_file(folder / HOLDER, storage.to_json(record))
        yield
    finally:
        if lock.lock_counter == 1:
            for name in (HOLDER, LOCK):  # nothing is written any more; filelock does not lock a file without a name
                with contextlib.suppress(OSError):  # some systems do not remove a file that is open
                    (folder / name).unlink()
        lock.release()
        if is_new:
            with contextlib.suppress(OSError):  # it has files
                folder.rmdir()


@contextlib.contextmanager
def training_in(folder: Path | None) -> Iterator[None]:
    """Lock a run folder as `locked` does, for one trainer of this process.

    Raises:
        RunError: As `locked`, and if another trainer of this process writes to it.
    """
    with locked(folder):
        path = None if folder is None else folder.resolve()
        if path is None:
            yield
            return
        if path in _trained_in:
            raise _in_use(path, "another trainer of this process")
        _trained_in.add(path)
        try:
            yield
        finally:
            _trained_in.remove(path)


def _in_use(folder: Path, holder: str) -> RunError:
    return RunError(
        f"Expected {folder} to be free, but {holder} writes to it. Wait until that has ended, or use another folder."
    )


def _holder(folder: Path) -> str:
    try:
        found = storage.read_json(folder / HOLDER)
        return f"process {found['pid']} on {found['host']}, since {found['since']},"
    except (RunError, KeyError):  # it has locked the folder and not written this yet
        return "another process"
