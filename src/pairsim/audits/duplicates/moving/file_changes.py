"""Move, copy and link files so that a kill at any moment loses none and nothing is ever overwritten."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from pairsim._common import storage

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
"""Errors of a file system that has no hard links, or of a system that does not allow this one."""


@dataclass(frozen=True)
class Stamp:
    """What tells whether a file is still the one that was read.

    Attributes:
        device: Number of its file system.
        inode: Its number there.
        size: Bytes.
        mtime_ns: When it was last written.
        ctime_ns: When it or its metadata last changed.
        mode: Its permissions.
        num_links: Number of its names.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    num_links: int

    @property
    def identity(self) -> tuple[int, int]:
        """The same for all names of a file, and for no other file."""
        return self.device, self.inode

    @property
    def content(self) -> tuple[int, int, int, int]:
        """The same until the file is written or replaced; a new name or a rename of it does not change this."""
        return self.device, self.inode, self.size, self.mtime_ns


def stamp(path: str | os.PathLike[str]) -> Stamp | None:
    """Return the stamp of a regular file; `None` where there is none. Links are not followed.

    Raises:
        OSError: If the path cannot be looked at, as one that is too long.
    """
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    mode, links = stat.S_IMODE(found.st_mode), found.st_nlink
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, mode, links)


def digest(path: Path) -> str:
    """Compute the SHA-256 of a regular file, as 64 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with storage.open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has(path: Path, size: int, sha256: str) -> bool:
    """Return whether there is a regular file of this content at a path."""
    found = stamp(path)
    return found is not None and found.size == size and digest(path) == sha256


def sync_folder(path: Path) -> None:
    """Write what a folder lists to disk; systems other than POSIX have no handle of a folder."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def move(source: Path, target: Path) -> None:
    """Rename a file within a file system; nothing is overwritten, as `os.rename` would do.

    A kill leaves the file under its old name, its new name, or both. If the old name cannot be removed, the new one is.

    Args:
        source: A regular file.
        target: Its new path, in a folder that exists.

    Raises:
        FileExistsError: If something is at `target`.
        OSError: If that is not possible, with `errno.EXDEV` between two file systems; the file has its old name then.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target)) from error
        os.rename(source, target)
        sync_folder(target.parent)
        sync_folder(source.parent)
        return
    remove_old(source, target)


def move_copy(source: Path, target: Path, temporary: Path, *, sha256: str, mtime_ns: int, mode: int) -> None:
    """Move a file to another file system: copy it, write the copy to disk, read it back, then remove the file.

    Args:
        source: A regular file.
        target: Its new path, in a folder that exists.
        temporary: A free path in that folder for the copy while it is written.
        sha256: Of the content.
        mtime_ns: When the file was last written.
        mode: Its permissions.

    Raises:
        FileExistsError: If something is at `target` or `temporary`.
        OSError: If the copy cannot be written, or is not of the content that is expected. It is removed then.
    """
    try:
        copy(source, temporary, sha256=sha256, mtime_ns=mtime_ns, mode=mode)
        move(temporary, target)
    except OSError:
        discard(temporary)
        raise
    remove_old(source, target)


def copy(source: Path, target: Path, *, sha256: str, mtime_ns: int, mode: int) -> None:
    """Copy a file with its permissions, times and, where possible, owner and attributes; see `move_copy`."""
    with storage.open_file(source) as old, target.open("xb") as new:
        shutil.copyfileobj(old, new, 2**20)
        new.flush()
        shutil.copystat(source, target)
        with contextlib.suppress(OSError, AttributeError):  # only root gives files to others
            owner = os.fstat(old.fileno())
            os.chown(target, owner.st_uid, owner.st_gid)
        os.chmod(target, mode)
        os.utime(target, ns=(os.fstat(old.fileno()).st_atime_ns, mtime_ns))
        os.fsync(new.fileno())
    if digest(target) != sha256:
        raise OSError(errno.EIO, "the copy differs from what was read before", os.fspath(target))
    sync_folder(target.parent)


def replace_by_link(kept: Path, path: Path, temporary: Path) -> None:
    """Replace a file in one step by a hard link to another, which is on the same file system.

    Raises:
        OSError: If that is not possible; the file is as it was then.
    """
    try:
        os.link(kept, temporary)
        os.replace(temporary, path)
    except OSError:
        discard(temporary)
        raise
    sync_folder(path.parent)


def discard(temporary: Path) -> None:
    """Remove a temporary file, if there is one."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(temporary)


def remove_old(source: Path, target: Path) -> None:
    """Remove the old name of a file that has its new one; if that is not possible, remove the new one.

    Raises:
        OSError: If it cannot be removed.
    """
    sync_folder(target.parent)
    try:
        os.unlink(source)
    except OSError:
        os.unlink(target)
        raise
    sync_folder(source.parent)
