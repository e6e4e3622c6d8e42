"""Exact figures over all N(N-1)/2 pairs of labelled embeddings."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pairsim._common.arrays import Float64Array, Values, labelled_embeddings
from pairsim.evaluation.pairs import ranked as _sorted
from pairsim.evaluation.pairs.curves import RocCurve
from pairsim.evaluation.pairs.ranked import IntArray, Ranked, Scores, ToProbability

Float32Array = npt.NDArray[np.float32]

_LONG_S = 2.0  # Shorter work shows no bar unless asked to.


class PairFigures(ABC):
    """Every figure over pairs, whichever way their scores are kept: `PairScores` or `PairCounts`.

    A pair is called a match when its score is at least the threshold.

    Example:
        >>> pairs: PairFigures = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        >>> pairs.num_pairs, pairs.roc_auc(), pairs.fmr_fnmr(0.3)
        (4, 0.75, (0.5, 0.0))
    """

    @property
    @abstractmethod
    def ranked(self) -> tuple[Ranked, Ranked]:
        """Scores of the positive and of the negative pairs, in the form that the figures are computed from."""

    def _as_kept(self, scores: Float32Array) -> Float32Array:
        """Round scores as those of the pairs were, in place."""
        return scores

    @property
    def num_positive(self) -> int:
        """Number of pairs of the same class."""
        return self.ranked[0].size

    @property
    def num_negative(self) -> int:
        """Number of pairs of different classes."""
        return self.ranked[1].size

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return self.num_positive + self.num_negative

    def roc_curve(self, max_points: int | None = None) -> RocCurve:
        """Compute FMR and FNMR at every distinct score, or at a choice of them.

        Args:
            max_points: Most points to return, at least 5; each is exact. They are dense where either error is small.
                None returns every point, which for all pairs of 10,000 images takes over a gigabyte.

        Returns:
            The curve, as `pairsim.evaluation.roc_curve` gives it.

        Raises:
            ValueError: If `max_points` is below 5.
        """
        return RocCurve(*_sorted.curve(*self.ranked, max_points))

    def roc_auc(self) -> float:
        """Area under the ROC curve; NaN without positive or without negative pairs. See `evaluation.roc_auc`."""
        return _sorted.roc_auc(*self.ranked)

    def partial_roc_auc(self, max_fmr: float) -> float:
        """Standardised area up to an FMR of `max_fmr`, in (0, 1]; see `evaluation.partial_roc_auc`."""
        return _sorted.partial_roc_auc(*self.ranked, max_fmr)

    def d_prime(self) -> float:
        """Difference of means over the root mean of variances; see `evaluation.d_prime`."""
        return _sorted.d_prime(*self.ranked)

    def average_precision(self) -> float:
        """Average precision; NaN without positive pairs. See `evaluation.average_precision`."""
        return _sorted.average_precision(*self.ranked)

    def equal_error_rate(self) -> float:
        """Equal error rate; NaN without positive or without negative pairs. See `evaluation.equal_error_rate`."""
        return _sorted.equal_error(*self.ranked)[0]

    def equal_error_threshold(self) -> float:
        """Score that is the threshold with FMR and FNMR nearest to each other; NaN where the rate is NaN."""
        return _sorted.equal_error(*self.ranked)[1]

    def fnmr_at_fmr(self, fmr: float) -> float:
        """Lowest FNMR attained with an FMR of at most `fmr`, in [0, 1]; see `evaluation.fnmr_at_fmr`."""
        return _sorted.at_fmr(*self.ranked, fmr)[0]

    def threshold_at_fmr(self, fmr: float) -> float:
        """Find the threshold of `fnmr_at_fmr`.

        Args:
            fmr: Highest false match rate allowed, in [0, 1].

        Returns:
            The lowest score that keeps the FMR at or below `fmr`; just above all scores where none does. NaN without
            positive or without negative pairs, and where negative pairs at +inf let no threshold keep it.

        Raises:
            ValueError: If `fmr` is outside [0, 1].

        Example:
            >>> PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]).threshold_at_fmr(0.0)
            0.9
        """
        return _sorted.at_fmr(*self.ranked, fmr)[1]

    def accuracy(self, threshold: float) -> float:
        """Share of right decisions; NaN for no pairs. See `evaluation.accuracy`."""
        return _sorted.accuracy(*self.ranked, threshold)

    def balanced_accuracy(self, threshold: float) -> float:
        """1 - (FMR + FNMR) / 2; NaN without positive or without negative pairs. See `evaluation.balanced_accuracy`."""
        return _sorted.balanced_accuracy(*self.ranked, threshold)

    def fmr_fnmr(self, threshold: float) -> tuple[float, float]:
        """False match rate and false non-match rate; NaN over no pairs. See `evaluation.fmr_fnmr`."""
        return _sorted.fmr_fnmr(*self.ranked, threshold)

    def log_loss(self, probability: ToProbability) -> float:
        """Log-loss of `probability(score)`, in nats; NaN for no pairs. See `evaluation.log_loss`.

        Args:
            probability: Maps float64 scores `[K]` to probabilities `[K]` element by element, as `Logistic` does. Scores
                come in chunks.

        Returns:
            The loss.

        Raises:
            ValueError: If the function gives another shape or values outside [0, 1].
        """
        return _sorted.log_loss(*self.ranked, probability)

    def log_loss_by_target(self, probability: ToProbability) -> tuple[float, float]:
        """Log-loss over the positive and over the negative pairs; NaN over no pairs. See `log_loss`.

        The mean of both is the log-loss with positive and negative pairs weighing one half each.
        """
        return _sorted.log_loss_by_target(*self.ranked, probability)

    def brier_score(self, probability: ToProbability) -> float:
        """Brier score of `probability(score)`; NaN for no pairs. See `log_loss` and `evaluation.brier_score`."""
        return _sorted.brier_score(*self.ranked, probability)

    def expected_calibration_error(self, probability: ToProbability, num_bins: int = 15) -> float:
        """Calibration error of `probability(score)`; see `log_loss` and `evaluation.expected_calibration_error`."""
        return _sorted.expected_calibration_error(*self.ranked, probability, num_bins)

    def calibration_bins(
        self, probability: ToProbability, num_bins: int = 15
    ) -> tuple[Float64Array, Float64Array, IntArray]:
        """Return what a reliability diagram shows.

        Args:
            probability: Maps scores to probabilities; see `log_loss`.
            num_bins: Number of bins of equal width over [0, 1].

        Returns:
            Mean probability, share of positive pairs (both NaN for an empty bin) and number of pairs of each bin, each
            `[num_bins]`.

        Raises:
            ValueError: As in `log_loss`, or if `num_bins` is not a whole number of at least 1.
        """
        return _sorted.calibration_bins(*self.ranked, probability, num_bins)


@dataclass(frozen=True, eq=False)
class PairScores(PairFigures):
    """Scores of pairs, apart by target and sorted.

    Build it with `all_pair_scores` or `from_scores`; it has every figure of `PairFigures`.

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
            # NaN compares as false, so it is refused here too, unless it is alone.
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
            scores: One score per pair `[P]`, higher = more alike.
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
        positive, negative = _sorted.split(scores, targets)
        return cls(positive.values, negative.values)

    @property
    def ranked(self) -> tuple[Ranked, Ranked]:
        """Scores of the positive and of the negative pairs, one by one."""
        return Ranked(self.positive), Ranked(self.negative)


@dataclass(frozen=True)
class Logistic:
    """The function from score to probability 1 / (1 + exp(-(weight x score + bias))), in float64.

    Attributes:
        weight: Factor on the score.
        bias: Added to it.

    Example:
        >>> Logistic(10.0, -5.0)(np.array([0.5])).tolist()
        [0.5]
    """

    weight: float
    bias: float

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Map scores of any shape to probabilities of the same shape; NaN stays NaN."""
        logits = self.weight * scores
        logits += self.bias
        # exp(700) is still finite, and its reciprocal is far below any clipping.
        np.clip(logits, -700.0, 700.0, out=logits)
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        logits += 1.0
        return np.reciprocal(logits, out=logits)


def all_pair_scores(embeddings: Values, labels: Values, *, block_size: int = 1024) -> PairScores:
    """Compute the cosine of every pair of images, by target and sorted.

    Each of the N(N-1)/2 pairs is one float32 product over all of D, clipped to [-1, 1]. How the matrix library adds up
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
    positive.sort()
    negative.sort()
    return PairScores(positive, negative)


def by_class(embeddings: Values, labels: Values) -> tuple[Float32Array, IntArray, IntArray]:
    """Check embeddings and labels and put the images in class order.

    Returns:
        Embeddings `[N, D]` float32 and class numbers `[N]`, both in class order, and the image number `[N]` of each
        row.
    """
    vectors, classes = labelled_embeddings(embeddings, labels)
    order = np.argsort(classes, kind="stable")
    _, codes = np.unique(classes[order], return_inverse=True)
    return np.ascontiguousarray(vectors[order], dtype=np.float32), codes.astype(np.int64), order


def pair_rows(
    vectors: Float32Array, codes: IntArray, block_size: int, *, progress: bool | None = False
) -> Iterator[tuple[Float32Array, Float32Array]]:
    """Yield, for each image in class order, its scores with the later images: of its class, and of other classes."""
    ends = np.searchsorted(codes, codes, side="right")
    for start, products in similarity_blocks(vectors, block_size, upper=True, progress=progress):
        for row in range(len(products)):
            end = int(ends[start + row]) - start
            yield products[row, row + 1 : end], products[row, end:]


def similarity_blocks(
    vectors: Float32Array, block_size: int, *, upper: bool, progress: bool | None = False
) -> Iterator[tuple[int, Float32Array]]:
    """Yield the first row and the products of each block of rows, clipped to [-1, 1].

    NumPy multiplies, not torch: global settings of torch (TF32, autocast, matmul precision) then cannot lower the
    precision. With `upper`, a block begins at the column of its first row; else it has all N columns. A progress bar is
    shown if `progress` is true; if it is None, for long work on a terminal.
    """
    if block_size < 1:
        raise ValueError(f"Expected block_size to be at least 1, got {block_size}. Use 1024, say.")
    num_images = len(vectors)
    starts = range(0, num_images, block_size)
    with tqdm(
        total=sum(
            min(block_size, num_images - start) * (num_images - start if upper else num_images) for start in starts
        ),
        desc="comparing",
        unit=" pairs",
        unit_scale=True,
        file=sys.stderr,
        disable=None if progress is None else not progress,
        delay=_LONG_S if progress is None else 0.0,
        leave=False,
    ) as bar:
        for start in starts:
            products = vectors[start : start + block_size] @ (vectors[start:] if upper else vectors).T
            yield start, np.clip(products, -1.0, 1.0, out=products)
            bar.update(products.size)
