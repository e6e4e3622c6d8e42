"""Scores of the pairs of a dataset, with each image embedded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.arrays import Float32Array
from pairsim._common.choices import Unit
from pairsim._common.unit_similarity import pair_similarity
from pairsim.data import LabelledImages, PairDataset
from pairsim.data.image_fingerprint import data_sha256
from pairsim.data.named.folder_account import FolderAccount
from pairsim.encoding.datasets import encode_dataset
from pairsim.errors import DataError
from pairsim.evaluation import (
    PairFigures,
    PairScores,
    Resampled,
    all_pair_scores,
    bootstrap,
    bootstrap_of_pairs,
    count_pair_scores,
    image_level_intervals,
    image_level_intervals_of_pairs,
)
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.uncertainty.spread import Intervals
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.weight_names import check_weights
from pairsim.verification.report_parts import Measured

MAX_KEPT_IMAGES = 20_000
"""With more images, scores are counted instead of kept."""


@dataclass(frozen=True, eq=False)
class AllPairsScored:
    """All pairs of labelled images.

    Attributes:
        pairs: The scores.
        embeddings: Embedding of each image `[N, D]`.
        codes: Class number of each image `[N]`.
        classes: The label of each class number.
        num_groups: Number of groups of the images, `None` if they have none.
        measured: What was noted meanwhile; `None` if it is not known.
    """

    protocol: ClassVar[str] = "all pairs"
    pairs: PairFigures
    embeddings: Float32Array
    codes: IntArray
    classes: npt.NDArray[Any]
    num_groups: int | None = None
    measured: Measured | None = None

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.codes)

    def intervals(self, threshold: float, fmr_targets: Sequence[float] = ()) -> Intervals:
        """Compute 95 % intervals for other images of the same classes; see `evaluation.image_level_intervals`."""
        return image_level_intervals(
            self.embeddings, self.codes, threshold, pair_scores=self.pairs, fmr_targets=fmr_targets
        )

    def resampled(self, threshold: float, fmr_targets: Sequence[float], *, unit: Unit, **options: int) -> Resampled:
        """Compute the figures of resampled sets; see `evaluation.bootstrap` for the options."""
        return bootstrap(
            self.embeddings,
            self.codes,
            threshold,
            fmr_targets=fmr_targets,
            unit=unit,
            pair_scores=self.pairs,
            **options,
        )


@dataclass(frozen=True, eq=False)
class GivenPairsScored:
    """The pairs of a `PairDataset`.

    Attributes:
        pairs: The scores.
        similarity: Similarity of each pair `[P]`.
        target: 1 = same class `[P]`.
        first: Number of each first image `[P]`.
        second: Number of each second image `[P]`.
        kind: Kind of each pair `[P]`, text; `None` if it is not known.
        group: Group of each pair `[P]`, text; `None` if it is not known.
        measured: What was noted meanwhile; `None` if it is not known.
    """

    protocol: ClassVar[str] = "given pairs"
    pairs: PairScores
    similarity: Float32Array
    target: npt.NDArray[np.uint8]
    first: IntArray
    second: IntArray
    kind: npt.NDArray[np.str_] | None = None
    group: npt.NDArray[np.str_] | None = None
    measured: Measured | None = None

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(np.unique(np.concatenate((self.first, self.second))))

    def intervals(self, threshold: float, fmr_targets: Sequence[float] = ()) -> Intervals:
        """Compute 95 % intervals for other images, or other groups if there are groups.

        See `evaluation.image_level_intervals_of_pairs`.
        """
        return image_level_intervals_of_pairs(*self._columns, threshold, fmr_targets=fmr_targets, groups=self.group)

    def of_kinds(self) -> dict[str, GivenPairsScored]:
        """Return the positive pairs together with the negative pairs of one kind, for each kind in sorted order."""
        if self.kind is None:
            return {}
        names = np.unique(self.kind[self.target == 0]).tolist()
        return {name: self._chosen((self.target == 1) | (self.kind == name)) for name in names}

    def _chosen(self, chosen: npt.NDArray[np.bool_]) -> GivenPairsScored:
        similarity, target = self.similarity[chosen], self.target[chosen]
        group = None if self.group is None else self.group[chosen]
        pairs = PairScores.from_scores(similarity, target)
        return GivenPairsScored(pairs, similarity, target, self.first[chosen], self.second[chosen], group=group)

    def resampled(self, threshold: float, fmr_targets: Sequence[float], *, unit: Unit, **options: int) -> Resampled:
        """Compute the figures of resampled sets; see `evaluation.bootstrap_of_pairs` for the options.

        Raises:
            ValueError: If the unit is classes, which given pairs do not have.
        """
        if unit != "images":
            raise ValueError(
                'Expected unit "images" for given pairs, which do not name classes, got "classes". '
                "Evaluate on a labelled dataset to resample classes."
            )
        return bootstrap_of_pairs(*self._columns, threshold, fmr_targets=fmr_targets, **options)

    @property
    def _columns(self) -> tuple[Float32Array, npt.NDArray[np.uint8], IntArray, IntArray]:
        return self.similarity, self.target, self.first, self.second


Scored: TypeAlias = AllPairsScored | GivenPairsScored


def score_pairs(
    model: SimilarityModel, data: Any, *, batch_size: int | None = None, progress: bool | None = None
) -> Scored:
    """Embed the images of a dataset and score its pairs.

    Args:
        model: The model; its mode and weights stay as they are.
        data: A labelled dataset, of which all pairs are used, or a `PairDataset`, whose pairs are used.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The scores, and the data that intervals are computed from.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        ValueError: If the images do not fit the model, or its weights are not finite.
    """
    check_model(model)
    check_weights(model)
    if isinstance(data, PairDataset):
        given = data.all_pairs()
        numbers, inverse = np.unique(np.concatenate((given.first, given.second)), return_inverse=True)
        start = perf_counter()
        embeddings = encode_dataset(model, data.dataset, indices=numbers, batch_size=batch_size, progress=progress)
        encoded = perf_counter()
        first, second = torch.from_numpy(inverse).chunk(2)
        similarity = pair_similarity(embeddings, first, second).cpu().numpy()
        skipped = data.skipped
        measured = Measured(
            device=model.device,
            num_images=len(numbers),
            num_pairs=len(similarity),
            encode_s=encoded - start,
            compare_s=perf_counter() - encoded,
            data_sha256=data_sha256(data),
            num_failures=0 if skipped is None else len(skipped.pictures),
            num_pictures=len(numbers) if skipped is None else skipped.num_pictures,
            failed_pairs=(0, 0) if skipped is None else skipped.failed_pairs,
        )
        pairs = PairScores.from_scores(similarity, given.target)
        columns = similarity, given.target, given.first, given.second, data.kind, data.group
        return GivenPairsScored(pairs, *columns, measured=measured)
    images = LabelledImages.of(data)
    if len(images) < 2:
        raise DataError(f"Expected at least two images to compare, found {len(images)}. Check the split or the path.")
    index = images.index
    start = perf_counter()
    vectors = encode_dataset(model, images, batch_size=batch_size, progress=progress).cpu().numpy()
    encoded = perf_counter()
    codes = index.codes.astype(np.int64)
    groups = getattr(images, "groups", None)
    num_groups = None if groups is None else len(np.unique(groups))
    scores = all_scores(vectors, codes, progress=progress)
    account: FolderAccount | None = getattr(data, "account", None)
    measured = Measured(
        device=model.device,
        num_images=len(images),
        num_pairs=scores.num_pairs,
        encode_s=encoded - start,
        compare_s=perf_counter() - encoded,
        data_sha256=data_sha256(images),
        num_failures=0 if account is None else account.num_unreadable,
        num_pictures=len(images) if account is None else account.num_checked,
    )
    return AllPairsScored(scores, vectors, codes, np.asarray(index.classes), num_groups, measured)


def all_scores(embeddings: Float32Array, labels: IntArray, *, progress: bool | None = None) -> PairFigures:
    """Score all pairs of labelled embeddings: one by one where they fit in some 0.8 GB, else on a grid of 2^-22.

    Args:
        embeddings: Embeddings of length 1 `[N, D]`.
        labels: Class of each image `[N]`, whole numbers.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The scores.
    """
    if len(embeddings) <= MAX_KEPT_IMAGES:
        return all_pair_scores(embeddings, labels)
    return count_pair_scores(embeddings, labels, progress=progress)
