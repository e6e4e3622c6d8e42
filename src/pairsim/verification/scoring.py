"""Scores of the pairs of a dataset, each image embedded once: what evaluation and calibration are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.unit_similarity import pair_similarity
from pairsim.data import ClassIndex, PairDataset, read_labels
from pairsim.encoding.datasets import encode_dataset
from pairsim.errors import DataError
from pairsim.evaluation import (
    PairFigures,
    PairScores,
    all_pair_scores,
    count_pair_scores,
    image_level_intervals,
    image_level_intervals_of_pairs,
)
from pairsim.evaluation.uncertainty.resampling import Resampled, Unit, bootstrap, bootstrap_of_pairs
from pairsim.models import SimilarityModel

MOST_KEPT_IMAGES = 20_000
"""Of more images scores are counted, not kept."""

Intervals: TypeAlias = dict[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class AllPairsScored:
    """All pairs of labelled images.

    Attributes:
        pairs: The scores.
        embeddings: Of each image `[N, D]`.
        codes: Class number of each image `[N]`.
        classes: The label of each class number.
    """

    pairs: PairFigures
    embeddings: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int64]
    classes: npt.NDArray[Any]
    protocol: str = "all pairs"

    @property
    def num_images(self) -> int:
        """Images, each embedded once."""
        return len(self.codes)

    def intervals(self, threshold: float, fmr_targets: Sequence[float] = ()) -> Intervals:
        """95 % intervals for other images of the same classes; see `evaluation.image_level_intervals`."""
        return image_level_intervals(
            self.embeddings, self.codes, threshold, pair_scores=self.pairs, fmr_targets=fmr_targets
        )

    def resampled(
        self, threshold: float, fmr_targets: Sequence[float], *, unit: Unit, num_resamples: int, seed: int
    ) -> Resampled:
        """Figures of resampled sets; see `evaluation.bootstrap`."""
        return bootstrap(
            self.embeddings,
            self.codes,
            threshold,
            fmr_targets=fmr_targets,
            unit=unit,
            num_resamples=num_resamples,
            seed=seed,
            pair_scores=self.pairs,
        )


@dataclass(frozen=True, eq=False)
class GivenPairsScored:
    """Pairs that a `PairDataset` gives.

    Attributes:
        pairs: The scores.
        similarity: Of each pair `[P]`.
        target: 1 = same class `[P]`.
        first: Number of each first image `[P]`.
        second: Of each second one.
    """

    pairs: PairScores
    similarity: npt.NDArray[np.float32]
    target: npt.NDArray[np.uint8]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    protocol: str = "given pairs"

    @property
    def num_images(self) -> int:
        """Images, each embedded once."""
        return len(np.unique(np.concatenate((self.first, self.second))))

    def intervals(self, threshold: float, fmr_targets: Sequence[float] = ()) -> Intervals:
        """95 % intervals for other images; see `evaluation.image_level_intervals_of_pairs`."""
        return image_level_intervals_of_pairs(
            self.similarity, self.target, self.first, self.second, threshold, fmr_targets=fmr_targets
        )

    def resampled(
        self, threshold: float, fmr_targets: Sequence[float], *, unit: Unit, num_resamples: int, seed: int
    ) -> Resampled:
        """Figures of resampled sets; see `evaluation.bootstrap_of_pairs`.

        Raises:
            ValueError: If classes should be drawn: pairs do not say which class their images are of.
        """
        if unit != "images":
            raise ValueError(
                'Expected unit "images" for given pairs, which do not name classes, got "classes". '
                "Evaluate on a labelled dataset to resample classes."
            )
        return bootstrap_of_pairs(
            self.similarity,
            self.target,
            self.first,
            self.second,
            threshold,
            fmr_targets=fmr_targets,
            num_resamples=num_resamples,
            seed=seed,
        )


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
        The scores, with what intervals need.

    Raises:
        DataError: If there are fewer than two images, or labels do not fit.
        ValueError: If the images do not fit the model.
    """
    if isinstance(data, PairDataset):
        found = data.all_pairs()
        places, inverse = np.unique(np.concatenate((found.first, found.second)), return_inverse=True)
        embeddings = encode_dataset(model, data.dataset, indices=places, batch_size=batch_size, progress=progress)
        first, second = torch.from_numpy(inverse).chunk(2)
        similarity = pair_similarity(embeddings, first, second).cpu().numpy()
        pairs = PairScores.from_scores(similarity, found.target)
        return GivenPairsScored(pairs, similarity, found.target, found.first, found.second)
    labels = read_labels(data)
    if len(labels) < 2:
        raise DataError(f"Expected at least two images to compare, found {len(labels)}. Check the split or the path.")
    index = ClassIndex.from_labels(labels)
    vectors = encode_dataset(model, data, batch_size=batch_size, progress=progress).cpu().numpy()
    codes = index.codes.astype(np.int64)
    return AllPairsScored(all_scores(vectors, codes, progress=progress), vectors, codes, np.asarray(index.classes))


def all_scores(
    embeddings: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], *, progress: bool | None = None
) -> PairFigures:
    """Scores of all pairs: one by one where they fit in some 0.8 GB, else counted on a grid of 2^-22.

    Args:
        embeddings: Of length 1 `[N, D]`.
        labels: Class of each image `[N]`, whole numbers.
        progress: Whether to show a progress bar; by default for long work on a terminal.
    """
    if len(embeddings) <= MOST_KEPT_IMAGES:
        return all_pair_scores(embeddings, labels)
    return count_pair_scores(embeddings, labels, progress=progress)
