"""Save and load a gallery's folder: shards of embeddings and ids that are written once, and their list.

    gallery.json                     shards with the SHA-256 of their files, removed rows, SHA-256 of the model, and
                                     the calibration and the pictures that failed to enrol, if there are some; and
                                     the number of images and of identities
    embeddings-00000.safetensors     the embeddings of a shard, at most 64 MB
    ids-00000.json                   their ids; with identities {"ids": [...], "identities": [...]}

Saving again writes shards of what is new, then `gallery.json` in one step, and then deletes the files that it no longer
lists: a crash at any moment leaves the old gallery or the new one. Removed rows stay in their shard, and are listed,
until they are more than half of it; a shard with an updated row is written again. Shard numbers are not reused.
`stored_gallery` adds to a folder without loading it.
A gallery without identities and calibration is of format 2, which earlier versions read.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pairsim._common import json_files, storage
from pairsim._common.ordered_map import ordered_map
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.models.pretrained import short
from pairsim.search.gallery_ids import Id, IdTable
from pairsim.search.gallery_shards import SavedState, Shard, pieces, whole
from pairsim.search.growing_rows import GrowingRows, with_room
from pairsim.search.identification.gallery_calibration import GalleryCalibration
from pairsim.training.checkpointing.run_lock import HOLDER, LOCK

FORMAT = "pairsim-gallery"
FORMAT_VERSION = 3
_WITHOUT_IDENTITIES = 2
INDEX = "gallery.json"
_OLD_EMBEDDINGS = "gallery.safetensors"  # of version 1, which had one file, and the ids in the index
_SHARD_FILE = re.compile(r"embeddings-(\d+)\.safetensors|ids-(\d+)\.json")
_CHUNK = 4 * 2**20
_MAX_HEADER = 2**20
_MAX_THREADS = 4


@dataclass(frozen=True, eq=False)
class SavedGallery:
    """What a gallery's folder holds.

    Attributes:
        rows: The embeddings `[N, D]`, float32, on the CPU.
        table: Their ids and identities.
        state: To save with.
        calibration: Or `None`.
        failed: Ids of pictures that failed to enrol.
    """

    rows: GrowingRows
    table: IdTable
    state: SavedState
    calibration: GalleryCalibration | None = None
    failed: Sequence[Id] = ()


def check_ours(folder: Path, state: SavedState) -> None:
    """Check that a folder holds no gallery, or the one that was saved or loaded last, as it was then.

    Raises:
        RunError: If it holds another.
    """
    if not is_gallery(folder) or (state.folder == folder.resolve() and state.sha256 == _index_sha256(folder)):
        return
    changed = " that another process has changed since" if state.folder == folder.resolve() else ""
    raise RunError(
        f"Expected {folder} to hold no other gallery, found one{changed}. Load that one and add to it, choose another "
        "folder, or replace it by gallery.save(folder, replace=True)."
    )


def save(
    folder: Path,
    embeddings: Tensor,
    table: IdTable,
    embedding_sha256: str,
    state: SavedState,
    *,
    calibration: Mapping[str, Any] | None = None,
    failed: Sequence[Id] = (),
) -> SavedState:
    """Save a gallery in a folder, and write only what is not there yet.

    Args:
        folder: Made if needed. Another gallery in it is replaced.
        embeddings: `[N, D]`, float32.
        table: Their ids `[N]` and identities.
        embedding_sha256: Of the model (see `pairsim.models.pretrained`); `load` compares with it.
        state: What `load` or the last `save` returned, with all changes since.
        calibration: As JSON values.
        failed: Ids of pictures that failed to enrol.

    Returns:
        The new state.

    Raises:
        RunError: If something cannot be written; what was there stays whole.
    """
    folder = folder.resolve()
    if state.folder != folder or state.sha256 != _index_sha256(folder):
        state = SavedState()  # another folder, or another program has changed it
    number = next_number(folder)
    shards: list[Shard] = []
    for piece in pieces(state, len(table), embeddings.shape[1]):
        if isinstance(piece, Shard):
            shards.append(piece)
            continue
        first, end = piece
        identities = table.identities[first:end] if table.has_identities else None
        shards.append(write_shard(folder, number, embeddings[first:end], table.names[first:end], identities))
        number += 1
    index: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION if table.has_identities or calibration else _WITHOUT_IDENTITIES,
        "num_images": len(table),
        "num_identities": table.num_identities,
        "embedding_dim": embeddings.shape[1],
        "model_sha256": embedding_sha256,
        "shards": [asdict(shard) for shard in shards],
        **({} if calibration is None else {"calibration": dict(calibration)}),
        **({"failed_to_enrol": list(failed)} if failed else {}),
    }
    sha256 = storage.sha256(storage.to_json(index))
    write_index(folder, index, shards, is_new=sha256 != state.sha256)
    return SavedState(folder, sha256, shards)


def write_shard(
    folder: Path, number: int, embeddings: Tensor, ids: Sequence[Id], identities: Sequence[Id] | None
) -> Shard:
    """Write the files of a shard, which the index does not list yet."""
    rows = pretrained.serialize({"embeddings": embeddings})
    shown: Any = list(ids) if identities is None else {"ids": list(ids), "identities": list(identities)}
    names = storage.encoded(json.dumps(shown, ensure_ascii=False))
    shard = Shard(number, len(ids), storage.sha256(rows), storage.sha256(names))
    storage.write_files(folder, {shard.embeddings_file: rows, shard.ids_file: names})
    return shard


def write_index(folder: Path, index: Mapping[str, Any], shards: Sequence[Shard], *, is_new: bool = True) -> None:
    """Write the index if it is new, and delete the shards that it does not list."""
    if is_new:
        storage.write_file(folder / INDEX, json_files.sealed(index))
    listed = {name for shard in shards for name in (shard.embeddings_file, shard.ids_file)}
    for name in {match.string for match in shard_files(folder)} | {_OLD_EMBEDDINGS}:
        if name not in listed:
            (folder / name).unlink(missing_ok=True)


def load(folder: Path, embedding_sha256: str | None) -> SavedGallery:
    """Read a gallery that `save` wrote, each shard directly into the result.

    Args:
        folder: The folder.
        embedding_sha256: Of the model whose embeddings it has to hold; `None` for any.

    Raises:
        RunError: If it is not there, is damaged or of a newer format, or is of another model.
    """
    folder = folder.resolve()
    path = folder / INDEX
    index = read_index(folder, embedding_sha256)
    with damage_named(path):
        sha256 = storage.sha256(storage.to_json(index))
        count, dim = whole(index["num_images"]), whole(index["embedding_dim"])
        if index["format_version"] == 1:
            places = _checked_ids(index["ids"], count)
            _check_size(folder / _OLD_EMBEDDINGS, count, dim)
            rows = GrowingRows(torch.empty(count, dim))
            read_checked(folder / _OLD_EMBEDDINGS, index["embeddings_sha256"], rows.all)
            return SavedGallery(rows, IdTable(index["ids"], indices=places), SavedState(folder, sha256))
    shards = listed_shards(folder, index)  # all sizes are compared with those of the files before memory is taken
    rows = GrowingRows(torch.empty(with_room(count), dim), count)  # memory that is not written to is not taken
    ends = list(itertools.accumulate(shard.num_kept for shard in shards))
    parts = [(shard, rows.all[first:end]) for shard, first, end in zip(shards, [0, *ends], ends, strict=False)]
    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    read = list(ordered_map(partial(read_shard, folder), parts, threads=threads, ahead=threads))
    ids, identities = list(itertools.chain(*(names for names, _ in read))), None
    with damage_named(path):
        places = _checked_ids(ids, count)
        if any(shown is not None for _, shown in read):
            identities = list(itertools.chain(*(names if shown is None else shown for names, shown in read)))
        calibration = calibration_of(index)
        failed = index.get("failed_to_enrol", [])
        _checked_ids(failed, len(failed))
    state = SavedState(folder, sha256, shards)
    return SavedGallery(rows, IdTable(ids, identities, places), state, calibration, failed)


def read_index(folder: Path, embedding_sha256: str | None) -> dict[str, Any]:
    """Read the index of a gallery, and check its format and that it is of a model; raises as `load`."""
    path = folder / INDEX
    try:
        index = json_files.read_sealed(path)
    except RunError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        what = f"no {INDEX} in it" if os.path.isdir(folder) else "no such folder"
        raise RunError(
            f"Expected a gallery at {folder}, found {what}. Make one with Gallery.save, or with: pairsim gallery add "
            f"{folder} PICTURES --run RUN."
        ) from error
    pretrained.check_format(index, FORMAT, FORMAT_VERSION, path)
    made_by = str(index.get("model_sha256"))
    if embedding_sha256 not in (made_by, None):
        raise RunError(
            f"Expected {folder} to hold embeddings of this model ({short(embedding_sha256)}), found those of another "
            f"({short(made_by)}), whose similarities to them mean nothing. Load it with the model that made it, or add "
            "the images again."
        )
    return index


def listed_shards(folder: Path, index: Mapping[str, Any]) -> list[Shard]:
    """Return the shards of an index, whose counts and sizes fit its own and the files; raises as `load`."""
    with damage_named(folder / INDEX):
        count, dim = whole(index["num_images"]), whole(index["embedding_dim"])
        shards = [Shard.from_dict(entry) for entry in index["shards"]]
        if sum(shard.num_kept for shard in shards) != count or len({shard.number for shard in shards}) < len(shards):
            raise ValueError(f"expected {count} images in shards with different numbers, found others")
        for shard in shards:
            _check_size(folder / shard.embeddings_file, shard.rows, dim)
    return shards


def calibration_of(index: Mapping[str, Any]) -> GalleryCalibration | None:
    """Return the calibration in an index, if there is one; raises as `GalleryCalibration.from_dict`."""
    values = index.get("calibration")
    return None if values is None else GalleryCalibration.from_dict(values)


def next_number(folder: Path) -> int:
    """Return a number that no shard in a folder has."""
    return 1 + max((int(match[1] or match[2]) for match in shard_files(folder)), default=-1)


def is_gallery(folder: Path) -> bool:
    """Return whether a folder holds a saved gallery."""
    return os.path.isfile(folder / INDEX)


def other_files(folder: Path) -> list[str]:
    """Return the names of files that make a folder no place for a gallery; none if it holds one already.

    A first save that was killed leaves files that nothing lists, which the next one deletes.
    """
    if is_gallery(folder):
        return []
    own = {LOCK, HOLDER, *(match.string for match in shard_files(folder))}
    return sorted(name for name in os.listdir(folder) if name not in own and not storage.is_leftover(name))


def _index_sha256(folder: Path) -> str | None:
    try:
        return storage.sha256(storage.to_json(json_files.read_sealed(folder / INDEX)))
    except (RunError, ValueError):  # it is damaged
        return None


def shard_files(folder: Path) -> list[re.Match[str]]:
    """Return the names of the shards' files in a folder, with their numbers."""
    names = [path.name for path in folder.iterdir()] if storage.is_folder(folder) else []
    return [match for name in names if (match := _SHARD_FILE.fullmatch(name))]


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Raise a RunError that names a file for what reading its content raises."""
    try:
        yield
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: {type(error).__name__}: {error}. Copy the folder again.") from error


def _checked_ids(names: Any, count: int) -> dict[Id, int]:
    """Return the index of each id that was read; check their number and kind, and that none comes twice."""
    if isinstance(names, list) and {str, int}.issuperset(map(type, names)):
        places: dict[Id, int] = dict(zip(names, itertools.count(), strict=False))
        if len(places) == len(names) == count:
            return places
    raise ValueError(f"expected {count} different ids, strings or whole numbers, found others")


def read_shard(folder: Path, part: tuple[Shard, Tensor]) -> tuple[list[Id], list[Id] | None]:
    """Read the embeddings of a shard into a tensor, and return its ids and, if it has them, identities."""
    shard, into = part
    kept = shard.kept()
    path = folder / shard.ids_file
    names, shown = parsed_ids(read_checked(path, shard.ids_sha256), shard, path)
    rows = into if kept.all() else torch.empty(shard.rows, into.shape[1])
    read_checked(folder / shard.embeddings_file, shard.embeddings_sha256, rows)
    if rows is into:
        return names, shown
    into.copy_(rows[torch.from_numpy(kept)])
    mask = kept.tolist()
    return list(itertools.compress(names, mask)), None if shown is None else list(itertools.compress(shown, mask))


def parsed_ids(content: bytes, shard: Shard, path: Path) -> tuple[list[Id], list[Id] | None]:
    """Return all ids of a shard, of removed rows too, and their identities, if it has them; raises as `load`."""
    with damage_named(path):
        read, shown = json.loads(content), None
        names: list[Id] = read
        if isinstance(read, dict):
            names, shown = read["ids"], read["identities"]
        for values, kind in ((names, "different ids"), (shown, "identities")):  # ids of all shards are compared later
            if values is not None and not (
                isinstance(values, list) and len(values) == shard.rows and {str, int}.issuperset(map(type, values))
            ):
                raise ValueError(f"expected {shard.rows} {kind}, strings or whole numbers, found others")
    return names, shown


def read_checked(path: Path, sha256: str, into: Tensor | None = None) -> bytes:
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
    with damage_named(path):
        if size != 8 + len(header) + 4 * rows * dim or json.loads(header).get("embeddings") != expected:
            raise ValueError(f"expected {rows} x {dim} embeddings, as {INDEX} says, found others, of {size} bytes")
