"""`Gallery`: embeddings with ids, the search for the most similar ones, and the identity of a query."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from pairsim._common.arrays import Values, check_count
from pairsim._common.numbers import similarity_threshold
from pairsim.models import SimilarityModel
from pairsim.models.inputs import Images
from pairsim.models.pretrained import embedding_sha256
from pairsim.models.verdict import warn_of_one_decision
from pairsim.search import gallery_files
from pairsim.search.exact_search import nearest, unit_rows
from pairsim.search.faiss_search import MIN_INDEXED, FaissIndex, IndexName
from pairsim.search.gallery_ids import Id
from pairsim.search.gallery_results import ClassPrediction, Labels, SearchResult, class_votes, labels_by_id
from pairsim.search.gallery_rows import GalleryRows
from pairsim.search.identification.decisions import Identification, identifications
from pairsim.search.identification.templates import Templates

__all__ = ["ClassPrediction", "Gallery", "Id", "SearchResult"]


class Gallery(GalleryRows):
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
        super().__init__(model)
        if index not in get_args(IndexName):
            raise ValueError(f"Expected index to be one of {', '.join(get_args(IndexName))}, got {index!r}.")
        if index != "exact":
            FaissIndex.check(index)  # now, and not after images were embedded
        self.index: IndexName = index
        self._faiss: FaissIndex | None = None
        self._templates: Templates | None = None

    def __repr__(self) -> str:
        return f"Gallery({len(self)} images)" if self.exact else f"Gallery({len(self)} images, index={self.index!r})"

    @property
    def exact(self) -> bool:
        """Whether a search compares with all images, and so misses none; always true with fewer than 4,096."""
        return self.index == "exact" or len(self) < MIN_INDEXED

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
        queries, gallery = self._queries(embeddings), self._rows.to(self.model.device)
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

    def identify(
        self,
        images: Images,
        threshold: float | None = None,
        *,
        batch_size: int | None = None,
        progress: bool | None = None,
    ) -> list[Identification]:
        """Find the identity that each image shows, or that it is none of these.

        An image is compared with the mean embedding of each identity. The most similar one is its identity if the
        similarity reaches the threshold.

        Args:
            images: Q images, as for `SimilarityModel.encode`.
            threshold: Similarity in [-1, 1] that an identity has to reach; by default that of `calibration`.
            batch_size: As for `SimilarityModel.encode`.
            progress: As for `SimilarityModel.encode`.

        Returns:
            One for each image, in their order.

        Raises:
            ImageReadError: If a file cannot be read; the message names it.
            ValueError: If the gallery is empty, there is neither a threshold nor a calibration, or the threshold is
                outside [-1, 1].
        """
        self._check_search(1)
        self._threshold(threshold)  # before the images are embedded
        queries = self.model.encode(images, batch_size=batch_size, progress=progress)
        return self.identify_embeddings(queries, threshold)

    def identify_embeddings(self, embeddings: Values, threshold: float | None = None) -> list[Identification]:
        """Find the identity of each image, or that it is none of these, given the images' embeddings.

        Args:
            embeddings: `[Q, D]` of length 1 (within 1 %) or 0, computed by the same model.
            threshold: As for `identify`.

        Returns:
            As for `identify`.

        Raises:
            TypeError: If the embeddings are not of a float dtype.
            ValueError: As for `identify`, and if shapes do not fit or an embedding is not of length 1.
        """
        self._check_search(1)
        at_least, queries = self._threshold(threshold), self._queries(embeddings)
        templates, identities = self.templates()
        similarities, numbers = nearest(queries, templates, 1)
        return identifications(
            [identities[number] for number in numbers[:, 0].tolist()],
            similarities[:, 0].float().clamp(-1.0, 1.0),
            threshold=at_least,
            calibration=self.calibration,
            model=self.model,
            num_identities=len(identities),
        )

    def templates(self) -> tuple[Tensor, list[Id]]:
        """Return the mean embedding of each identity `[I, D]`, of unit length, and the identities `[I]`.

        Identities are in order of their first image. Both belong to the gallery: do not change them.
        """
        rows = self._rows.to(self.model.device)
        if not self._table.has_identities:
            return rows, self._table.names
        made = self._up_to_date(rows)
        return made.unit, made.identities

    def templates_without(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the template of the identity of each of some images, made from its other images.

        Args:
            images: Indices of the images `[n]`, int64.

        Returns:
            The number of the identity in `templates` `[n]`; the mean of its other images `[n, D]`, of unit length; and
            whether there are others `[n]`: where there is none, the mean is 0.
        """
        rows = self._rows.to(self.model.device)
        images = images.to(rows.device)
        if not self._table.has_identities:
            return images, torch.zeros_like(rows[images]), torch.zeros_like(images, dtype=torch.bool)
        made = self._up_to_date(rows)
        numbers = made.numbers([self._table.identities[image] for image in images.tolist()])
        return numbers, *made.without(rows[images], numbers)

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
        saved = gallery_files.load(Path(folder), gallery._made_by)
        gallery._rows, gallery._table, gallery._saved = saved.rows, saved.table, saved.state
        gallery.calibration, gallery._failed = saved.calibration, dict.fromkeys(saved.failed)
        return gallery

    def _forget(self) -> None:
        self._faiss = self._templates = None

    def _up_to_date(self, rows: Tensor) -> Templates:
        """Return the templates of identities with several images, with the rows that were added since."""
        if self._templates is None:
            self._templates = Templates(rows, self._table.identities)
        self._templates.extend(rows, self._table.identities)
        return self._templates

    def _queries(self, embeddings: Values) -> Tensor:
        """Return the embeddings of queries `[Q, D]`, float32, on the model's device."""
        queries, dim = unit_rows(embeddings).to(self.model.device), self._rows.all.shape[1]
        if queries.shape[1] != dim:
            raise ValueError(
                f"Expected query embeddings of the gallery's size, [Q, {dim}], got {list(queries.shape)}. Embed both "
                "with the same model."
            )
        return queries

    def _threshold(self, threshold: float | None) -> float:
        """Return the threshold of `identify`."""
        if threshold is not None:
            return similarity_threshold(threshold)
        if self.calibration is None:
            raise ValueError(
                "Expected a threshold or a gallery with a calibration, got neither. Choose the threshold by the share "
                "of unknown images that may be assigned an identity: calibrate_gallery(gallery, target_fpir=0.01)."
            )
        return self.calibration.threshold

    def _check_search(self, k: int) -> int:
        count = check_count(k, "k", 1, 10)
        check_not_empty(self)
        return count


def check_not_empty(gallery: Gallery) -> None:
    """Raise ValueError if a gallery has no images, as nothing can be found in it."""
    if not len(gallery):
        raise ValueError("Expected a gallery with images, found it empty. Add some first: gallery.add(images).")
