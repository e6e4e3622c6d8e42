"""A gallery's folder: embeddings and ids in shards that are written once, and a list of them.

    gallery.json                     what is there: shards with the SHA-256 of their files, removed rows, the model's
    embeddings-00000.safetensors     the embeddings of a shard, at most 64 MB
    ids-00000.json                   their ids

Saving again writes shards of what is new, then `gallery.json` in one step, and then deletes what it no longer names: a
crash at any moment leaves the old gallery or the new one. Removed rows stay in their shard, and are listed, until they
are more than half of it; a shard of which a row was updated is written anew. Numbers of shards are not used again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common import storage
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.search.gallery_ids import Id

FORMAT = "pairsim-gallery"
FORMAT_VERSION = 2
INDEX = "gallery.json"
SHARD_BYTES = 64 * 2**20
MOST_SMALL = 64
"""Shards below a quarter of `SHARD_BYTES`, above which those that follow each other are joined."""

_OLD_EMBEDDINGS = "gallery.safetensors"  # of version 1, which had one file, and the ids in the index
_SHARD_FILE = re.compile(r"embeddings-(\d+)\.safetensors|ids-(\d+)\.json")
_CHUNK = 4 * 2**20
_THREADS = 4


@dataclass(frozen=True)
class Shard:
    """Rows that are on disk, of which `removed` lists spans `[first, last + 1]` that count no more."""

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

    def kept(self) -> npt.NDArray[np.bool_]:
        """Which rows count."""
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
        homes: For the first rows of the gallery, the row among all those of the shards that each was saved as, rising;
            rows beyond are new.
        changed: Which of these have another embedding since.
    """

    folder: Path | None = None
    sha256: str = ""
    shards: tuple[Shard, ...] = ()
    homes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    changed: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    def update(self, places: Sequence[int]) -> None:
        """Note that rows of the gallery have other embeddings."""
        rows = np.asarray(places, dtype=np.int64)
        self.changed[rows[rows < len(self.changed)]] = True

    def keep(self, places: Sequence[int]) -> None:
        """Note that only some rows of the gallery are left, in their order."""
        rows = np.asarray(places, dtype=np.int64)
        rows = rows[rows < len(self.homes)]
        self.homes, self.changed = self.homes[rows], self.changed[rows]


def save(folder: Path, embeddings: Tensor, ids: Sequence[Id], model_sha256: str, state: SavedState) -> SavedState:
    """Bring a folder to hold a gallery, and write only what it lacks.

    Args:
        folder: Made if needed. Another gallery in it is replaced.
        embeddings: `[N, D]`, float32.
        ids: Their names `[N]`.
        model_sha256: What `load` compares with.
        state: What `load` or the last `save` gave, with all that changed since.

    Returns:
        The new state.

    Raises:
        RunError: If something cannot be written; what was there stays whole.
    """
    folder = folder.resolve()
    if state.folder != folder or state.sha256 != _index_sha256(folder):
        state = SavedState()  # another folder, or someone else has been at it
    pieces = _pieces(state, len(ids), embeddings.shape[1])
    number = 1 + max((int(match[1] or match[2]) for match in _shard_files(folder)), default=-1)
    shards: list[Shard] = []
    for piece in pieces:
        if isinstance(piece, Shard):
            shards.append(piece)
            continue
        first, end = piece
        rows = pretrained.serialize({"embeddings": embeddings[first:end]})
        names = json.dumps(list(ids[first:end]), ensure_ascii=False).encode()
        shard = Shard(number, end - first, storage.sha256(rows), storage.sha256(names))
        storage.write_files(folder, {shard.embeddings_file: rows, shard.ids_file: names})
        shards.append(shard)
        number += 1
    index: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "num_images": len(ids),
        "embedding_dim": embeddings.shape[1],
        "model_sha256": model_sha256,
        "shards": [
            {
                "number": shard.number,
                "rows": shard.rows,
                "embeddings_sha256": shard.embeddings_sha256,
                "ids_sha256": shard.ids_sha256,
                "removed": [list(span) for span in shard.removed],
            }
            for shard in shards
        ],
    }
    index["sha256"] = storage.sha256(storage.to_json(index))
    if index["sha256"] != state.sha256:
        storage.write_file(folder / INDEX, storage.to_json(index))
    named = {name for shard in shards for name in (shard.embeddings_file, shard.ids_file)}
    for name in [match.string for match in _shard_files(folder)] + [_OLD_EMBEDDINGS]:
        if name not in named:
            (folder / name).unlink(missing_ok=True)
    return _state(folder, index["sha256"], shards)


def load(folder: Path, model_sha256: str) -> tuple[Tensor, list[Id], SavedState]:
    """Read a gallery that `save` wrote, each embedding straight to its place.

    Args:
        folder: Where it is.
        model_sha256: Of the model that its embeddings have to be of.

    Returns:
        Embeddings `[N, D]`, on the CPU, ids `[N]`, and the state to save with.

    Raises:
        RunError: If it is not there, is damaged or of a newer format, or is of another model.
    """
    folder = folder.resolve()
    index = storage.read_json(folder / INDEX)
    pretrained.check_format(index, FORMAT, FORMAT_VERSION, folder / INDEX)
    digest = index.pop("sha256", None)
    if digest != storage.sha256(storage.to_json(index)):
        raise RunError(f"{folder / INDEX} is damaged: its SHA-256 differs from the one in it. Copy the folder again.")
    if index["model_sha256"] != model_sha256:
        raise RunError(
            f"Expected {folder} to hold embeddings of this model ({short(model_sha256)}), found those of another "
            f"({short(index['model_sha256'])}), to which similarities would mean nothing. Load it with the model "
            "that made it, or add the images again."
        )
    count, dim = index["num_images"], index["embedding_dim"]
    if index["format_version"] == 1:
        rows = torch.empty(count, dim)
        _read_rows(folder / _OLD_EMBEDDINGS, rows, index["embeddings_sha256"])
        return rows, index["ids"], SavedState()
    shards = [
        Shard(
            number=entry["number"],
            rows=entry["rows"],
            embeddings_sha256=entry["embeddings_sha256"],
            ids_sha256=entry["ids_sha256"],
            removed=tuple((first, end) for first, end in entry["removed"]),
        )
        for entry in index["shards"]
    ]
    embeddings, ids = torch.empty(count, dim), list[Id]()
    ends = np.cumsum([int(shard.kept().sum()) for shard in shards]).tolist()
    parts = [embeddings[first:end] for first, end in zip([0, *ends], ends, strict=False)]
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:  # reading and hashing leave Python's lock
        for names in pool.map(lambda shard, part: _read_shard(folder, shard, part), shards, parts):
            ids += names
    return embeddings, ids, _state(folder, digest, shards)


def is_gallery(folder: Path) -> bool:
    """Whether a folder holds a saved gallery."""
    return (folder / INDEX).is_file()


def short(digest: str | None) -> str:
    """The beginning of a SHA-256, for messages."""
    return f"SHA-256 {(digest or '')[:12]}"


def _pieces(state: SavedState, count: int, dim: int) -> list[Shard | tuple[int, int]]:
    """What a gallery is made of in order: shards that stay, and spans of its rows to write."""
    most = max(SHARD_BYTES // (4 * max(dim, 1)), 1)
    small = sum(shard.rows < most // 4 for shard in state.shards)
    spans: list[Shard | tuple[int, int]] = []

    def write(first: int, end: int) -> None:
        if spans and isinstance(spans[-1], tuple) and first < end:
            first = spans.pop()[0]  # type: ignore[index]
        if first < end:
            spans.append((first, end))

    start = 0
    for shard in state.shards:
        first, end = (int(place) for place in np.searchsorted(state.homes, [start, start + shard.rows]))
        dead = np.setdiff1d(np.arange(shard.rows), state.homes[first:end] - start)
        stays = 2 * dead.size <= shard.rows and not state.changed[first:end].any()
        if stays and not (small > MOST_SMALL and shard.rows < most // 4):
            breaks = np.flatnonzero(np.diff(dead) > 1) + 1
            removed = tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(dead, breaks) if run.size)
            spans.append(Shard(shard.number, shard.rows, shard.embeddings_sha256, shard.ids_sha256, removed))
        else:
            write(first, end)
        start += shard.rows
    write(len(state.homes), count)
    pieces: list[Shard | tuple[int, int]] = []
    for span in spans:
        if isinstance(span, Shard):
            pieces.append(span)
        else:
            pieces += [(first, min(first + most, span[1])) for first in range(span[0], span[1], most)]
    return pieces


def _state(folder: Path, digest: str, shards: Sequence[Shard]) -> SavedState:
    kept = np.concatenate([np.zeros(0, bool), *(shard.kept() for shard in shards)])
    homes = np.flatnonzero(kept)
    return SavedState(folder, digest, tuple(shards), homes, np.zeros(len(homes), bool))


def _index_sha256(folder: Path) -> str | None:
    try:
        found = storage.read_json(folder / INDEX).get("sha256")
    except RunError:
        return None
    return found if isinstance(found, str) else None


def _shard_files(folder: Path) -> list[re.Match[str]]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [match for name in names if (match := _SHARD_FILE.fullmatch(name))]


def _read_shard(folder: Path, shard: Shard, into: Tensor) -> list[Id]:
    kept = shard.kept()
    path = folder / shard.ids_file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"Expected {path} to be readable, but: {error.strerror}.") from error
    if storage.sha256(content) != shard.ids_sha256:
        raise _damaged(path)
    names: list[Id] = json.loads(content)
    if kept.all():
        _read_rows(folder / shard.embeddings_file, into, shard.embeddings_sha256)
        return names
    rows = torch.empty(shard.rows, into.shape[1])
    _read_rows(folder / shard.embeddings_file, rows, shard.embeddings_sha256)
    into.copy_(rows[torch.from_numpy(kept)])
    return [name for name, stays in zip(names, kept.tolist(), strict=True) if stays]


def _read_rows(path: Path, into: Tensor, sha256: str) -> None:
    """Read the one tensor of a safetensors file, whose bytes are the last of it, checking all on the way."""
    view = into.numpy().reshape(-1).data.cast("B") if into.numel() else memoryview(b"")
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            head = os.fstat(file.fileno()).st_size - len(view)
            if not 0 <= head <= _CHUNK:
                raise _damaged(path)
            digest.update(file.read(head))
            place = 0
            while place < len(view) and (read := file.readinto(view[place : place + _CHUNK])):
                digest.update(view[place : place + read])
                place += read
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"Expected {path} to be readable, but: {error.strerror}.") from error
    if digest.hexdigest() != sha256:
        raise _damaged(path)


def _damaged(path: Path) -> RunError:
    return RunError(
        f"{path} is damaged or from another save: its SHA-256 differs from the one in {INDEX}. Copy the folder again."
    )
