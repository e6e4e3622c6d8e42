"""Keep what the search for duplicates needs of each picture in a SQLite file, so that no picture is read twice.

A row has the path of a file, by which it is recognised with its size, times and number; digest, size and other facts;
the small copies; and the features. Each part ends with its CRC-32. Rows are committed every two seconds, so a process
that is killed loses no more than that.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pairsim._common.storage import check_writable, make_folder
from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.fingerprints import CHROMA_SIDE, GREY_SIDE, Fingerprint
from pairsim.audits.duplicates.matching.local_features import Features
from pairsim.audits.duplicates.matching.orientations import FREQUENCIES
from pairsim.audits.duplicates.matching.registration import Frames, squared
from pairsim.errors import RunError

_APPLICATION = 0x70736475
"""SQLite's application_id of these files, "psdu"."""
_FORMAT = 1
"""To be raised with every change of what is stored, or of how it is computed from pixels."""
_FACTS = struct.Struct("<32s2I6d2HI")
_PLACE = np.dtype("<f4")
_FLAGS = torch.tensor([1, 2, 4], dtype=torch.uint8)
_CHROMA_BYTES = 2 * CHROMA_SIDE**2
_COMMIT_SECONDS = 2.0
_SETTLED_SECONDS = 2.0
"""Age from which the times of a file tell a later change; some file systems round them to two seconds."""
_CACHE_KIB = 1 << 14
_TABLE = """CREATE TABLE pictures (
    id INTEGER PRIMARY KEY, path BLOB UNIQUE, stamp TEXT NOT NULL,
    facts BLOB NOT NULL, copies BLOB NOT NULL, features BLOB NOT NULL)"""
_FACTS_OF = "SELECT facts FROM pictures WHERE id = ?"
_COPIES_OF = "SELECT copies FROM pictures WHERE id = ?"
_FEATURES_OF = "SELECT features FROM pictures WHERE id = ?"
_NOTHING = np.zeros((0, 0), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture of the index.

    Attributes:
        row: Its number in the index.
        digest: Of its pixels.
        size: Height and width, pixels.
    """

    row: int
    digest: bytes
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """What the index holds of a picture, as bytes with their checksums; made by `packed`.

    Attributes:
        digest: Of its pixels.
        size: Height and width, pixels.
        facts: On its file and pixels.
        copies: The small copies of its colour and luminance.
        features: Places, orientations and descriptions.
    """

    digest: bytes
    size: tuple[int, int]
    facts: bytes
    copies: bytes
    features: bytes


def packed(found: Fingerprint, features: Features) -> Row:
    """Pack what was read of a picture.

    Args:
        found: Its fingerprint.
        features: Of this picture alone.
    """
    facts = _FACTS.pack(
        found.digest, *found.size, *found.content, found.detail, found.noise, *found.grey.shape, found.frames
    )
    place = features.place.numpy()
    places = np.stack([place[:, 0, 0], place[:, 1, 1], place[:, 0, 2], place[:, 1, 2]], axis=1)
    flags = (features.orientation * _FLAGS).sum(dim=1, dtype=torch.uint8)
    parts = (
        facts,
        found.chroma.tobytes() + squared(found.grey).tobytes(),
        places.astype(_PLACE).tobytes() + flags.numpy().tobytes() + features.description.numpy().tobytes(),
    )
    return Row(found.digest, found.size, *map(_sealed, parts))


class PictureIndex:
    """The pictures of earlier searches, and of this one.

    Args:
        path: The file, which is made if there is none; by default a temporary one, which is deleted at the end.

    Raises:
        RunError: If it cannot be written, is something else, is damaged, or is in use by another process.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._stamps: dict[int, str] = {}
        self._committed = time.monotonic()
        if self._path is not None:
            check_writable(self._path)
            make_folder(self._path.parent)
        with self._explained():
            self._rows: sqlite3.Connection = sqlite3.connect(self._path or "", timeout=0, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._rows.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._rows.in_transaction:  # a full disk ends it
                with self._explained():
                    self._rows.execute("DELETE FROM pictures WHERE path IS NULL")
                    self._rows.execute("COMMIT")
        finally:
            self._rows.close()

    def find(self, pictures: Sequence[Listed]) -> dict[int, Entry]:
        """Look up pictures whose files have not changed since they were added.

        Args:
            pictures: To search.

        Returns:
            The entry of each that is known, by `Listed.index`.
        """
        known = {}
        with self._explained():
            for one in pictures:
                stamp = _stamp(one)
                if stamp is None:
                    continue
                query = "SELECT id, facts FROM pictures WHERE path = ? AND stamp = ?"
                found = self._rows.execute(query, (_key(one), stamp)).fetchone()
                if found is None:
                    self._stamps[one.index] = stamp
                else:
                    known[one.index] = self._entry(*found)
        return known

    def remove_others(self, folder: str | os.PathLike[str], pictures: Iterable[Listed]) -> None:
        """Remove the pictures below a folder that are no longer there.

        Args:
            folder: That was listed.
            pictures: All that it has.
        """
        kept = {_key(one) for one in pictures}
        prefix = os.fsencode(os.path.join(os.path.realpath(folder), ""))
        with self._explained():
            below = self._rows.execute(
                "SELECT path FROM pictures WHERE path > ? AND path < ?", (prefix, prefix[:-1] + bytes([prefix[-1] + 1]))
            )
            gone = [row for row in below if row[0] not in kept]
            self._rows.executemany("DELETE FROM pictures WHERE path = ?", gone)

    def add(self, picture: Listed, found: Row) -> Entry:
        """Add a picture, in place of an earlier one at its path.

        Args:
            picture: As it was listed; `find` was asked for it.
            found: What was read of it.
        """
        with self._explained():
            row = self._rows.execute(
                "INSERT OR REPLACE INTO pictures (path, stamp, facts, copies, features) VALUES (?, ?, ?, ?, ?)",
                (_key(picture), self._stamps.pop(picture.index, ""), found.facts, found.copies, found.features),
            ).lastrowid
            if time.monotonic() - self._committed > _COMMIT_SECONDS:
                self._rows.execute("COMMIT")
                self._rows.execute("BEGIN")
                self._committed = time.monotonic()
        assert row is not None
        return Entry(row, found.digest, found.size)

    def fingerprint(self, row: int) -> Fingerprint:
        """Read what is kept of a picture, but its canvas."""
        digest, height, width, *numbers = self._facts(row)
        rows, columns, frames = numbers[6:]
        small = np.frombuffer(self._copies(row), dtype=np.uint8)
        return Fingerprint(
            digest=digest,
            size=(height, width),
            content=(numbers[0], numbers[1], numbers[2], numbers[3]),
            grey=small[_CHROMA_BYTES:].reshape(GREY_SIDE, GREY_SIDE)[:rows, :columns],
            chroma=small[:_CHROMA_BYTES].reshape(2, CHROMA_SIDE, CHROMA_SIDE),
            canvas=_NOTHING,
            detail=numbers[4],
            noise=numbers[5],
            frames=frames,
        )

    def frames(self, rows: Sequence[int]) -> StoredFrames:
        """Return the grey copies of pictures, which are read when they are asked for."""
        sizes = [self._facts(row)[-3:-1] for row in rows]
        return StoredFrames(self, rows, torch.tensor(sizes, dtype=torch.float32).reshape(-1, 2))

    def greys(self, rows: Iterable[int]) -> Tensor:
        """Read grey copies, float32 `[N, 64, 64]`."""
        pixels = b"".join(self._copies(row)[_CHROMA_BYTES:] for row in rows)
        squares = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, GREY_SIDE, GREY_SIDE)
        return torch.from_numpy(squares.astype(np.float32))

    def features(self, rows: Sequence[int]) -> Features:
        """Read the features of pictures, which are numbered by their order."""
        places, flags, descriptions, counts = bytearray(), bytearray(), bytearray(), []
        width = 4 * _PLACE.itemsize
        unit = width + 1 + len(FREQUENCIES)
        for row in rows:
            content = self._opened(self._column(_FEATURES_OF, row), unit, exact=False)
            count = len(content) // unit
            places += content[: count * width]
            flags += content[count * width : count * (width + 1)]
            descriptions += content[count * (width + 1) :]
            counts.append(count)
        numbers = torch.from_numpy(np.frombuffer(places, dtype=_PLACE).astype(np.float32, copy=False).reshape(-1, 4))
        place = torch.zeros(len(numbers), 2, 3)
        place[:, 0, 0], place[:, 1, 1], place[:, 0, 2], place[:, 1, 2] = numbers.unbind(dim=1)
        return Features(
            picture=torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(counts, dtype=torch.int64)),
            place=place,
            orientation=torch.from_numpy(np.frombuffer(flags, dtype=np.uint8))[:, None] & _FLAGS > 0,
            description=torch.from_numpy(np.frombuffer(descriptions, dtype=np.int8).reshape(-1, len(FREQUENCIES))),
        )

    def _prepare(self) -> None:
        run = self._rows.execute
        run("PRAGMA trusted_schema = OFF")
        run(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if self._path is None:
            run("PRAGMA journal_mode = OFF")
        else:
            run("PRAGMA locking_mode = EXCLUSIVE")
        tables = [sql for (sql,) in run("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
        application, version = (run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if (tables, application) not in (([], 0), ([_TABLE], _APPLICATION)):  # a view could run for ever
            raise RunError(_OTHER_FILE.format(self._path))
        if not tables:
            run("PRAGMA page_size = 16384")  # so that a row needs no further page
        run("BEGIN EXCLUSIVE")
        if version != _version():
            run("DROP TABLE IF EXISTS pictures")
            run(_TABLE)
            run(f"PRAGMA application_id = {_APPLICATION}")
            run(f"PRAGMA user_version = {_version()}")
        run("DELETE FROM pictures WHERE path IS NULL")

    def _entry(self, row: int, facts: bytes) -> Entry:
        digest, height, width, *_ = _FACTS.unpack(self._opened(facts, _FACTS.size))
        return Entry(row, digest, (height, width))

    def _facts(self, row: int) -> tuple[Any, ...]:
        return _FACTS.unpack(self._opened(self._column(_FACTS_OF, row), _FACTS.size))

    def _copies(self, row: int) -> bytes:
        return self._opened(self._column(_COPIES_OF, row), _CHROMA_BYTES + GREY_SIDE**2)

    def _column(self, query: str, row: int) -> object:
        with self._explained():
            return self._rows.execute(query, (row,)).fetchone()[0]

    def _opened(self, part: object, unit: int, *, exact: bool = True) -> bytes:
        """Check a part, which has `unit` bytes, or any number of such units."""
        if isinstance(part, bytes) and part[-4:] == _crc(part[:-4]):
            size = len(part) - 4
            if size == unit or not (exact or size % unit):
                return part[:-4]
        raise RunError(f"Expected {self._path} to be undamaged, but parts have other checksums. {_ADVICE}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            what = "the temporary file of the search" if self._path is None else str(self._path)
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_BUSY:
                raise RunError(f"Expected {what} to be free, but another process uses it. Wait for it.") from error
            if code == sqlite3.SQLITE_NOTADB:
                raise RunError(_OTHER_FILE.format(what)) from error
            if code == sqlite3.SQLITE_FULL:
                raise RunError(
                    f"Expected space for {what}, about 8 kB for each picture, but the disk is full. "
                    "Free some, or use an index on another disk."
                ) from error
            raise RunError(f"Expected to read and write {what}, but: {error}. {_ADVICE}") from error


@dataclass(frozen=True)
class StoredFrames:
    """Grey copies of pictures in an index, see `Frames`.

    Attributes:
        index: Which has them.
        rows: Of the pictures.
        sizes: Height and width of each, float32 `[N, 2]`.
    """

    index: PictureIndex
    rows: Sequence[int]
    sizes: Tensor

    def __getitem__(self, rows: Tensor) -> Frames:
        return Frames(self.index.greys(self.rows[k] for k in rows.tolist()), self.sizes[rows])


_OTHER_FILE = "Expected {} to be an index of duplicates, found another file. Give another path."
_ADVICE = "Delete it: then all pictures are read again."


def _version() -> int:
    """Return a number for the format and for the library that decodes, whose pixels may differ by its version."""
    import PIL

    return zlib.crc32(f"{_FORMAT} {PIL.__version__}".encode()) >> 1


def _key(picture: Listed) -> bytes | None:
    return None if picture.path is None else os.fsencode(os.path.realpath(picture.path))


def _stamp(picture: Listed) -> str | None:
    """Describe the state of a file; `None` if it is none, or so new that a later change could go unnoticed."""
    if picture.path is None:
        return None
    try:
        state = os.stat(picture.path)
    except OSError:
        return None
    if time.time() - max(state.st_mtime, state.st_ctime) < _SETTLED_SECONDS:
        return None
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"


def _crc(content: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(content))


def _sealed(content: bytes) -> bytes:
    return content + _crc(content)
