"""`Gallery`: embeddings with ids, and the search for the most similar ones."""

from __future__ import annotations

import os
from collections.abc import Sized
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim._common.arrays import Values, check_count
from pairsim._common.choices import OnError
from pairsim.encoding.pictures import Skipped, encode_pictures
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.inputs import Images, is_single
from pairsim.models.pretrained import embedding_sha256, short
from pairsim.models.verdict import warn_of_one_decision
from pairsim.search import gallery_files
from pairsim.search.exact_search import nearest, unit_rows
from pairsim.search.faiss_search import MIN_INDEXED, FaissIndex, IndexName
from pairsim.search.gallery_ids import Id, Ids, IdTable, as_ids, check_number, named_images
from pairsim.search.gallery_results import ClassPrediction, Labels, SearchResult, class_votes, labels_by_id

__all__ = ["ClassPrediction", "Gallery", "Id", "SearchResult"]


class Gallery:
    """Images to search, each embedded once and known by an id.

    Args:
        model: Embeds images and turns similarity into probability. Do not change its weights while the gallery has
            images.
        index: `"exact"` compares with all. From 4,096 images on, `"faiss-hnsw"` (fast to search) or `"faiss-ivf"` (fast
            to build), of the extra `faiss`, compare with some only: they may miss neighbours, and those found are as of
            an exact search. The first search after a change builds the index, or adds new images to it.

    Raises:
        MissingExtraError: If FAISS is needed and not installed.
        TypeError: If `model` is not a `SimilarityModel`.
        ValueError: If there is no such index.

    Example:
        >>> import torch
        >>> gallery = Gallery(SimilarityModel())
        >>> images = torch.rand(3, 1, 28, 28)
        >>> gallery.add(images, ["a", "b", "c"])
        ()
        >>> gallery.search(images[1:2], k=2).ids[0][0]
        'b'
    """

    def __init__(self, model: SimilarityModel, *, index: IndexName = "exact") -> None:
        check_model(model)
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
        return name in self._table.indices

    def __repr__(self) -> str:
        return f"Gallery({len(self)} images)" if self.exact else f"Gallery({len(self)} images, index={self.index!r})"

    @property
    def exact(self) -> bool:
        """Whether a search compares with all images, and so misses none; always true with fewer than 4,096."""
        return self.index == "exact" or len(self) < MIN_INDEXED

    @property
    def ids(self) -> list[Id]:
        """The ids `[N]`, in order of addition, as a new list."""
        return list(self._table.names)

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """The embeddings `[N, D]`, float32, in the order of `ids`, as a read-only array.

        If the model is on the CPU it is a view, which `update` changes. Before anything was added it is `[0, 0]`.
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
            images: As for `SimilarityModel.encode`, or a folder of pictures; for a dataset see `add_embeddings`.
            ids: A name for each image, all strings (or paths) or all whole numbers, not in the gallery yet. By
                default a path is its own name, in a folder relative to it, and other images get the numbers after the
                largest so far, from 0.
            on_error: What happens to a picture that cannot be read: `"raise"`, or `"skip"`, which leaves it out.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            The pictures that were skipped, each with its name and the reason.

        Raises:
            DataError: If a folder has no picture, or none can be read.
            DatasetNotFoundError: If a folder is gone.
            ImageReadError: If a file cannot be read; the message names it. Nothing is added then.
            TypeError: If `images` is a dataset, or an id neither a string nor a whole number.
            ValueError: If an id is there already, comes twice, or is of another kind than the rest, or there are not
                as many ids as images.
        """
        images, names = named_images(images, ids, self._table)
        self._table.new(names)  # before the images are embedded, which takes long
        embeddings, names, skipped = self._encode(images, names, on_error, batch_size, progress)
        self._append(embeddings, names)
        return skipped

    def add_embeddings(self, embeddings: Values, ids: Ids | None = None) -> None:
        """Add embeddings that this model computed elsewhere, such as with `pairsim.encode_dataset`.

        Args:
            embeddings: `[n, D]` of length 1 (within 1 %) or 0, floating point; kept in float32 as they are.
            ids: As for `add`; by default the numbers after the largest so far, from 0.

        Raises:
            TypeError: If the embeddings are not of a float dtype, or an id neither a string nor a whole number.
            ValueError: If shapes do not fit, an embedding is not of length 1, or ids are wrong as in `add`.
        """
        rows = self._checked(embeddings)
        names = self._table.new(self._table.numbers(len(rows)) if ids is None else as_ids(ids))
        check_number(len(rows), names)
        self._append(rows, names)

    def update(
        self,
        images: Images,
        ids: Ids,
        *,
        on_error: OnError = "raise",
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> tuple[Skipped, ...]:
        """Replace the images of some ids, which keep their index, and add those whose ids are new.

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
            ValueError: As for `add`, except for ids that are there already.
        """
        names = self._table.of_one_kind(as_ids(ids))
        embeddings, names, skipped = self._encode(images, names, on_error, batch_size, progress)
        self._put(embeddings, names)
        return skipped

    def remove(self, ids: Ids) -> None:
        """Remove images; the others keep their order.

        Args:
            ids: Ids in the gallery; one that comes twice is removed once.

        Raises:
            ValueError: If an id is not in the gallery. Nothing is removed then.
        """
        leaving = set(as_ids(ids))
        absent = next((name for name in leaving if name not in self), None)
        if absent is not None:
            raise ValueError(
                f"Expected ids of the gallery's {len(self)} images, got {absent!r}, which is not among them. "
                "See gallery.ids."
            )
        kept = [index for index, name in enumerate(self._table.names) if name not in leaving]
        self._parts = [self._joined()[kept]]
        self._table.keep(kept)
        self._saved.keep(kept)
        self._faiss = None

    def search(
        self, queries: Images, k: int = 10, *, batch_size: int | None = None, progress: bool | None = None
    ) -> SearchResult:
        """Find the `k` images that are most similar to each query.

        Args:
            queries: Q images, as for `SimilarityModel.encode`.
            k: Neighbours of each query, at least 1; all images if the gallery has fewer.
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
        """Find the `k` images that are most similar to each query, given the queries' embeddings.

        Args:
            embeddings: `[Q, D]` of length 1 (within 1 %) or 0, computed by the same model.
            k: As for `search`.

        Returns:
            As for `search`.

        Raises:
            TypeError: If the embeddings are not of a float dtype.
            ValueError: If the gallery is empty, `k` below 1, shapes do not fit, or an embedding is not of length 1.
        """
        count = min(self._check_search(k), len(self))
        warn_of_one_decision(self.model)
        queries, gallery = unit_rows(embeddings).to(self.model.device), self._joined()
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"Expected query embeddings of the gallery's size, [Q, {gallery.shape[1]}], got {list(queries.shape)}. "
                "Embed both with the same model."
            )
        if self.exact:
            products, indices = nearest(queries, gallery, count)
        else:
            if self._faiss is None or not self._faiss.extend(gallery):
                self._faiss = FaissIndex(self.index, gallery)
            products, indices = self._faiss.search(queries, gallery, count)
        names = self._table.names
        similarities = products.float().clamp(-1.0, 1.0).to(self.model.device)
        return SearchResult(
            ids=[[names[index] for index in row] for row in indices.tolist()],
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
        """Predict the class of each query, by a vote of the `k` images that are most similar to it.

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
        """Predict the class of each query, given the queries' embeddings.

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
        current = embedding_sha256(self.model)
        if len(self) and current != self._made_by:
            raise ValueError(
                f"Expected the model that made the embeddings ({short(self._made_by)}), found its weights changed "
                f"({short(current)}). Make a new gallery and add the images again."
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
            MissingExtraError: If FAISS is needed and not installed.
            RunError: If it is not there, is damaged or of a newer format, or its embeddings are of another model.
        """
        gallery = cls(model, index=index)
        gallery._made_by = embedding_sha256(model)
        embeddings, names, gallery._saved = gallery_files.load(Path(folder), gallery._made_by)
        gallery._parts, gallery._table = [embeddings], IdTable(names)
        return gallery

    def _joined(self) -> Tensor:
        """Return all embeddings `[N, D]` on the model's device, `[0, 0]` if there are none; no copy."""
        device = self.model.device
        parts = [part.to(device) for part in self._parts]
        if len(parts) != 1:  # joined when needed, so that many small additions do not copy everything each time
            parts = [torch.cat(parts) if parts else torch.empty((0, 0), device=device)]
        self._parts = parts
        return parts[0]

    def _append(self, embeddings: Tensor, names: list[Id]) -> None:
        """Add embeddings that `_checked` returned, with new ids."""
        if names and not len(self):
            self._parts, self._made_by = [], embedding_sha256(self.model)
        if names:
            self._parts.append(embeddings)
            self._table.append(names)

    def _put(self, embeddings: Tensor, names: list[Id]) -> None:
        """Replace the embeddings of ids that are there, and add the others."""
        old = [row for row, name in enumerate(names) if name in self]
        new = [row for row, name in enumerate(names) if name not in self]
        if old:
            indices, joined = [self._table.indices[names[row]] for row in old], self._joined()
            joined[indices] = embeddings[old].to(joined.device)
            self._saved.update(indices)
            self._faiss = None
        self._append(embeddings[new], [names[row] for row in new])

    def _checked(self, embeddings: Values) -> Tensor:
        """Return embeddings as rows of the gallery, in float32."""
        rows = unit_rows(embeddings)
        if len(self) and len(rows) and rows.shape[1] != self._parts[0].shape[1]:
            raise ValueError(
                f"Expected embeddings of the gallery's size, [n, {self._parts[0].shape[1]}], got {list(rows.shape)}. "
                "Embed both with the same model."
            )
        return rows

    def _encode(
        self, images: Images, names: list[Id], on_error: OnError, batch_size: int | None, progress: bool | None
    ) -> tuple[Tensor, list[Id], tuple[Skipped, ...]]:
        """Return embeddings and ids of the images that could be read, and the other images."""
        count = 1 if is_single(images) else len(images) if isinstance(images, Sized) else None
        check_number(count, names)
        encoded = encode_pictures(self.model, images, on_error=on_error, batch_size=batch_size, progress=progress)
        check_number(len(encoded) + len(encoded.skipped), names)
        return self._checked(encoded.embeddings), [names[index] for index in encoded.indices], encoded.skipped

    def _check_search(self, k: int) -> int:
        count = check_count(k, "k", 1, 10)
        if not len(self):
            raise ValueError("Expected a gallery with images, found it empty. Add some first: gallery.add(images).")
        return count
