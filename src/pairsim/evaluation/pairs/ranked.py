"""Sorted scores of positive and negative pairs, and what all metrics do with them.

In sorted scores, a rate at a threshold is one binary search, and nothing of the size of all pairs has to be built. A
pair is called a match when its score is at least the threshold. A rate over no pairs is NaN.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.arrays import BoolArray, Float64Array, check_probabilities

IntArray: TypeAlias = npt.NDArray[np.int64]
Scores: TypeAlias = npt.NDArray[np.floating[Any]]
ToProbability: TypeAlias = Callable[[Float64Array], Float64Array]

CHUNK = 1 << 20  # Scores processed at once: few iterations, and arrays that stay in the caches.


@dataclass(frozen=True, eq=False)
class Ranked:
    """Scores in ascending order, each by itself or as a distinct value that counts several times.

    Attributes:
        values: Scores `[K]`, ascending, without NaN.
        before: Number of scores before each value and, last, of all `[K + 1]`; None where each value is one score.
    """

    values: Scores
    before: IntArray | None = None

    @classmethod
    def counted(cls, values: Scores, counts: IntArray) -> Ranked:
        """Build from ascending distinct values with their counts; values that count 0 are left out."""
        seen = counts > 0
        return cls(values[seen], np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts[seen])]))

    @property
    def size(self) -> int:
        """Number of scores."""
        return int(self.values.size if self.before is None else self.before[-1])

    def below(self, scores: Scores, *, or_equal: bool = False) -> IntArray:
        """Count the scores below (or equal to) each of some scores of the same dtype."""
        indices = np.searchsorted(self.values, scores, side="right" if or_equal else "left")
        return np.asarray(indices if self.before is None else self.before[indices])

    def matches(self, thresholds: float | Float64Array) -> IntArray:
        """Count the scores of at least each threshold, of the shape of the thresholds."""
        return self.size - self.below(round_up(thresholds, self.values.dtype))

    def twice_above(self, others: Ranked) -> int:
        """Count the pairs of a score and a lower other score, twice, and once those of equal scores."""
        twice = 0
        for values, counts in self.chunks():
            ranks = others.below(values) + others.below(values, or_equal=True)
            if counts is None:
                twice += int(ranks.sum())
            else:
                # Exact: in two parts, the sum of the products stays below 2^63 for up to 2^39 pairs.
                twice += (int((ranks >> 24) @ counts) << 24) + int((ranks & 0xFFFFFF) @ counts)
        return twice

    def at(self, ranks: IntArray | int) -> Scores:
        """Return the scores of some ranks; 0 is the lowest."""
        indices = ranks if self.before is None else np.searchsorted(self.before, ranks, side="right") - 1
        return np.asarray(self.values[indices])

    def above(self, score: float) -> Ranked:
        """Return the scores above a score that the dtype holds exactly."""
        start = int(np.searchsorted(self.values, self.values.dtype.type(score), side="right"))
        before = self.before
        return Ranked(self.values[start:], None if before is None else before[start:] - before[start])

    def chunks(self) -> Iterator[tuple[Scores, IntArray | None]]:
        """Yield values and their counts, or None where each value counts once."""
        for start in range(0, self.values.size, CHUNK):
            counts = None if self.before is None else np.diff(self.before[start : start + CHUNK + 1])
            yield self.values[start : start + CHUNK], counts

    def probability_chunks(self, probability: ToProbability) -> Iterator[tuple[Float64Array, IntArray | None]]:
        """Yield probabilities of the values and their counts, or None where each value counts once.

        Raises:
            ValueError: If the function gives another shape or values outside [0, 1].
        """
        offset = 0
        for values, counts in self.chunks():
            probabilities = np.asarray(probability(values.astype(np.float64)), dtype=np.float64)
            if probabilities.shape != values.shape:
                raise ValueError(
                    f"Expected one probability per score, shape {list(values.shape)}, got {list(probabilities.shape)}. "
                    "Give a function that works element by element."
                )
            check_probabilities(probabilities, offset)
            offset += values.size
            yield probabilities, counts

    def moments(self, scale: float) -> tuple[float, float]:
        """Return mean and variance (over the number of scores, not one less) of the scores divided by `scale`."""
        if self.values[0] == self.values[-1]:
            # The mean of equal numbers may be rounded to another, and then seem to vary.
            return float(self.values[0]) / scale, 0.0
        unit = np.float64(scale)
        mean = math.fsum(weighted_sum(values / unit, counts) for values, counts in self.chunks()) / self.size
        squares = math.fsum(weighted_sum(np.square(values / unit - mean), counts) for values, counts in self.chunks())
        return mean, squares / self.size


class SplitScores(NamedTuple):
    """The scores of positive and of negative pairs, of the same floating dtype.

    Attributes:
        positive: Scores of the pairs of the same class.
        negative: Scores of the pairs of different classes.
    """

    positive: Ranked
    negative: Ranked

    def error_counts(self, threshold: float) -> tuple[int, int]:
        """Count the false matches and the false non-matches at a threshold."""
        return int(self.negative.matches(threshold)), self.positive.size - int(self.positive.matches(threshold))

    def lowest_above(self, score: float) -> float | None:
        """Return the lowest score of either kind that is higher than one that the dtype holds exactly."""
        higher = (scores.above(score).values for scores in self)
        return min((float(values[0]) for values in higher if values.size), default=None)

    def highest_reaching(self, difference: float) -> float:
        """Return the highest score with FMR - FNMR of at least `difference`, by binary search; -inf where none is."""
        # Times P * M, so that it is a whole number and exact. It never falls as the threshold falls.
        needed = difference * self.positive.size * self.negative.size

        def falls_short(threshold: float) -> bool:
            false_matches, false_non_matches = self.error_counts(threshold)
            return false_matches * self.positive.size - false_non_matches * self.negative.size < needed

        best = -math.inf
        for scores in self:
            num_reaching = bisect.bisect_left(scores.values, True, key=falls_short)
            best = max(best, float(scores.values[num_reaching - 1]) if num_reaching else -math.inf)
        return best


def sort_by_target(scores: Float64Array, same: BoolArray) -> SplitScores:
    """Separate scores without NaN by target and sort them."""
    with np.errstate(over="ignore"):
        narrow = scores.astype(np.float32)
    exact = bool(np.array_equal(narrow, scores))  # most scores were float32, which are sorted in half the time
    split = [sort(narrow[wanted] if exact else scores[wanted]) for wanted in (same, ~same)]
    return SplitScores(*(Ranked(values.astype(np.float64, copy=False)) for values in split))


def sort(values: Scores) -> Scores:
    """Sort values in place, many of them in as many threads as PyTorch has, and return them."""
    threads = min(torch.get_num_threads(), values.size // CHUNK)
    if threads < 2:
        values.sort()
        return values
    ends = [values.size * number // threads for number in range(threads + 1)]
    values.partition(ends[1:-1])  # then each part can be sorted by itself
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(np.ndarray.sort, [values[start:end] for start, end in itertools.pairwise(ends)]):
            pass
    return values


def ratio(count: float, total: int) -> float:
    """Divide; NaN for a total of 0."""
    return count / total if total else math.nan


def weighted_sum(terms: Float64Array, counts: IntArray | None) -> float:
    """Add up terms, each as often as it counts; once without counts."""
    return float(terms.sum() if counts is None else terms @ counts)


def round_up(thresholds: float | Float64Array, dtype: np.dtype[np.floating[Any]]) -> Scores:
    """Return the lowest value of a dtype that is at least each threshold.

    Scores of that dtype compare with it as with the threshold itself, and need not be converted to float64 for it.
    """
    exact = np.asarray(thresholds, dtype=np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(dtype)
        above = np.nextafter(rounded, dtype.type(np.inf))
    return np.where(rounded.astype(np.float64) >= exact, rounded, above)
