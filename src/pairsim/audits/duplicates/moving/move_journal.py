"""The journal of moved and linked files: each step is on disk before it is taken, so that it can be undone.

One line of JSON for each step, with the SHA-256 of its number and content. The first line names the folders. A line
that a kill cut off states a step that was never taken.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from pairsim._common import json_files, storage
from pairsim.audits.duplicates.moving.file_changes import sync_folder
from pairsim.errors import RunError

Action: TypeAlias = Literal["move", "link"]

_FORMAT, _VERSION = "pairsim-moves", 1
_ACTIONS: tuple[Action, ...] = ("move", "link")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One file that is moved, or replaced by a hard link.

    Attributes:
        name: The file, as a path below the folder that was searched.
        kept: The picture that is kept, likewise, or its whole path if it is of another folder.
        temporary: Name of the temporary file that the step may use, and nothing else.
        size: Bytes of the file.
        content_sha256: SHA-256 of its content.
        mtime_ns: When it was last written.
        mode: Its permissions.
        inode: Its number on its file system.
        kept_inode: The number of the picture that is kept.
        links: Its other names, likewise, which are hard links to the same file.
    """

    name: str
    kept: str
    temporary: str
    size: int
    content_sha256: str
    mtime_ns: int
    mode: int
    inode: int
    kept_inode: int
    links: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a journal holds.

    Attributes:
        action: "move" or "link".
        folder: The folder that was searched.
        target: The folder that files were moved to; for links the same as `folder`.
        steps: The steps in their order, of which the last may not have been taken, or in part; a string is a folder
            that was made below `target`.
    """

    action: Action
    folder: Path
    target: Path
    steps: tuple[Step | str, ...]


class Journal:
    """A new journal, open for appending.

    Args:
        path: Where; nothing may be there.
        action: What the steps are.
        folder: The folder that was searched, absolute.
        target: The folder that files are moved to, absolute.

    Raises:
        RunError: If it cannot be written.
    """

    def __init__(self, path: Path, action: Action, folder: Path, target: Path) -> None:
        self.path: Path = path
        self._num: int = 0
        try:
            self._file: BinaryIO = path.open("xb")
        except OSError as error:
            raise _not_written(path, error) from error
        head = {"format": _FORMAT, "version": _VERSION, "action": action}
        try:
            self._append({**head, "folder": os.fspath(folder), "target": os.fspath(target)})
            sync_folder(path.parent)
        except BaseException:
            self._file.close()
            raise

    def add(self, step: Step | str) -> None:
        """Write a step to disk; a string is a folder that is about to be made.

        Raises:
            RunError: If it cannot be written. The step must not be taken then.
        """
        self._append({"made": step} if isinstance(step, str) else asdict(step))

    def withdraw(self) -> None:
        """Write that the last step was not taken.

        Raises:
            RunError: If it cannot be written.
        """
        self._append({"withdrawn": True})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, record: Mapping[str, Any]) -> None:
        try:
            self._file.write(json_files.sealed_lines([record], self._num + 1))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _not_written(self.path, error) from error
        self._num += 1


def journal_name() -> str:
    """Return a name for a new journal, with the time and, as two may begin in one second, a random part."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return f"pairsim-journal-{now}-{os.urandom(3).hex()}.jsonl"


def read_journal(path: Path) -> Record | None:
    """Read a journal.

    Returns:
        What it holds; `None` if a kill cut off its first line, so that no step was taken.

    Raises:
        RunError: If it cannot be read, is damaged or is no journal.
    """
    content = storage.read_bytes(path)
    whole = content.count(b"\n")
    if not whole and content[:2] in (b"", b"{", b'{"'):
        return None
    records = json_files.read_sealed_lines(path, whole)
    head = records[0] if records else {}
    if head.get("format") != _FORMAT:
        raise RunError(f"Expected {path} to be a journal of pairsim duplicates, found another file. Check the path.")
    if head.get("version") != _VERSION:
        raise RunError(
            f"Expected {path} to be of version {_VERSION}, found {head.get('version')!r:.40}. Use a newer pairsim."
        )
    folder, target = str(head.get("folder")), str(head.get("target"))
    if head.get("action") not in _ACTIONS or not _is_absolute(folder) or not _is_absolute(target):
        raise _damaged(path, 1)
    steps = list[Step | str]()
    for number, record in enumerate(records[1:], 2):
        if record == {"withdrawn": True} and steps:
            steps.pop()
        else:
            steps.append(_step(record, path, number))
    return Record(action=head["action"], folder=Path(folder), target=Path(target), steps=tuple(steps))


def _step(record: Mapping[str, Any], path: Path, number: int) -> Step | str:
    if record.keys() == {"made"} and _is_inside(record["made"]):
        return str(record["made"])
    texts, numbers = (
        ("name", "kept", "temporary", "content_sha256"),
        ("size", "mtime_ns", "mode", "inode", "kept_inode"),
    )
    links = record.get("links")
    if (
        record.keys() != {field.name for field in fields(Step)}
        or not all(isinstance(record[key], str) for key in texts)
        or not all(type(record[key]) is int and abs(record[key]) < 2**64 for key in numbers)
        or not 0 <= record["mode"] <= 0o7777
        or not isinstance(links, list)
        or not _is_inside(record["name"])
        or not all(_is_inside(name) or _is_whole(name) for name in (record["kept"], *links))
        or not storage.is_leftover(record["temporary"])
        or not storage.is_bare(record["temporary"])
    ):
        raise _damaged(path, number)
    return Step(**{**record, "links": tuple(links)})


def _is_absolute(path: str) -> bool:
    return "\0" not in path and os.path.isabs(path)


def _is_inside(name: object) -> bool:
    """Whether a name is of something below a folder."""
    return isinstance(name, str) and "\0" not in name and all(part not in ("", ".", "..") for part in name.split("/"))


def _is_whole(name: object) -> bool:
    """Whether a name is a whole path, without `..`."""
    return isinstance(name, str) and _is_absolute(name) and name == os.path.normpath(name)


def _damaged(path: Path, number: int) -> RunError:
    return RunError(f"Expected a step of pairsim duplicates in {path}, line {number}, found other content.")


def _not_written(path: Path, error: OSError) -> RunError:
    return RunError(
        f"Could not write the journal {path}: {error.strerror or error}. No file is moved or linked without it. "
        "Free some space or change permissions, then run the same command again."
    )
