"""`StoredGallery`: a gallery's folder that is added to without loading it.

The embeddings that are there are not read, and of the ids only as much as tells whether a new one is among them: the
bytes of a file of ids, compared with its SHA-256, are searched for the new ids. Where one may be there, the file is
parsed. What is new becomes one more shard. Shards before it that are not larger are joined with it, so that of N
pictures that are added one by one each is written log2 N times at most, and the folder has log2 N small shards.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pairsim._common import storage
from pairsim._common.ordered_map import ordered_map
from pairsim.errors import RunError
from pairsim.models import SimilarityModel
from pairsim.models.pretrained import embedding_sha256
from pairsim.search import gallery_files
from pairsim.search.gallery import Gallery
from pairsim.search.gallery_ids import Id, of_other_type
from pairsim.search.gallery_shards import Shard, max_rows, whole
from pairsim.search.identification.gallery_calibration import GalleryCalibration

_MAX_SOUGHT = 8
"""Ids that the bytes of a file are searched for; for more it is faster to parse it."""
_MAX_THREADS = 4


@dataclass(frozen=True)
class StoredGallery:
    """A gallery's folder; no other process may change it meanwhile. Made by `open_stored`.

    Attributes:
        folder: Resolved.
        model: That the gallery is of.
        index: What the folder says of itself.
        shards: In order.
        calibration: Or `None`.
    """

    folder: Path
    model: SimilarityModel
    index: Mapping[str, Any]
    shards: Sequence[Shard]
    calibration: GalleryCalibration | None

    def __len__(self) -> int:
        return int(self.index["num_images"])

    @property
    def num_identities(self) -> int:
        """Number of different identities."""
        return int(self.index["num_identities"])

    def known(self, ids: Sequence[str], identities: Sequence[str]) -> tuple[set[Id], set[Id]]:
        """Return which ids are in the gallery, and which identities, or whole numbers that are equal to these as text.

        Raises:
            RunError: If a file of ids cannot be read or is damaged.
        """
        shown_by = {name for one in identities for name in (one, of_other_type(one)) if name is not None}
        sought: set[Id] = {*ids, *shown_by}
        known_ids: set[Id] = set()
        known_identities: set[Id] = set()
        threads = min(_MAX_THREADS, os.cpu_count() or 1)
        find = partial(_named, self.folder, sought)
        for names, shown in ordered_map(find, self.shards, threads=threads, ahead=threads):
            known_ids.update(sought.intersection(names))
            known_identities.update(sought.intersection(shown))
        return known_ids.intersection(ids), known_identities.intersection(shown_by)

    def append(self, added: Gallery, known_identities: set[Id]) -> StoredGallery:
        """Add the images of another gallery to the folder: they are on disk when this returns.

        Args:
            added: A gallery of the same model, with identities; no id of it may be in the folder, as `known` tells.
            known_identities: Which of its identities are there, as `known` returns them.

        Returns:
            The folder as it is then.

        Raises:
            RunError: If something cannot be written or read; what was there stays whole.
        """
        if gallery_files.read_index(self.folder, None) != self.index:
            raise RunError(
                f"Expected {self.folder} as it was when it was opened, but another process has changed it since. Run "
                "the same command again."
            )
        shards, new = list(self.shards), added.rows.cpu()
        ids, identities, kept = added.ids, added.identities, added.failed_to_enrol
        failed = [name for name in self.index.get("failed_to_enrol", []) if name not in {*ids, *kept}] + kept
        index = {
            **self.index,
            "format_version": gallery_files.FORMAT_VERSION,
            "num_images": len(self) + len(ids),
            "num_identities": self.num_identities + len(set(identities) - known_identities),
            "embedding_dim": new.shape[1] if ids else self.index["embedding_dim"],
        }
        if ids:
            while shards and shards[-1].rows <= len(new) and shards[-1].rows + len(new) <= max_rows(new.shape[1]):
                last = shards.pop()
                rows = torch.empty(last.num_kept, new.shape[1])
                names, shown = gallery_files.read_shard(self.folder, (last, rows))
                new, ids, identities = torch.cat((rows, new)), names + ids, (shown or names) + identities
            number = gallery_files.next_number(self.folder)
            for first in range(0, len(ids), max_rows(new.shape[1])):
                part = slice(first, first + max_rows(new.shape[1]))
                shards.append(gallery_files.write_shard(self.folder, number, new[part], ids[part], identities[part]))
                number += 1
        index["shards"] = [asdict(shard) for shard in shards]
        index.pop("failed_to_enrol", None)
        if failed:
            index["failed_to_enrol"] = failed
        gallery_files.write_index(self.folder, index, shards)
        return dataclasses.replace(self, index=index, shards=shards)


def open_stored(folder: Path, model: SimilarityModel) -> StoredGallery | None:
    """Return a gallery's folder to add to, or `None` if it has to be loaded for that.

    It has to be loaded if an earlier version wrote it, if it is empty, or if its ids are whole numbers.

    Raises:
        RunError: If it is damaged or of a newer format, or its embeddings are of another model.
    """
    if not gallery_files.is_gallery(folder):
        return None
    folder = folder.resolve()
    index = gallery_files.read_index(folder, embedding_sha256(model))
    if not index.get("num_images") or "num_identities" not in index:
        return None
    shards = gallery_files.listed_shards(folder, index)
    with gallery_files.damage_named(folder / gallery_files.INDEX):
        whole(index["num_identities"])
        calibration = gallery_files.calibration_of(index)
    if not storage.read_bytes(folder / shards[0].ids_file, 10).startswith((b'["', b'{"ids": ["')):
        return None
    return StoredGallery(folder, model, index, shards, calibration)


def _named(folder: Path, sought: set[Id], shard: Shard) -> tuple[list[Id], list[Id]]:
    """Return the ids and identities of a shard, or none if none of those that are sought is among them."""
    path = folder / shard.ids_file
    content = gallery_files.read_checked(path, shard.ids_sha256)
    # without escapes, each text is in the bytes as it is, between quotes
    if len(sought) <= _MAX_SOUGHT and b"\\" not in content:
        tokens = (token for name in sought for token in _tokens(name))
        if not any(token in content for token in tokens):
            return [], []
    names, shown = gallery_files.parsed_ids(content, shard, path)
    mask = shard.kept().tolist()
    return list(itertools.compress(names, mask)), list(itertools.compress(names if shown is None else shown, mask))


def _tokens(name: Id) -> Sequence[bytes]:
    """Return bytes of which one is in a file of ids without escapes if the name is in it."""
    text = storage.encoded(json.dumps(name, ensure_ascii=False))
    return [text] if isinstance(name, str) else [b" " + text + b",", b" " + text + b"]", b"[" + text]
