"""Save and load a gallery's folder: shards of embeddings and ids that are written once, and their list.

    gallery.json                     shards with the SHA-256 of their files, removed rows, SHA-256 of the model
    embeddings-00000.safetensors     the embeddings of a shard, at most 64 MB
    ids-00000.json                   their ids

Saving again writes shards of what is new, then `gallery.json` in one step, and then deletes the files that it no longer
lists: a crash at any moment leaves the old gallery or the new one. Removed rows stay in their shard, and are listed,
until they are more than half of it; a shard with an updated row is written again. Shard numbers are not reused.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import operator
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common import json_files, storage
from pairsim._common.ordered_map import ordered_map
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.models.pretrained import short
from pairsim.search.gallery_ids import Id

FORMAT = "pairsim-gallery"
FORMAT_VERSION = 2
INDEX = "gallery.json"
SHARD_BYTES = 64 * 2**20
MAX_SMALL = 64
"""Number of shards below a quarter of `SHARD_BYTES` above which neighbouring ones are joined."""

_OLD_EMBEDDINGS = "gallery.safetensors"  # of version 1, which had one file, and the ids in the index
_SHARD_FILE = re.compile(r"embeddings-(\d+)\.safetensors|ids-(\d+)\.json")
_CHUNK = 4 * 2**20
_MAX_NUMBER = 2**53
"""What JSON holds exactly everywhere."""
_MAX_HEADER = 2**20
_MAX_THREADS = 4


@dataclass(frozen=True)
class Shard:
    """Rows that are on disk; `removed` lists spans `[first, last + 1]` that are no longer in the gallery."""

    number: int
    rows: int
    embeddings_sha256: str
    ids_sha256: str
    removed: tuple[tuple[int, int], ...] = ()

    @property
    def embeddings_file(self) -> str:
        """Name of the file with the embeddings."""
        return f"embeddings-{self.number:05d}.safetensors"

    @property
    def ids_file(self) -> str:
        """Name of the file with the ids."""
        return f"ids-{self.number:05d}.json"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shard:
        """From JSON values, as `dataclasses.asdict` returns them.

        Raises:
            ValueError: If numbers or spans are not possible; KeyError or TypeError if it has other fields.
        """
        spans = tuple((_whole(first), _whole(end)) for first, end in values["removed"])
        ends = [0, *itertools.chain(*spans), _whole(values["rows"])]
        if not all(map(operator.le, ends, ends[1:])):
            raise ValueError(f"expected removed rows in order and at most {values['rows']}, found others")
        _whole(values["number"])
        return cls(**{**values, "removed": spans})

    @property
    def num_kept(self) -> int:
        """Number of rows that are in the gallery."""
        return self.rows - sum(end - first for first, end in self.removed)

    def kept(self) -> npt.NDArray[np.bool_]:
        """Return which rows are in the gallery."""
        mask = np.ones(self.rows, dtype=bool)
        for first, end in self.removed:
            mask[first:end] = False
        return mask


@dataclass
class SavedState:
    """Which rows of a gallery are on disk, and where.

    Attributes:
        folder: Resolved; `None` if nothing was saved or loaded.
        sha256: Of the index when it was last written or read.
        shards: In order.
        homes: For the first rows of the gallery, the row among those of all shards that each was saved as, ascending;
            later rows are new. At first all rows that the shards keep.
        changed: Which of these have been given another embedding.
    """

    folder: Path | None = None
    sha256: str = ""
    shards: Sequence[Shard] = ()
    homes: npt.NDArray[np.int64] = field(init=False)
    changed: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.homes = np.flatnonzero(np.concatenate([np.zeros(0, bool), *(shard.kept() for shard in self.shards)]))
        self.changed = np.zeros(len(self.homes), bool)

    def update(self, indices: Sequence[int]) -> None:
        """Mark rows of the gallery as changed."""
        rows = np.asarray(indices, dtype=np.int64)
        self.changed[rows[rows < len(self.changed)]] = True

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only some rows of the gallery, in their order."""
        rows = np.asarray(indices, dtype=np.int64)
        rows = rows[rows < len(self.homes)]
        self.homes, self.changed = self.homes[rows], self.changed[rows]


def save(folder: Path, embeddings: Tensor, ids: Sequence[Id], embedding_sha256: str, state: SavedState) -> SavedState:
    """Save a gallery in a folder, and write only what is not there yet.

    Args:
        folder: Made if needed. Another gallery in it is replaced.
        embeddings: `[N, D]`, float32.
        ids: Their ids `[N]`.
        embedding_sha256: Of the model (see `pairsim.models.pretrained`); `load` compares with it.
        state: What `load` or the last `save` returned, with all changes since.

    Returns:
        The new state.

    Raises:
        RunError: If something cannot be written; what was there stays whole.
    """
    folder = folder.resolve()
    if state.folder != folder or state.sha256 != _index_sha256(folder):
        state = SavedState()  # another folder, or another program has changed it
    number = 1 + max((int(match[1] or match[2]) for match in _shard_files(folder)), default=-1)
    shards: list[Shard] = []
    for piece in _pieces(state, len(ids), embeddings.shape[1]):
        if isinstance(piece, Shard):
            shards.append(piece)
            continue
        first, end = piece
        rows = pretrained.serialize({"embeddings": embeddings[first:end]})
        names = storage.encoded(json.dumps(list(ids[first:end]), ensure_ascii=False))
        shards.append(Shard(number, end - first, storage.sha256(rows), storage.sha256(names)))
        storage.write_files(folder, {shards[-1].embeddings_file: rows, shards[-1].ids_file: names})
        number += 1
    index: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "num_images": len(ids),
        "embedding_dim": embeddings.shape[1],
        "model_sha256": embedding_sha256,
        "shards": [asdict(shard) for shard in shards],
    }
    sha256 = storage.sha256(storage.to_json(index))
    if sha256 != state.sha256:
        storage.write_file(folder / INDEX, json_files.sealed(index))
    listed = {name for shard in shards for name in (shard.embeddings_file, shard.ids_file)}
    for name in {match.string for match in _shard_files(folder)} | {_OLD_EMBEDDINGS}:
        if name not in listed:
            (folder / name).unlink(missing_ok=True)
    return SavedState(folder, sha256, shards)


def load(folder: Path, embedding_sha256: str) -> tuple[Tensor, list[Id], SavedState]:
    """Read a gallery that `save` wrote, each shard directly into the result.

    Args:
        folder: The folder.
        embedding_sha256: Of the model whose embeddings it has to hold.

    Returns:
        Embeddings `[N, D]`, on the CPU, ids `[N]`, and the state to save with.

    Raises:
        RunError: If it is not there, is damaged or of a newer format, or is of another model.
    """
    folder = folder.resolve()
    path = folder / INDEX
    index = json_files.read_sealed(path)
    pretrained.check_format(index, FORMAT, FORMAT_VERSION, path)
    made_by = str(index.get("model_sha256"))
    if made_by != embedding_sha256:
        raise RunError(
            f"Expected {folder} to hold embeddings of this model ({short(embedding_sha256)}), found those of another "
            f"({short(made_by)}), whose similarities to them mean nothing. Load it with the model that made it, or add "
            "the images again."
        )
    # all sizes are compared with those of the files before memory is taken
    with _damage_named(path):
        count, dim = _whole(index["num_images"]), _whole(index["embedding_dim"])
        if index["format_version"] == 1:
            names = _checked_ids(index["ids"], count)
            _check_size(folder / _OLD_EMBEDDINGS, count, dim)
            embeddings = torch.empty(count, dim)
            _read(folder / _OLD_EMBEDDINGS, index["embeddings_sha256"], embeddings)
            return embeddings, names, SavedState()
        shards = [Shard.from_dict(entry) for entry in index["shards"]]
        if sum(shard.num_kept for shard in shards) != count or len({shard.number for shard in shards}) < len(shards):
            raise ValueError(f"expected {count} images in shards with different numbers, found others")
        for shard in shards:
            _check_size(folder / shard.embeddings_file, shard.rows, dim)
    embeddings = torch.empty(count, dim)
    ends = list(itertools.accumulate(shard.num_kept for shard in shards))
    parts = [(shard, embeddings[first:end]) for shard, first, end in zip(shards, [0, *ends], ends, strict=False)]
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    ids = list(itertools.chain(*ordered_map(partial(_read_shard, folder), parts, threads=threads, ahead=threads)))
    with _damage_named(path):
        _checked_ids(ids, count)
    return embeddings, ids, SavedState(folder, storage.sha256(storage.to_json(index)), shards)


def is_gallery(folder: Path) -> bool:
    """Return whether a folder holds a saved gallery."""
    return os.path.isfile(folder / INDEX)


def _pieces(state: SavedState, count: int, dim: int) -> list[Shard | tuple[int, int]]:
    """Return what a gallery consists of, in order: shards that stay, and spans of its rows to write."""
    max_rows = max(SHARD_BYTES // (4 * max(dim, 1)), 1)
    many_small = sum(shard.rows < max_rows // 4 for shard in state.shards) > MAX_SMALL
    pieces: list[Shard | tuple[int, int]] = []
    start, unwritten = 0, 0  # first row of the shard among those of all shards; first row without a piece
    for shard in state.shards:
        first, end = (int(row) for row in np.searchsorted(state.homes, [start, start + shard.rows]))
        dead = np.setdiff1d(np.arange(shard.rows), state.homes[first:end] - start)
        small = many_small and shard.rows < max_rows // 4
        if 2 * dead.size <= shard.rows and not state.changed[first:end].any() and not small:
            breaks = np.flatnonzero(np.diff(dead) > 1) + 1
            removed = tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(dead, breaks) if run.size)
            pieces += [*_spans(unwritten, first, max_rows), replace(shard, removed=removed)]
            unwritten = end
        start += shard.rows
    return [*pieces, *_spans(unwritten, count, max_rows)]


def _spans(first: int, end: int, max_rows: int) -> list[tuple[int, int]]:
    return [(start, min(start + max_rows, end)) for start in range(first, end, max_rows)]


def _index_sha256(folder: Path) -> str | None:
    try:
        return storage.read_json(folder / INDEX).get("sha256")
    except RunError:
        return None


def _shard_files(folder: Path) -> list[re.Match[str]]:
    names = [path.name for path in folder.iterdir()] if storage.is_folder(folder) else []
    return [match for name in names if (match := _SHARD_FILE.fullmatch(name))]


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: {type(error).__name__}: {error}. Copy the folder again.") from error


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise ValueError(f"expected a whole number, found {str(value)[:40]}")
    return value


def _checked_ids(names: Any, count: int) -> list[Id]:
    """Check ids as they were read: their number, that they are strings or whole numbers, and that none comes twice."""
    if not isinstance(names, list) or not {str, int}.issuperset(map(type, names)) or len(set(names)) != count:
        raise ValueError(f"expected {count} different ids, strings or whole numbers, found others")
    return names


def _read_shard(folder: Path, part: tuple[Shard, Tensor]) -> list[Id]:
    """Read the embeddings of a shard into a tensor, and return its ids."""
    shard, into = part
    kept = shard.kept()
    path = folder / shard.ids_file
    with _damage_named(path):
        names: list[Id] = json.loads(_read(path, shard.ids_sha256))
        if not isinstance(names, list) or len(names) != shard.rows:  # those of all shards are compared later
            raise ValueError(f"expected {shard.rows} different ids, strings or whole numbers, found others")
    rows = into if kept.all() else torch.empty(shard.rows, into.shape[1])
    _read(folder / shard.embeddings_file, shard.embeddings_sha256, rows)
    if rows is into:
        return names
    into.copy_(rows[torch.from_numpy(kept)])
    return list(itertools.compress(names, kept.tolist()))


def _read(path: Path, sha256: str, into: Tensor | None = None) -> bytes:
    """Read a file, check it and return its bytes; those of the tensor at its end, if any, directly into that tensor."""
    view = memoryview(b"") if into is None or not into.numel() else into.numpy().reshape(-1).data.cast("B")
    try:
        with storage.open_file(path) as file:
            head = file.read(max(os.fstat(file.fileno()).st_size - len(view), 0))
            digest, start = hashlib.sha256(head), 0
            while start < len(view) and (read := file.readinto(view[start : start + _CHUNK])):
                digest.update(view[start : start + read])
                start += read
    except OSError as error:
        raise RunError(f"Expected {path} to be readable, but: {error.strerror}.") from error
    if digest.hexdigest() != sha256:
        raise RunError(
            f"{path} is damaged or from another save: its SHA-256 differs from the one in {INDEX}. "
            "Copy the folder again."
        )
    return head


def _check_size(path: Path, rows: int, dim: int) -> None:
    """Check that a file holds embeddings, and says so.

    Raises:
        RunError: If it cannot be read, or holds others.
    """
    try:
        with storage.open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            header = file.read(min(int.from_bytes(file.read(8), "little"), _MAX_HEADER))
    except OSError as error:
        raise RunError(f"Expected {path} to be readable, but: {error.strerror}.") from error
    expected = {"dtype": "F32", "shape": [rows, dim], "data_offsets": [0, 4 * rows * dim]}
    with _damage_named(path):
        if size != 8 + len(header) + 4 * rows * dim or json.loads(header).get("embeddings") != expected:
            raise ValueError(f"expected {rows} x {dim} embeddings, as {INDEX} says, found others, of {size} bytes")
