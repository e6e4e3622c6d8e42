"""Find the pictures in a folder, and account for every file that is left out."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pairsim._common.choices import OnError
from pairsim._common.storage import open_file
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError, printable
from pairsim.images.plug_ins import register_plug_ins

_NO_PICTURES = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
"""Formats of Pillow that are no pictures here: measurements, films, those that it cannot decode itself, and EPS, for
which it runs another program."""

_SYSTEM_NAMES = frozenset(
    {"@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle", "#snapshot", "~snapshot", "$recycle.bin"}
    | {"system volume information", "network trash folder", "temporary items", "lost+found", "__macosx"}
    | {"__pycache__", "desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db"}
)
"""Names, in lower case, that file servers, systems and tools give to files of their own."""

METADATA_FILES = frozenset({"metadata.csv", "metadata.jsonl"})
"""Names, in lower case, of files that label pictures."""

_METADATA = "metadata files"
_HIDDEN = "hidden and system files"
_BROKEN = "broken links"
_THERE_ANYWAY = "links to what is there anyway or to a folder above"
_SPECIAL = "special files"
_RUNS = "files of pairsim runs"
_LOCKED_FOLDERS = "folders that cannot be read"
_LOCKED_FILES = "files that cannot be read"
_REASONS = (_METADATA, _HIDDEN, _BROKEN, _THERE_ANYWAY, _SPECIAL, _RUNS, _LOCKED_FOLDERS, _LOCKED_FILES)

_RUN_FILE, _RUN_MARK = "run.json", b'"pairsim-run"'
"""The file that a run folder has, and what its first bytes hold."""

_MAX_ENDING = 13
_MAX_ENDINGS = 8
_MAX_EXAMPLES = 3


@dataclass(frozen=True)
class LeftOut:
    """Files or folders that are not used, for one reason.

    Attributes:
        reason: What they are, such as "files ending in .txt" or "broken links".
        files: Number of files, including those in hidden folders.
        folders: Number of folders and links to folders that are not read.
        examples: Up to three of them, as paths below the folder that was read.
    """

    reason: str
    files: int
    folders: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        number = self.files + self.folders
        examples = ", ".join(map(printable, self.examples)) + (", ..." if number > len(self.examples) > 0 else "")
        reason = self.reason if number > 1 else re.sub(r"(file|folder|link|picture)s\b", r"\1", self.reason, count=1)
        return f"{number:,} {reason} ({examples})" if examples else f"{number:,} {reason}"


@dataclass(frozen=True)
class FolderScan:
    """The pictures of a folder, and what is left out: each file is either a picture or counted as left out.

    Attributes:
        folder: The folder, as it was given.
        names: Path of each picture below the folder, with slashes, sorted folder by folder.
        left_out: What is left out.
        folders: Path of each folder that was read, likewise; the folder itself is "".
        metadata: Path of each file that may label pictures, such as `metadata.csv`.
    """

    folder: Path
    names: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    folders: tuple[str, ...]
    metadata: tuple[str, ...]

    @property
    def pictures(self) -> list[Path]:
        """Path of each picture."""
        return [self.folder / name for name in self.names]

    def __str__(self) -> str:
        return account(self.folder, len(self.names), self.left_out)


def pictures_below(folder: str | os.PathLike[str]) -> list[Path]:
    """List the pictures of a folder and its sub-folders, which are recognised by their ending.

    These are the endings, in upper or lower case, of the formats that Pillow reads, of HEIC if pillow-heif is
    installed, and of plug-ins that are registered with Pillow. Formats that are no pictures, such as PDF, EPS and
    films, are left out. So are hidden files and folders, and those of systems and file servers, such as `Thumbs.db` and
    `@eaDir`, and runs of pairsim. Links are followed, but what several paths lead to is listed once.

    Args:
        folder: Where to look.

    Returns:
        Paths that begin with `folder`, sorted; at least one.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If it has no picture; the message says what it has.
        ImageReadError: If it or one of its sub-folders cannot be read.
    """
    return scan(folder).pictures


def scan(folder: str | os.PathLike[str], on_error: OnError | None = None, *, expected: str = "pictures") -> FolderScan:
    """Find the pictures of a folder as `pictures_below` does, and account for all other files.

    Args:
        folder: Where to look.
        on_error: What happens at a sub-folder that cannot be read: "skip" leaves it out; "raise", or `None` where the
            user has no choice, raises an error.
        expected: What the folder should hold, for the message if it has no picture.

    Returns:
        The pictures, at least one, and what is left out.

    Raises:
        DatasetNotFoundError: If there is no such folder.
        DataError: If it has no picture.
        ImageReadError: If the folder cannot be read, or a sub-folder cannot and `on_error` is not "skip".
    """
    found = _Walk(os.fspath(folder), on_error).run()
    if not found.names:
        held = " ".join(["found none.", *_sentence(found.left_out)])
        raise DataError(f"Expected {expected} in {folder}, {held} Choose another folder.")
    return found


def account(source: object, num_pictures: int, left_out: Iterable[LeftOut], details: str = "") -> str:
    """Say in one line how many pictures a folder has and what is left out.

    Args:
        source: The folder.
        num_pictures: Number of its pictures.
        left_out: What is left out.
        details: More about the pictures, after their number.
    """
    pictures = f"{num_pictures:,} picture{'' if num_pictures == 1 else 's'}{details}."
    return " ".join([f"{printable(str(source))}: {pictures}", *_sentence(left_out)])


def picture_endings() -> frozenset[str]:
    """Return the endings of the picture files that Pillow and its plug-ins read, in lower case with the dot."""
    from PIL import Image

    register_plug_ins()
    Image.preinit()  # Pillow then tries the usual formats first
    Image.init()
    readable = {*Image.OPEN, "MPO"} - _NO_PICTURES  # an MPO is opened as a JPEG
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in readable}
    return frozenset(endings - {".pfm"})  # in floating point, which has no defined white


def _sentence(left_out: Iterable[LeftOut]) -> list[str]:
    parts = ", ".join(map(str, left_out))
    return [f"Left out: {parts}."] if parts else []


class _Walk:
    """Reads a folder: first the real sub-folders, then links, so that the result does not depend on the order."""

    def __init__(self, root: str, on_error: OnError | None) -> None:
        self.root = root
        self.on_error = on_error
        self.endings = picture_endings()
        self.names: list[str] = []
        self.folders: list[str] = []
        self.others: defaultdict[str, list[str]] = defaultdict(list)
        self.linked_files: list[str] = []
        self.linked_folders: list[str] = []
        self.left_out: defaultdict[str, list[tuple[str, int, int]]] = defaultdict(list)
        self.seen: set[object] = set()

    def run(self) -> FolderScan:
        self.read("")
        above = set[object]()
        for folder in Path(os.path.realpath(self.root)).parents:
            with contextlib.suppress(OSError):  # one that may not be read
                above.add(_identity(str(folder)))
        while self.linked_folders:  # a folder that is found through a link may hold further links
            links, self.linked_folders = sorted(self.linked_folders), []
            for name in links:
                self.read(name, above)
        self.add_linked_files()
        left_out = _by_ending(self.others)
        for reason in filter(self.left_out.__contains__, _REASONS):
            names, files, folders = zip(*self.left_out[reason], strict=True)
            left_out.append(left_out_of(reason, names, files=sum(files), folders=sum(folders)))
        return FolderScan(
            folder=Path(self.root),
            names=tuple(sorted(self.names, key=lambda name: name.split("/"))),
            left_out=tuple(left_out),
            folders=tuple(sorted(self.folders)),
            metadata=tuple(sorted(name for name, *_ in self.left_out.get(_METADATA, ()))),
        )

    def path(self, name: str) -> str:
        return os.path.join(self.root, name) if name else self.root

    def leave_out(self, reason: str, name: str, *, folder: bool = False, files: int = 1) -> None:
        self.left_out[reason].append((name, 0 if folder else files, int(folder)))

    def read(self, name: str, above: Container[object] = ()) -> None:
        """Read a folder and its real sub-folders, each once; keep links for later."""
        waiting = [name]
        while waiting:
            name = waiting.pop()
            try:
                identity = _identity(self.path(name))
                if identity in self.seen or identity in above:
                    self.leave_out(_THERE_ANYWAY, name, folder=True)
                    continue
                with os.scandir(self.path(name)) as found:
                    entries = list(found)
            except OSError as error:
                self.cannot_read(name, error, is_folder=True)
                continue
            self.seen.add(identity)
            if name and any(entry.name == _RUN_FILE for entry in entries) and _is_run(self.path(name)):
                self.leave_out(_RUNS, name, files=self.count(self.path(name)))
                continue
            self.folders.append(name)
            for entry in entries:
                self.add(entry, f"{name}/{entry.name}" if name else entry.name, waiting)

    def add(self, entry: os.DirEntry[str], name: str, waiting: list[str]) -> None:
        """Add an entry of a folder to what it is; a real sub-folder waits to be read."""
        try:
            is_link, is_folder, is_file = entry.is_symlink(), entry.is_dir(), entry.is_file()
        except OSError as error:
            if error.errno == errno.ELOOP:
                self.leave_out(_BROKEN, name)
            else:
                self.cannot_read(name, error, is_folder=False)
            return
        ending = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_NAMES:
            linked = is_folder and is_link
            files = self.count(entry.path) if is_folder and not linked else 1
            if files:
                self.leave_out(_HIDDEN, name, folder=linked, files=files)
        elif is_folder:
            (self.linked_folders if is_link else waiting).append(name)
        elif not is_file:
            self.leave_out(_BROKEN if is_link and not os.path.exists(entry.path) else _SPECIAL, name)
        elif entry.name.lower() in METADATA_FILES:
            self.leave_out(_METADATA, name)
        elif ending not in self.endings:
            self.others[ending].append(name)
        else:
            (self.linked_files if is_link else self.names).append(name)

    def count(self, hidden: str) -> int:
        """Count the files of a hidden folder, to which no link leads any more."""
        number = 0
        for path, _, files in os.walk(hidden):
            number += len(files)
            with contextlib.suppress(OSError):
                self.seen.add(_identity(path))
        return number

    def add_linked_files(self) -> None:
        """Add the pictures that are links, except to files that are there anyway."""
        if not self.linked_files:
            return
        real_folder = cache(lambda folder: os.path.realpath(self.path(folder)))
        real = set()
        for name in self.names:
            folder, _, last = name.rpartition("/")
            real.add(os.path.join(real_folder(folder), last))
        for name in sorted(self.linked_files):
            target = os.path.realpath(self.path(name))
            if target in real:
                self.leave_out(_THERE_ANYWAY, name)
            else:
                real.add(target)
                self.names.append(name)

    def cannot_read(self, name: str, error: OSError, *, is_folder: bool) -> None:
        """Leave out a folder or file that cannot be read, or raise an error that names it."""
        path = self.path(name)
        if not name and isinstance(error, FileNotFoundError | NotADirectoryError):
            raise DatasetNotFoundError(
                f"Expected a folder of pictures at {path}, found no such folder. Check the path."
            ) from error
        if name and self.on_error == "skip":
            self.leave_out(_LOCKED_FOLDERS if is_folder else _LOCKED_FILES, name, folder=is_folder)
            return
        what = f"the {'folder' if is_folder else 'file'} {path}"
        skip = ", or leave it out with on_error='skip' (--on-error skip)" if name and self.on_error else ""
        if isinstance(error, PermissionError):
            raise ImageReadError(
                f"Expected to be allowed to read {what}, but permission was denied. Change its permissions{skip}."
            ) from error
        raise ImageReadError(
            f"Expected to read {what}, but: {error.strerror or error}. Check the disk or the network{skip}."
        ) from error


def _is_run(folder: str) -> bool:
    try:
        with open_file(os.path.join(folder, _RUN_FILE)) as file:
            return _RUN_MARK in file.read(256)
    except OSError:
        return False


def _identity(folder: str) -> object:
    """Identify a folder independently of its path; by its path where the system gives no inode."""
    found = os.stat(folder)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(folder)


def _by_ending(others: dict[str, list[str]]) -> list[LeftOut]:
    """Count the files of each ending, the most frequent first."""
    usual = {
        ending: names
        for ending, names in others.items()
        if 1 < len(ending) <= _MAX_ENDING and ending.isprintable() and " " not in ending
    }
    frequent = sorted(usual, key=lambda ending: (-len(usual[ending]), ending))[:_MAX_ENDINGS]
    kinds = {f"files ending in {ending}": usual[ending] for ending in frequent}
    for ending in sorted(others.keys() - frequent):
        reason = "files with other endings" if len(ending) > 1 else "files without an ending"
        kinds[reason] = kinds.get(reason, []) + others[ending]
    return [left_out_of(reason, names, files=len(names)) for reason, names in kinds.items()]


def left_out_of(reason: str, names: Iterable[str], *, files: int, folders: int = 0) -> LeftOut:
    """Describe what is left out for one reason, with some of the names."""
    return LeftOut(reason, files, folders, tuple(sorted(names)[:_MAX_EXAMPLES]))
