"""Undo moved and linked files from their journal."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsim.audits.duplicates.moving import file_changes
from pairsim.audits.duplicates.moving.file_changes import Stamp, has, stamp
from pairsim.audits.duplicates.moving.move_journal import Record, Step, read_journal
from pairsim.audits.duplicates.moving.moves import LeftFile
from pairsim.errors import RunError, printable
from pairsim.training.checkpointing.run_lock import locked_folder


@dataclass(frozen=True, kw_only=True)
class UndoResult:
    """What was undone.

    Attributes:
        files: Names of the files that were restored, below the folder that was searched.
        refused: Files that were not, as they or what is at their place was changed since.
    """

    files: tuple[str, ...]
    refused: tuple[LeftFile, ...]

    def describe(self) -> str:
        """Return the result as text."""
        count = f"{len(self.files):,} file{'' if len(self.files) == 1 else 's'}"
        lines = [f"  {printable(one.file)} is not restored: {printable(one.reason)}" for one in self.refused]
        return "\n".join([f"Restored {count}.", *lines])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        refused = [{"file": one.file, "reason": one.reason} for one in self.refused]
        return {"files": list(self.files), "refused": refused}


def undo_moves(journal: Path) -> UndoResult:
    """Restore names, bytes, times and hard links of the files of a journal, the last step first.

    It may be called again after a kill, and after what it refused was put right: what is restored already stays as it
    is. Nothing is overwritten.

    Args:
        journal: The journal.

    Returns:
        What was restored, and which files were refused and why.

    Raises:
        RunError: If the journal cannot be read or is damaged, its folders are gone, or the disk is full.
    """
    record = read_journal(journal)
    if record is None or not record.steps:
        return UndoResult(files=(), refused=())
    for folder in (record.folder, record.target):
        if not folder.is_dir():
            raise RunError(f"Expected the folder {folder} of the journal {journal}, found none. Put it back first.")
        if os.path.realpath(folder) != os.fspath(folder):
            raise RunError(f"Expected the folder {folder} of the journal {journal} itself, found a link to another.")
    done, refused = list[str](), list[LeftFile]()
    pending = {step.name for step in record.steps if isinstance(step, Step)}
    with locked_folder(record.target):
        for step in reversed(record.steps):
            if isinstance(step, str):
                _remove_folder(record.target / step)
                continue
            pending.discard(step.name)
            try:
                if (_unlink if record.action == "link" else _move_back)(record, step, pending):
                    done.append(step.name)
            except _RefusedError as reason:
                pending.add(step.name)
                refused.append(LeftFile(step.name, str(reason)))
            except OSError as error:
                raise RunError(
                    f"Could not restore {record.folder / step.name}: {error.strerror or error}. Free some space or "
                    "change permissions, then run the same command again."
                ) from error
    return UndoResult(files=tuple(reversed(done)), refused=tuple(reversed(refused)))


class _RefusedError(Exception):
    """A file is not restored; the text is the reason."""


def _move_back(record: Record, step: Step, pending: set[str]) -> bool:
    """Move a file back; return whether there was anything to do."""
    old, new = record.folder / step.name, record.target / step.name
    for path in (old, new):
        if os.path.realpath(path.parent) != os.fspath(path.parent):
            raise _RefusedError(f"{path.parent} is a link now")
        file_changes.discard(path.with_name(step.temporary))
    at_old, at_new = stamp(old), stamp(new)
    if not os.path.lexists(new):
        if not os.path.lexists(old):
            raise _RefusedError(f"it is neither there nor at {new}")
        return False  # the step was not taken, or is undone
    if at_new is None or not has(new, step.size, step.content_sha256):
        if at_old is not None and _is_as_before(old, at_old, step):
            return False
        raise _RefusedError(f"{new} was changed since it was moved")
    if os.path.lexists(old):
        is_same = at_old is not None and (at_old.identity == at_new.identity or _is_as_before(old, at_old, step))
        if not is_same or old.parent.samefile(new.parent):  # a mount may give one folder two paths
            raise _RefusedError("another file is there now")
        file_changes.remove_old(new, old)  # a move, or its undoing, was killed between its two halves
    else:
        old.parent.mkdir(parents=True, exist_ok=True)
        try:
            file_changes.move(new, old)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_back(record, step, pending)
    return True


def _copy_back(record: Record, step: Step, pending: set[str]) -> None:
    """Move a file back from another file system, as a hard link to another of its names where there is one."""
    old, new = record.folder / step.name, record.target / step.name
    link = _other_name(record, step, pending)
    if link is None:
        file_changes.move_copy(
            new, old, old.with_name(step.temporary), sha256=step.content_sha256, mtime_ns=step.mtime_ns, mode=step.mode
        )
    else:
        os.link(link, old)
        file_changes.remove_old(new, old)


def _unlink(record: Record, step: Step, pending: set[str]) -> bool:
    """Make a hard link a file of its own again; return whether there was anything to do."""
    path = record.folder / step.name
    if os.path.realpath(path.parent) != os.fspath(path.parent):
        raise _RefusedError(f"{path.parent} is a link now")
    temporary = path.with_name(step.temporary)
    file_changes.discard(temporary)
    found, kept = stamp(path), stamp(record.folder / step.kept)
    if found is None:
        raise _RefusedError("it is no longer there")
    is_linked = found.inode == step.kept_inode or (kept is not None and found.identity == kept.identity)
    if not is_linked and _is_as_before(path, found, step):
        return False
    if not is_linked or not has(path, step.size, step.content_sha256):
        raise _RefusedError("it was changed since it was linked")
    link = _other_name(record, step, pending)
    if link is None:
        file_changes.copy(path, temporary, sha256=step.content_sha256, mtime_ns=step.mtime_ns, mode=step.mode)
    else:
        os.link(link, temporary)
    os.replace(temporary, path)
    file_changes.sync_folder(path.parent)
    return True


def _other_name(record: Record, step: Step, pending: set[str]) -> Path | None:
    """Return another name of the file from before, which is restored already or was never moved."""
    for name in step.links:
        path = record.folder / name
        found = None if name in pending else stamp(path)
        if found is not None and os.path.realpath(path) == os.fspath(path) and _is_as_before(path, found, step):
            return path
    return None


def _is_as_before(path: Path, found: Stamp, step: Step) -> bool:
    return found.mtime_ns == step.mtime_ns and has(path, step.size, step.content_sha256)


def _remove_folder(path: Path) -> None:
    """Remove a folder that was made for files, unless something else is in it."""
    try:
        path.rmdir()
    except OSError:
        return
    file_changes.sync_folder(path.parent)
