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
import tempfile
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


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
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
    waiting: dict[Path, Path] = {}
    try:
        for name, content in files.items():
            with _explained(folder / name):
                folder.mkdir(parents=True, exist_ok=True)
                handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=folder)
                os.close(handle)
                waiting[folder / name] = Path(temporary)
                _write_synced(Path(temporary), content)
                os.chmod(temporary, 0o666 & ~_umask())  # mkstemp allows the owner alone
        for path, beside in waiting.items():
            with _explained(path):
                os.replace(beside, path)
    except BaseException:
        for beside in waiting.values():
            beside.unlink(missing_ok=True)
        raise
    with _explained(folder):
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
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        beside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(beside, 0o666 & ~_umask())  # as in write_files
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            sums = {name: sha256(content) for name, content in files.items()}
            for name, content in {**files, CHECKSUMS: to_json(sums)}.items():
                _write_synced(beside / name, content)
            _sync_folder(beside)
            os.chmod(beside, 0o777 & ~_umask())  # mkdtemp allows the owner alone
            os.rename(beside, path)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
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
