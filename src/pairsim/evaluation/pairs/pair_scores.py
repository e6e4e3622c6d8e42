"""Scores of pairs, kept one by one, and those of all N(N-1)/2 pairs of labelled embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import Values, scores_and_targets
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.ranked import Ranked, Scores, SplitScores, sort, sort_by_target
from pairsim.evaluation.pairs.similarities import by_class, pair_rows


@dataclass(frozen=True, eq=False)
class PairScores(PairFigures):
    """Scores of pairs, separated by target and sorted.

    Build it with `all_pair_scores` or `from_scores`; it has every metric of `PairFigures`.

    Attributes:
        positive: Scores of the pairs of the same class `[P]`, ascending, float32 or float64.
        negative: Scores of the pairs of different classes `[M]`, ascending, of the same dtype.

    Raises:
        TypeError: If the arrays are not both float32 or both float64.
        ValueError: If one is not one-dimensional, not ascending, or holds NaN.

    Example:
        >>> pairs = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        >>> pairs.num_pairs, pairs.roc_auc(), pairs.fmr_fnmr(0.3)
        (4, 0.75, (0.5, 0.0))
    """

    positive: Scores
    negative: Scores

    def __post_init__(self) -> None:
        for name, scores in (("positive", self.positive), ("negative", self.negative)):
            if scores.dtype not in (np.float32, np.float64) or self.positive.dtype != self.negative.dtype:
                raise TypeError(
                    "Expected positive and negative both float32 or both float64, "
                    f"got {self.positive.dtype} and {self.negative.dtype}. Convert one of them with .astype."
                )
            # NaN compares as false, so it is rejected here too, unless it is alone.
            if scores.ndim != 1 or not np.all(scores[1:] >= scores[:-1]) or np.isnan(scores[:1]).any():
                raise ValueError(
                    f"Expected {name} to be one ascending array without NaN, got another order, shape "
                    f"{list(scores.shape)}, or NaN. Build the object with PairScores.from_scores or all_pair_scores."
                )
            locked = scores.view()
            locked.setflags(write=False)
            object.__setattr__(self, name, locked)

    @classmethod
    def from_scores(cls, scores: Values, targets: Values) -> PairScores:
        """Sort the scores of given pairs.

        Args:
            scores: One score per pair `[P]`, higher = more similar.
            targets: One target per pair `[P]`, 1 = same class.

        Returns:
            The scores in float64, by target; both arrays are empty for empty input.

        Raises:
            TypeError: If the input is not numeric.
            ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

        Example:
            >>> PairScores.from_scores([0.9, 0.4, 0.6], [1, 1, 0]).positive.tolist()
            [0.4, 0.9]
        """
        positive, negative = sort_by_target(*scores_and_targets(scores, targets))
        return cls(positive.values, negative.values)

    @property
    def ranked(self) -> SplitScores:
        """Scores of the positive and of the negative pairs, one by one."""
        return SplitScores(Ranked(self.positive), Ranked(self.negative))


def all_pair_scores(embeddings: Values, labels: Values, *, block_size: int = 1024) -> PairScores:
    """Compute the cosine of every pair of images, by target and sorted.

    Each of the N(N-1)/2 pairs is one float32 product over all of D, clipped to [-1, 1]. The order of its sum
    may depend on the shape of a block, so another `block_size` (or machine) can move a score by some float32 roundings:
    less than `1e-6` for D up to 1,024. Memory: 4 bytes per pair, and one block of `block_size x N` floats.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device; computed in float32 on the CPU.
        labels: Class of each image `[N]`, whole numbers.
        block_size: Rows of a block, at least 1.

    Returns:
        The scores as float32; both arrays are empty for fewer than two images.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 (within 1 %) or NaN, or `block_size` is below
            1.

    Example:
        >>> pairs = all_pair_scores(np.eye(3, dtype=np.float32), [0, 0, 1])
        >>> pairs.positive.tolist(), pairs.negative.tolist()
        ([0.0], [0.0, 0.0])
    """
    vectors, codes, _ = by_class(embeddings, labels)
    num_positive = sum(size * (size - 1) // 2 for size in np.bincount(codes).tolist())
    positive = np.empty(num_positive, dtype=np.float32)
    negative = np.empty(len(vectors) * (len(vectors) - 1) // 2 - num_positive, dtype=np.float32)
    filled_positive = filled_negative = 0
    for same, other in pair_rows(vectors, codes, block_size):
        positive[filled_positive : filled_positive + same.size] = same
        negative[filled_negative : filled_negative + other.size] = other
        filled_positive += same.size
        filled_negative += other.size
    return PairScores(sort(positive), sort(negative))
