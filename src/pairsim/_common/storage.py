r"""Write files and folders atomically, read them back, and look up what is at a path.

Content is written to a temporary file in the same folder, synced to disk, and renamed. A kill or a full disk at any
moment leaves the old content or the new, never a part. What a killed process leaves beside it has a name of its own,
by which `remove_leftovers` finds it. Folders that are written at once hold the SHA-256 of each of their files; other
files of JSON state their own (see `pairsim._common.json_files`).

Names of files need not be UTF-8. Python holds a byte that is not as a lone surrogate, such as U+DCE9 for the byte E9.
In JSON and in text for reading it is written as the escape `\udce9`, which `json.loads` reads back; in CSV as the byte.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

from pairsim.errors import PairsimError, RunError

CHECKSUMS = "checksums.json"

Found: TypeAlias = Literal["nothing", "a file", "a folder", "a pipe or device"]

_LEFTOVER = re.compile(r"\..{1,16}\.[0-9a-z_]{8,16}\.tmp", re.DOTALL)
"""Names of temporary files and folders, of `_beside` and of `check_writable`."""

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def found_at(path: str | os.PathLike[str]) -> Found:
    """Return what is at a path, the same in every version of Python; `Path.exists` may say no where it may not look.

    Raises:
        RunError: If permission was denied for a folder above it; the message names the path.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError:  # a null byte, which no name has
        return "nothing"
    except PermissionError as error:
        raise RunError(
            f"Expected to be allowed to open {os.fspath(path)}, but permission was denied. Change the permissions of "
            "the folders above it, or use another path."
        ) from error
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return "nothing"
    return "a folder" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "a pipe or device"


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a regular file at a path; raises as `found_at`."""
    return found_at(path) == "a file"


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a folder at a path; raises as `found_at`."""
    return found_at(path) == "a folder"


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def open_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file to read its bytes. A named pipe is not waited for, as `open` does.

    Raises:
        OSError: If there is none, permission was denied, or it is a folder, a pipe or a device.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or device, not a file", os.fspath(path))
    return file


def read_bytes(path: Path, size: int = -1) -> bytes:
    """Read a regular file, or at most `size` bytes from its beginning.

    Raises:
        RunError: If it cannot be read; the message names it.
    """
    try:
        with open_file(path) as file:
            return file.read(size)
    except OSError as error:
        raise RunError(f"Expected {path} to be readable, but: {error.strerror}.") from error


def check_writable(path: Path, kind: Literal["a file", "a folder"] = "a file") -> None:
    """Check that a file or folder can be written, before the work whose result it gets. Nothing is left there.

    Raises:
        RunError: If it cannot, or something else is there.
    """
    found = found_at(path)
    with _explained(path):
        if found not in ("nothing", kind):
            raise OSError(f"there is {found}, not {kind}")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()  # a name that is too long
        folders = path.parents if kind == "a file" else (path, *path.parents)
        above = next((folder for folder in folders if found_at(folder) != "nothing"), Path())
        with tempfile.TemporaryFile(dir=above, prefix=".writable.", suffix=".tmp"):
            pass


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
            "Free some space, change permissions or choose another folder, then run the same command again."
        ) from error


def _beside(path: Path) -> Path:
    """A free path in the same folder."""
    # the beginning of the name only, as one of 255 bytes has no room for more
    return path.parent / f".{path.name[:16]}.{os.urandom(8).hex()}.tmp"


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[Path]:
    """A free path in the same folder. What is written to it replaces `path` at the end, or is removed on failure."""
    with _explained(path):
        if found_at(path) == "a pipe or device":  # which a file would replace
            raise OSError("there is a pipe or device, not a file")
        make_folder(path.parent, path)
        beside = _beside(path)
        try:
            yield beside
            os.replace(beside, path)
        except BaseException:
            _delete(beside)
            raise


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def make_folder(path: Path, named: Path | None = None) -> None:
    """Create a folder and those above it, unless they exist.

    Raises:
        RunError: If it cannot be created; names it, or the path that is to be written in it.
    """
    with _explained(named or path):
        for folder in (*reversed(path.parents), path):
            if found_at(folder) != "a folder":
                folder.mkdir(exist_ok=True)  # another process may have made it since
                _sync_folder(folder.parent)


def remove(path: Path) -> None:
    """Remove a file or folder if it exists. A kill leaves it whole, or gone with a temporary folder in its place.

    Raises:
        RunError: If it cannot be removed.
    """
    if not os.path.lexists(path):
        return
    beside = _beside(path)
    with _explained(path):
        os.replace(path, beside)
        _sync_folder(path.parent)
        _delete(beside)


def is_leftover(name: str) -> bool:
    """Return whether a name is one of a temporary file or folder, which a killed process leaves."""
    return _LEFTOVER.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder, if it exists; no other process may write to it meanwhile."""
    if is_folder(folder):
        for name in os.listdir(folder):
            if is_leftover(name):
                _delete(folder / name)


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


def rename(path: Path, new: Path) -> None:
    """Rename a file within its folder, in place of another if there is one.

    Raises:
        RunError: If that is not possible; neither is changed then.
    """
    with _explained(new):
        os.replace(path, new)
        _sync_folder(new.parent)


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


def encoded(text: str) -> bytes:
    r"""Encode text or JSON as UTF-8, with the escape of a lone surrogate, as names of files that are not UTF-8 have.

    Example:
        >>> encoded(os.fsdecode(b"caf\xe9.png"))
        b'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace")


def to_json(value: Mapping[str, Any]) -> bytes:
    """Encode an object as readable, strict JSON (no NaN), ending in a newline."""
    return encoded(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parsed_json(content: str | bytes) -> Any:
    """Parse JSON.

    Raises:
        ValueError: If it is none, or nested too deeply to be read.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. What has its SHA-256 in it is read by `json_files.read_sealed`.

    Raises:
        RunError: If the file is missing, cannot be read, or does not hold one JSON object.
    """
    try:
        with open_file(path) as file:
            return json_object(file.read(), path)
    except OSError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"Expected a readable JSON file at {path}, but: {error}.") from error


def json_object(content: bytes, path: Path) -> dict[str, Any]:
    """Decode one JSON object.

    Raises:
        RunError: If it is none; the message names `path`.
    """
    try:
        value = parsed_json(content)
    except ValueError as error:
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
        RunError: If a file is missing, is not a regular file of this folder, or differs from its checksum; the message
            names it.
    """
    files: dict[str, bytes] = {}
    for name, expected in read_json(path / CHECKSUMS).items():
        if not is_bare(name):
            raise RunError(
                f"Expected names of files in {path / CHECKSUMS}, found {name[:80]!r}. Copy the folder again."
            )
        content = read_bytes(path / name)
        if sha256(content) != expected:
            raise RunError(f"{path / name} is damaged: its SHA-256 differs from the one in {CHECKSUMS}.")
        files[name] = content
    return files


def is_bare(name: str) -> bool:
    r"""Return whether a name is of a file in a folder, and not a path that may lead out of it, on any system.

    Example:
        >>> is_bare("state.json"), is_bare("../secret"), is_bare("C:secret"), is_bare("..")
        (True, False, False, False)
    """
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")
