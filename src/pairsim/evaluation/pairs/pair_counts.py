"""Scores of pairs counted on a fine grid, for all N(N-1)/2 pairs of many images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pairsim._common.arrays import Float32Array, Values, scores_and_targets
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.ranked import IntArray, Ranked, SplitScores
from pairsim.evaluation.pairs.similarities import by_class, pair_rows

STEPS = 1 << 22
"""Steps of the grid from 0 to 1, about as fine as the rounding of a float32 product."""

# Floats from 2 to 4 lie exactly one step apart, so adding 3 to a score in [-1, 1] rounds it to the grid, and the bit
# patterns of the sums are consecutive whole numbers.
_SHIFT = np.float32(3)
_LOWEST = np.float32(2).view(np.int32)


@dataclass(frozen=True, eq=False)
class PairCounts(PairFigures):
    """Scores of pairs as distinct values with counts, with every metric of `PairFigures`.

    Scores are multiples of 2^-22 in [-1, 1], so there are at most 8.4 million of them, some 0.4 GB with all that the
    metrics need, for any number of pairs. The metrics are exact for these scores. Build it with `count_pair_scores` or
    `from_scores`.

    Attributes:
        scores: Distinct scores `[K]`, ascending, float32, multiples of 2^-22 in [-1, 1].
        positive: Number of pairs of the same class with each score `[K]`, int64.
        negative: Number of pairs of different classes with each score `[K]`, int64.

    Raises:
        TypeError: If the scores are not float32 or the counts not int64.
        ValueError: If shapes differ, scores are not ascending multiples of 2^-22 in [-1, 1], or a count is negative.

    Example:
        >>> pairs = PairCounts.from_scores([0.75, 0.25, 0.25, 0.0], [1, 1, 0, 0])
        >>> pairs.scores.tolist(), pairs.positive.tolist(), pairs.negative.tolist()
        ([0.0, 0.25, 0.75], [0, 1, 1], [1, 1, 0])
        >>> pairs.roc_auc()
        0.875
    """

    scores: Float32Array
    positive: IntArray
    negative: IntArray

    def __post_init__(self) -> None:
        if self.scores.dtype != np.float32 or not self.positive.dtype == self.negative.dtype == np.int64:
            raise TypeError(
                "Expected scores in float32 and counts in int64, got "
                f"{self.scores.dtype}, {self.positive.dtype} and {self.negative.dtype}. Convert them with .astype."
            )
        shapes = [list(array.shape) for array in (self.scores, self.positive, self.negative)]
        if shapes != [[self.scores.size]] * 3:
            raise ValueError(
                f"Expected scores, positive and negative of one shape [K], got {shapes[0]}, {shapes[1]} and "
                f"{shapes[2]}. Give both counts of each score."
            )
        on_grid = np.array_equal(self.scores, self._round(self.scores.copy()))
        if not on_grid or not np.all(self.scores[1:] > self.scores[:-1]) or np.any(np.abs(self.scores) > 1):
            raise ValueError(
                "Expected scores to be ascending multiples of 2^-22 from -1 to 1, got other values or another order. "
                "Build the object with PairCounts.from_scores or count_pair_scores."
            )
        for name in ("scores", "positive", "negative"):
            locked = getattr(self, name).view()
            locked.setflags(write=False)
            object.__setattr__(self, name, locked)
            if name != "scores" and np.any(locked < 0):
                raise ValueError(f"Expected {name} to count pairs, got {locked.min()}. Give counts of at least 0.")

    @classmethod
    def from_scores(cls, scores: Values, targets: Values) -> PairCounts:
        """Count the scores of given pairs, rounded to multiples of 2^-22.

        Args:
            scores: One score per pair `[P]` in [-1, 1], higher = more similar.
            targets: One target per pair `[P]`, 1 = same class.

        Returns:
            The counts; all arrays are empty for empty input.

        Raises:
            TypeError: If the input is not numeric.
            ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN or outside [-1, 1].

        Example:
            >>> PairCounts.from_scores([0.5, 0.5, 0.1], [1, 1, 0]).positive.tolist()
            [0, 2]
        """
        values, same = scores_and_targets(scores, targets)
        wrong = np.flatnonzero(np.abs(values) > 1)
        if wrong.size:
            raise ValueError(
                f"Expected scores to be cosines from -1 to 1, got {values[wrong[0]]:g} at index {wrong[0]}. "
                "Use PairScores.from_scores, which takes any score."
            )
        cells, indices = np.unique(np.rint(values * STEPS), return_inverse=True)
        counts = (np.bincount(indices[chosen], minlength=cells.size) for chosen in (same, ~same))
        return cls((cells / STEPS).astype(np.float32), *counts)

    @cached_property
    def ranked(self) -> SplitScores:
        """Scores of the positive and of the negative pairs, as distinct values with counts."""
        return SplitScores(Ranked.counted(self.scores, self.positive), Ranked.counted(self.scores, self.negative))

    def _round(self, scores: Float32Array) -> Float32Array:
        scores += _SHIFT
        scores -= _SHIFT
        return scores


def count_pair_scores(
    embeddings: Values, labels: Values, *, block_size: int = 512, progress: bool | None = None
) -> PairCounts:
    """Count the cosines of every pair of images on a grid of multiples of 2^-22.

    The cosines are those of `all_pair_scores`; rounding to the grid moves each by at most 1.2e-7, about the error
    of its float32 product. Memory does not grow with the number of pairs: some 0.5 GB, and one block of
    `block_size x N` floats.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Class of each image `[N]`, whole numbers.
        block_size: Rows of a block, at least 1.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The counts; all arrays are empty for fewer than two images.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, or `block_size` is below
            1.

    Example:
        >>> pairs = count_pair_scores(np.eye(3, dtype=np.float32), [0, 0, 1])
        >>> pairs.scores.tolist(), pairs.positive.tolist(), pairs.negative.tolist()
        ([0.0], [1], [2])
    """
    vectors, codes, _ = by_class(embeddings, labels)
    counts = np.zeros((2, 2 * STEPS + 1), dtype=np.int64)
    for rows in pair_rows(vectors, codes, block_size, progress=progress):
        for count, scores in zip(counts, rows, strict=True):
            shifted = np.add(scores, _SHIFT, out=scores)
            # In place: np.bincount would allocate and add up a whole grid for every row.
            np.add.at(count, shifted.view(np.int32) - _LOWEST, 1)
    seen = np.flatnonzero(counts.any(axis=0))
    return PairCounts(((seen - STEPS) / STEPS).astype(np.float32), *counts[:, seen])
