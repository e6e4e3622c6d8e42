"""`Gallery`: named embeddings, and search for the most alike among them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common import storage
from pairsim._common.arrays import Values, check_count
from pairsim.encoding.pictures import EncodedPictures, OnError, Skipped, encode_pictures
from pairsim.images import PictureLike, pictures_below
from pairsim.models import SimilarityModel, pretrained
from pairsim.models.inputs import Images, is_single
from pairsim.search import gallery_files
from pairsim.search.exact_search import nearest, unit_rows
from pairsim.search.faiss_search import LEAST, FaissIndex, IndexName
from pairsim.search.gallery_ids import Id, Ids, IdTable, as_ids
from pairsim.search.gallery_results import ClassPrediction, Labels, SearchResult, class_votes, labels_by_id

__all__ = ["ClassPrediction", "Gallery", "Id", "SearchResult"]


class Gallery:
    """Images that queries are looked up in, each embedded once and known by an id.

    Args:
        model: Embeds images and turns similarity into probability. Its weights must not change while the gallery has
            images.
        index: `"exact"` compares with all. From 4,096 images on, `"faiss-hnsw"` and `"faiss-ivf"` (extra `faiss`) look
            at some only: some neighbours may be missed, and those found have the similarity and order of an exact
            search. HNSW is quick to search and slow to build, IVF quick to build. An index is built by the first
            search after a change; images that were only added are added to it.

    Raises:
        MissingExtraError: If FAISS is wanted and not installed.
        TypeError: If `model` is not a `SimilarityModel`.
        ValueError: If there is no such index.

    Example:
        >>> gallery = Gallery(SimilarityModel())
        >>> images = torch.rand(3, 1, 28, 28)
        >>> gallery.add(images, ["a", "b", "c"])
        ()
        >>> gallery.search(images[1:2], k=2).ids[0][0]
        'b'
    """

    def __init__(self, model: SimilarityModel, *, index: IndexName = "exact") -> None:
        if not isinstance(model, SimilarityModel):
            raise TypeError(f"Expected model to be a SimilarityModel, got {type(model).__name__}. Wrap the net in one.")
        if index not in get_args(IndexName):
            raise ValueError(f"Expected index to be one of {', '.join(get_args(IndexName))}, got {index!r}.")
        if index != "exact":
            FaissIndex.check(index)  # now, and not after images were embedded
        self.model = model
        self.index: IndexName = index
        self._table = IdTable()
        self._parts: list[Tensor] = []
        self._made_by: str | None = None
        self._saved = gallery_files.SavedState()
        self._faiss: FaissIndex | None = None

    def __len__(self) -> int:
        return len(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table.places

    def __repr__(self) -> str:
        return f"Gallery({len(self)} images)" if self.exact else f"Gallery({len(self)} images, index={self.index!r})"

    @property
    def exact(self) -> bool:
        """Whether a search compares with all images, and so misses none; always so with fewer than 4,096."""
        return self.index == "exact" or len(self) < LEAST

    @property
    def ids(self) -> list[Id]:
        """The ids `[N]`, in order of addition, as a list of their own."""
        return list(self._table.names)

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """The embeddings `[N, D]`, float32, in the order of `ids`, as an array that cannot be written to.

        Where the model is on the CPU it is a view, which `update` writes through. Before anything was added it is
        `[0, 0]`.
        """
        view: npt.NDArray[np.float32] = self._joined().cpu().numpy().view()
        view.flags.writeable = False
        return view

    def add(
        self,
        images: Images,
        ids: Ids | None = None,
        *,
        on_error: OnError = "raise",
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> tuple[Skipped, ...]:
        """Embed images and add them.

        Args:
            images: As for `SimilarityModel.encode`, or a folder, of which all pictures are added. For a labelled
                dataset use `pairsim.encode_dataset` and `add_embeddings`.
            ids: A name for each image, all strings (or paths) or all whole numbers, not in the gallery yet. By
                default a path is its own name, in a folder relative to it, and other images get the numbers after the
                largest so far, from 0.
            on_error: What happens to a picture that cannot be read: `"raise"`, or `"skip"`, which leaves it out.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            What was skipped, each with its name and the reason.

        Raises:
            DataError: If a folder has no picture, or none can be read.
            DatasetNotFoundError: If a folder is gone.
            ImageReadError: If a file cannot be read; the message names it. Nothing is added then.
            TypeError: If `images` is a dataset, or an id neither a string nor a whole number.
            ValueError: If an id is there already, comes twice, or is of another kind than the rest, or there are not
                as many ids as images.
        """
        if isinstance(images, str | os.PathLike) and os.path.isdir(images):
            paths = pictures_below(images)
            ids = [path.relative_to(images).as_posix() for path in paths] if ids is None else ids
            images = cast("list[PictureLike]", paths)
        if ids is None and not is_single(images) and not isinstance(images, Sized):
            images = list(cast("Iterable[PictureLike]", images))  # the ids are read off them
        # before the images are embedded, which takes long
        names = self._table.new(self._default_ids(images) if ids is None else as_ids(ids))
        rows, names, skipped = self._encode(images, names, on_error, batch_size, progress)
        self._append(rows, names)
        return skipped

    def add_embeddings(self, embeddings: Values, ids: Ids | None = None) -> None:
        """Add embeddings that this model made elsewhere, such as with `pairsim.encode_dataset`.

        Args:
            embeddings: `[n, D]` of length 1 (within 1 %) or 0, floating point; kept in float32 as they are.
            ids: As for `add`; by default the numbers after the largest so far, from 0.

        Raises:
            TypeError: If the embeddings are not of a float dtype, or an id neither a string nor a whole number.
            ValueError: If shapes do not fit, an embedding is not of length 1, or ids are wrong as in `add`.
        """
        rows = unit_rows(embeddings)
        self._append(rows, self._table.new(self._table.numbers(len(rows)) if ids is None else as_ids(ids)))

    def update(
        self,
        images: Images,
        ids: Ids,
        *,
        on_error: OnError = "raise",
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> tuple[Skipped, ...]:
        """Replace the images of some ids, which keep their place, and add those whose ids are new.

        Args:
            images: As for `SimilarityModel.encode`.
            ids: A name for each image, none twice.
            on_error: As for `add`; the id of a picture that is skipped stays as it was.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            As for `add`.

        Raises:
            ImageReadError: If a file cannot be read. Nothing is changed then.
            TypeError: As for `add`.
            ValueError: As for `add`, but for ids that are there already.
        """
        names = self._table.of_one_kind(as_ids(ids))
        rows, names, skipped = self._encode(images, names, on_error, batch_size, progress)
        self._check_fit(rows, names)
        places = self._table.places
        old = [row for row, name in enumerate(names) if name in places]
        new = [row for row, name in enumerate(names) if name not in places]
        if old:
            joined, where = self._joined(), [places[names[row]] for row in old]
            joined[where] = rows[old].to(joined.device)
            self._saved.update(where)
            self._faiss = None
        self._append(rows[new], [names[row] for row in new])
        return skipped

    def remove(self, ids: Ids) -> None:
        """Remove images; the others keep their order.

        Args:
            ids: Ids in the gallery; one that comes twice is removed once.

        Raises:
            ValueError: If an id is not in the gallery. Nothing is removed then.
        """
        leaving = set(as_ids(ids))
        absent = [name for name in leaving if name not in self._table.places]
        if absent:
            raise ValueError(
                f"Expected ids of the gallery's {len(self)} images, got {absent[0]!r}, which is not among them. "
                "See gallery.ids."
            )
        kept = [place for place, name in enumerate(self._table.names) if name not in leaving]
        self._parts, self._faiss = [self._joined()[kept]], None
        self._table.keep(kept)
        self._saved.keep(kept)

    def search(
        self, queries: Images, k: int = 10, *, batch_size: int | None = None, progress: bool | None = None
    ) -> SearchResult:
        """Find the `k` images that are most like each query.

        Args:
            queries: Q images, as for `SimilarityModel.encode`.
            k: Neighbours of each query, at least 1; all images where the gallery has fewer.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            The neighbours; no query gives no list and tensors `[0, K]`. An image that is in the gallery finds itself.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If the gallery is empty or `k` below 1.
        """
        self._check_search(k)
        return self.search_embeddings(self.model.encode(queries, batch_size=batch_size, progress=progress), k)

    def search_embeddings(self, embeddings: Values, k: int = 10) -> SearchResult:
        """Find the `k` images that are most like each query, of which the embedding is known.

        Args:
            embeddings: `[Q, D]` of length 1 (within 1 %) or 0, made by the same model.
            k: As for `search`.

        Returns:
            As for `search`.

        Raises:
            TypeError: If the embeddings are not of a float dtype.
            ValueError: If the gallery is empty, `k` below 1, shapes do not fit, or an embedding is not of length 1.
        """
        count = min(self._check_search(k), len(self))
        queries, gallery = unit_rows(embeddings), self._joined()
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"Expected query embeddings of the gallery's size, [Q, {gallery.shape[1]}], got {list(queries.shape)}. "
                "Embed both with the same model."
            )
        found, places = self._search(queries.to(gallery.device), gallery, count)
        names = self._table.names
        similarities = found.float().clamp(-1.0, 1.0).to(self.model.device)
        return SearchResult(
            ids=[[names[place] for place in row] for row in places.tolist()],
            similarities=similarities,
            probabilities=self.model.probability(similarities),
        )

    def predict(
        self,
        queries: Images,
        labels: Labels,
        k: int = 5,
        *,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> ClassPrediction:
        """Tell the class of each query, by a vote of the `k` images that are most like it.

        Args:
            queries: Q images, as for `SimilarityModel.encode`.
            labels: The class of each image by its id, or in the order of `ids`; of any kind.
            k: Neighbours that vote, at least 1; each with the probability that it shows the same thing.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            Classes, their shares of the votes, and who voted; ties go to the class with the nearer image.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If a neighbour has no label, or there are not as many labels as images, and as for `search`.
        """
        by_id = labels_by_id(labels, self._table.names)
        return class_votes(self.search(queries, k, batch_size=batch_size, progress=progress), by_id)

    def predict_embeddings(self, embeddings: Values, labels: Labels, k: int = 5) -> ClassPrediction:
        """Tell the class of each query, of which the embedding is known.

        Args:
            embeddings: As for `search_embeddings`.
            labels: As for `predict`.
            k: As for `predict`.

        Returns:
            As for `predict`.

        Raises:
            TypeError: As for `search_embeddings`.
            ValueError: As for `predict` and `search_embeddings`.
        """
        return class_votes(self.search_embeddings(embeddings, k), labels_by_id(labels, self._table.names))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save embeddings and ids in a folder, no images; again, only what changed since (see `gallery_files`).

        Args:
            folder: Made if needed; another gallery in it is replaced.

        Raises:
            RunError: If it cannot be written; what was there stays whole.
            ValueError: If the model's weights changed since the first image was added.
        """
        current = _fingerprint(self.model)
        if len(self) and current != self._made_by:
            raise ValueError(
                f"Expected the model that made the embeddings ({gallery_files.short(self._made_by)}), found its "
                f"weights changed ({gallery_files.short(current)}). Make a new gallery and add the images again."
            )
        self._saved = gallery_files.save(Path(folder), self._joined(), self._table.names, current, self._saved)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], model: SimilarityModel, *, index: IndexName = "exact") -> Gallery:
        """Load a gallery saved by `save`.

        Args:
            folder: The folder.
            model: The model whose embeddings it holds, on any device.
            index: As for `Gallery`; an index is not saved.

        Returns:
            The gallery, equal to the last bit.

        Raises:
            MissingExtraError: If FAISS is wanted and not installed.
            RunError: If it is not there, is damaged or of a newer format, or its embeddings are of another model.
        """
        gallery, current = cls(model, index=index), _fingerprint(model)
        rows, names, gallery._saved = gallery_files.load(Path(folder), current)
        gallery._parts, gallery._table, gallery._made_by = [rows], IdTable(names), current
        return gallery

    def _search(self, queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if self.exact:
            return nearest(queries, gallery, k)
        if self._faiss is None or not self._faiss.extend(gallery):
            self._faiss = FaissIndex(self.index, gallery)
        return self._faiss.search(queries, gallery, k)

    def _encode(
        self, images: Images, names: list[Id], on_error: OnError, batch_size: int | None, progress: bool | None
    ) -> tuple[Tensor, list[Id], tuple[Skipped, ...]]:
        """Embeddings of the images that could be read, their ids, and the other images."""
        _check_count(_count(images), names)
        if on_error == "raise":
            return unit_rows(self.model.encode(images, batch_size=batch_size, progress=progress)), names, ()
        found: EncodedPictures = encode_pictures(
            self.model, images, on_error=on_error, batch_size=batch_size, progress=progress
        )
        _check_count(len(found) + len(found.skipped), names)
        return unit_rows(found.embeddings), [names[index] for index in found.indices], found.skipped

    def _joined(self) -> Tensor:
        """All embeddings, on the model's device."""
        device = self.model.device
        parts = [part.to(device) for part in self._parts]
        if len(parts) != 1:  # joined when needed, so that many small additions do not copy everything each time
            parts = [torch.cat(parts) if parts else torch.empty((0, 0), device=device)]
        self._parts = parts
        return parts[0]

    def _append(self, rows: Tensor, names: Sequence[Id]) -> None:
        self._check_fit(rows, names)
        if not names:
            return
        if not len(self):
            self._parts, self._made_by, self._faiss = [], _fingerprint(self.model), None
        self._parts.append(rows)
        self._table.append(names)

    def _check_fit(self, rows: Tensor, names: Sequence[Id]) -> None:
        _check_count(len(rows), names)
        if len(self) and len(rows) and rows.shape[1] != self._parts[0].shape[1]:
            raise ValueError(
                f"Expected embeddings of the gallery's size, [n, {self._parts[0].shape[1]}], got {list(rows.shape)}. "
                "Embed both with the same model."
            )

    def _check_search(self, k: int) -> int:
        count = check_count(k, "k", 1, 10)
        if not len(self):
            raise ValueError("Expected a gallery with images, found it empty. Add some first: gallery.add(images).")
        return count

    def _default_ids(self, images: Any) -> list[Id]:
        if is_single(images):
            images = [images]
        paths = [] if isinstance(images, Tensor) else [item for item in images if isinstance(item, str | os.PathLike)]
        if paths and len(paths) != len(images):
            raise ValueError(
                f"Expected paths only, or no path, where ids are not given, got {len(paths)} paths among "
                f"{len(images)} images. Give ids."
            )
        return as_ids(paths) if paths else self._table.numbers(len(images))


def _check_count(count: int | None, names: Sequence[Id]) -> None:
    if count not in (None, len(names)):
        raise ValueError(f"Expected one id per image, got {len(names)} ids for {count} images. Give one for each.")


def _count(images: Images) -> int | None:
    """How many images there are, which only the end of a generator tells."""
    return 1 if is_single(images) else len(images) if isinstance(images, Sized) else None


def _fingerprint(model: SimilarityModel) -> str:
    """SHA-256 of what embeddings depend on: the net's weights and what is done to pixels."""
    weights = pretrained.serialize(model.embedding_net.state_dict())
    return storage.sha256(weights + storage.to_json(model.preprocessing.to_dict()))
