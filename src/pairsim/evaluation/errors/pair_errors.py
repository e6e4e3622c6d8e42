"""The pairs of images with the largest errors at a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import Float32Array, Float64Array, Values, check_count, check_threshold, labelled_embeddings
from pairsim._common.unit_similarity import EXACT_BITS
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.retrieval import whole_numbers


@dataclass(frozen=True, eq=False)
class RankedPairs:
    """The worst errors of one kind, the worst first; ties in order of the image numbers.

    Attributes:
        first: Number of one image of each pair `[k]`.
        second: Number of the other image `[k]`, the higher of both.
        similarity: Their similarity `[k]`.
        total: Number of errors of this kind among all pairs.
    """

    first: IntArray
    second: IntArray
    similarity: Float64Array
    total: int

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, eq=False)
class WorstPairs:
    """The result of `worst_pairs`.

    Attributes:
        threshold: A pair with at least this similarity was called a match.
        false_matches: Pairs of different classes that match, the highest similarity first.
        false_non_matches: Pairs of the same class that do not match, the lowest similarity first.
    """

    threshold: float
    false_matches: RankedPairs
    false_non_matches: RankedPairs


def worst_pairs(
    embeddings: Values, labels: Values, threshold: float, n: int = 12, *, block_size: int = 1024
) -> WorstPairs:
    """Find the false matches of the highest and the false non-matches of the lowest similarity among all pairs.

    All N(N-1)/2 pairs are compared. Coordinates are rounded to multiples of 2^-26, whose products float64 adds without
    error, so that neither ranks nor ties depend on `block_size` or the machine; this moves a similarity by
    1.5e-8 x sqrt(D) at most. Memory: some `12 x block_size x N` bytes, more where very many pairs tie.

    Args:
        embeddings: Embeddings `[N, D]` of length 1 (within 1 %) or 0, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        threshold: A pair with at least this similarity is called a match.
        n: Highest number of pairs of each kind, at least 1.
        block_size: Rows that are compared at once, at least 1.

    Returns:
        At most `n` pairs of each kind, and the number of errors; none for fewer than two images.

    Raises:
        TypeError: If the embeddings are not of a float dtype, or the labels not whole numbers.
        ValueError: If shapes do not fit, an embedding is not of length 1 or NaN, `threshold` is NaN, or `n` or
            `block_size` is below 1.

    Example:
        >>> worst = worst_pairs(np.eye(2)[[0, 0, 1, 0]], [3, 3, 7, 7], 0.5)
        >>> worst.false_matches.first.tolist(), worst.false_matches.second.tolist()
        ([0, 1], [3, 3])
        >>> worst.false_non_matches.similarity.tolist(), worst.false_non_matches.total
        ([0.0], 1)
    """
    lowest_match = check_threshold(threshold)
    check_count(n, "n", 1, 12)
    check_count(block_size, "block_size", 1, 1024)
    vectors, classes = labelled_embeddings(embeddings, labels)
    exact = whole_numbers(vectors) * 2.0**-EXACT_BITS
    matches, others = _Worst(n), _Worst(n)
    for start in range(0, len(exact), block_size):
        products = np.clip(exact[start : start + block_size] @ exact[start:].T, -1.0, 1.0)
        later = np.triu(np.ones(products.shape, dtype=np.bool_), 1)
        same = classes[start : start + block_size, None] == classes[start:]
        matching = products >= lowest_match
        matches.add(-products, later & ~same & matching, start)
        others.add(products, later & same & ~matching, start)
    return WorstPairs(threshold=lowest_match, false_matches=matches.ranked(-1.0), false_non_matches=others.ranked(1.0))


def worst_given_pairs(
    similarity: Float64Array | Float32Array,
    target: npt.NDArray[np.uint8],
    first: IntArray,
    second: IntArray,
    *,
    threshold: float,
    n: int = 12,
) -> WorstPairs:
    """Find the false matches of the highest and the false non-matches of the lowest similarity among given pairs.

    Args:
        similarity: Similarity of each pair `[P]`.
        target: 1 = same class, 0 = different `[P]`.
        first: Number of each first image `[P]`.
        second: Number of each second image `[P]`.
        threshold: A pair with at least this similarity is called a match.
        n: Highest number of pairs of each kind.

    Returns:
        At most `n` pairs of each kind, and the number of errors.

    Example:
        >>> columns = np.array([0.9, 0.1, 0.8]), np.array([0, 1, 0]), np.array([4, 5, 6]), np.array([7, 8, 9])
        >>> worst = worst_given_pairs(*columns, threshold=0.5, n=1)
        >>> worst.false_matches.first.tolist(), worst.false_matches.total, worst.false_non_matches.first.tolist()
        ([4], 2, [5])
    """

    def ranked(errors: npt.NDArray[np.bool_], sign: float) -> RankedPairs:
        found = np.flatnonzero(errors)
        ends = np.sort(np.stack((first[found], second[found])), axis=0)
        order = np.lexsort((ends[1], ends[0], sign * similarity[found]))[:n]
        scores = similarity[found][order].astype(np.float64)
        return RankedPairs(ends[0][order], ends[1][order], scores, total=len(found))

    matching, same = similarity >= threshold, target == 1
    return WorstPairs(threshold, ranked(~same & matching, -1.0), ranked(same & ~matching, 1.0))


class _Worst:
    """The pairs with the lowest keys so far; ties in order of the image numbers."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.total = 0
        self.keys: Float64Array = np.zeros(0)
        self.pairs: IntArray = np.zeros((0, 2), dtype=np.int64)

    def add(self, keys: Float64Array, errors: npt.NDArray[np.bool_], start: int) -> None:
        self.total += int(np.count_nonzero(errors))
        if len(self.keys) == self.count:
            errors = errors & (keys <= self.keys[-1])  # a tie with the last one kept may come before it
        joined = np.concatenate((self.keys, keys[errors]))
        pairs = np.concatenate((self.pairs, np.argwhere(errors) + start))
        order = np.lexsort((pairs[:, 1], pairs[:, 0], joined))[: self.count]
        self.keys, self.pairs = joined[order], pairs[order]

    def ranked(self, sign: float) -> RankedPairs:
        return RankedPairs(
            first=self.pairs[:, 0],
            second=self.pairs[:, 1],
            similarity=sign * self.keys + 0.0,  # no negative zero
            total=self.total,
        )
