"""Write files and folders atomically, and read them back.

Content is written to a temporary file in the same folder, synced to disk, and renamed. A kill or a full disk at any
moment leaves the old content or the new, never a part. Folders hold the SHA-256 of each of their files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pairsim.errors import PairsimError, RunError

CHECKSUMS = "checksums.json"


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # other systems have no handle of a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """A new file, which is on disk at the end."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except PairsimError:  # some are also an OSError, such as ImageReadError
        raise
    except OSError as error:
        raise RunError(
            f"Could not write {path}: {error.strerror or error}. What was saved there before is untouched. "
            "Free some space or choose another folder, then run the same command again."
        ) from error


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """A free path in the same folder. What is written to it replaces `path` at the end, or is removed on failure."""
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / f".{path.name}.{os.urandom(8).hex()}.tmp"
        try:
            yield beside
            os.replace(beside, path)
        except BaseException:
            if beside.is_dir():
                shutil.rmtree(beside, ignore_errors=True)
            else:
                beside.unlink(missing_ok=True)
            raise


def write_file(path: Path, content: bytes) -> None:
    """Replace a file atomically.

    Args:
        path: The file; its folder is created if needed.
        content: The new content.

    Raises:
        RunError: If it cannot be written (disk full, no permission). The old file is unchanged.
    """
    write_files(path.parent, {path.name: content})


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace files that belong together: all are on disk before the first is renamed.

    A full disk leaves all of them unchanged; only a kill between two renames can leave new and old files together.

    Args:
        folder: Created if needed.
        files: New content by file name, renamed in this order.

    Raises:
        RunError: If one cannot be written (disk full, no permission); the message names it.
    """
    with _explained(folder):
        with contextlib.ExitStack() as stack:  # renames in reverse order of writing
            for name in reversed([*files]):
                with _synced(stack.enter_context(_in_place_of(folder / name))) as file:
                    file.write(files[name])
        _sync_folder(folder)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file in parts, and replace the old file atomically at the end.

    Args:
        path: The file to replace; its folder is created if needed.

    Yields:
        An empty file, open for writing bytes.

    Raises:
        RunError: If it cannot be written (disk full, no permission). After this and any other exception, the old file
            is unchanged and no temporary file is left.
    """
    with _explained(path):
        with _in_place_of(path) as beside, _synced(beside) as file:
            yield file
        _sync_folder(path.parent)


def to_json(value: Mapping[str, Any]) -> bytes:
    """Encode an object as readable, strict JSON (no NaN), ending in a newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RunError: If the file is missing, cannot be read, or does not hold one JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"Expected a readable JSON file at {path}, but: {error}.") from error
    if not isinstance(value, dict):
        raise RunError(f"Expected {path} to hold one JSON object, found {type(value).__name__}.")
    return value


def sha256(content: bytes) -> str:
    """Compute the SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Create a folder of files with their checksums, atomically.

    Args:
        path: The folder. It is an error if it exists.
        files: Content by file name.

    Raises:
        RunError: If it cannot be written. No files are left.
    """
    with _explained(path):
        with _in_place_of(path) as beside:
            beside.mkdir()
            sums = {name: sha256(content) for name, content in files.items()}
            for name, content in {**files, CHECKSUMS: to_json(sums)}.items():
                with _synced(beside / name) as file:
                    file.write(content)
            _sync_folder(beside)
        _sync_folder(path.parent)


def read_folder(path: Path) -> dict[str, bytes]:
    """Read a folder written by `write_folder` and check every file against its checksum.

    Returns:
        Content by file name.

    Raises:
        RunError: If a file is missing or differs from its checksum; the message names it.
    """
    files: dict[str, bytes] = {}
    for name, expected in read_json(path / CHECKSUMS).items():
        try:
            content = (path / name).read_bytes()
        except OSError as error:
            raise RunError(f"Expected {path / name} to be readable, but: {error.strerror}.") from error
        if sha256(content) != expected:
            raise RunError(f"{path / name} is damaged: its SHA-256 differs from the one in {CHECKSUMS}.")
        files[name] = content
    return files
