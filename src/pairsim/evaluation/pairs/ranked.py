"""Every figure, once, on two sets of scores in ascending order: those of positive and of negative pairs.

In order, a rate at a threshold is one binary search, and nothing of the size of all pairs has to be built. Scores may
stand one by one or as distinct values with counts: see `Ranked`.
A pair is called a match when its score is at least the threshold. A rate over no pairs is NaN.
Arguments called `positive` and `negative` have scores of the same floating dtype.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import (
    Float64Array,
    Values,
    check_fraction,
    check_probabilities,
    check_threshold,
    scores_and_targets,
)

IntArray: TypeAlias = npt.NDArray[np.int64]
Scores: TypeAlias = npt.NDArray[np.floating[Any]]
ToProbability: TypeAlias = Callable[[Float64Array], Float64Array]

CHUNK = 1 << 20  # Scores handled at once: large enough to hide the loop, small enough to stay in the caches nearby.


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
        """Take ascending distinct values with their counts; values that count 0 are left out."""
        seen = counts > 0
        return cls(values[seen], np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts[seen])]))

    @property
    def size(self) -> int:
        """Number of scores."""
        return int(self.values.size if self.before is None else self.before[-1])

    def below(self, scores: Scores | np.floating[Any], *, or_equal: bool = False) -> IntArray:
        """Count the scores below (or equal to) each of some of the same dtype; another dtype would be copied."""
        places = np.searchsorted(self.values, scores, side="right" if or_equal else "left")
        return np.asarray(places if self.before is None else self.before[places])

    def at(self, ranks: IntArray | int) -> Scores:
        """Return the scores of some ranks, 0 the lowest."""
        places = ranks if self.before is None else np.searchsorted(self.before, ranks, side="right") - 1
        return np.asarray(self.values[places])

    def above(self, score: float) -> Ranked:
        """Return the scores above one that the dtype holds exactly."""
        place = int(np.searchsorted(self.values, self.values.dtype.type(score), side="right"))
        before = self.before
        return Ranked(self.values[place:], None if before is None else before[place:] - before[place])

    def chunks(self) -> Iterator[tuple[Scores, IntArray | None]]:
        """Yield values and their counts, or None where each value counts once."""
        for start in range(0, self.values.size, CHUNK):
            counts = None if self.before is None else np.diff(self.before[start : start + CHUNK + 1])
            yield self.values[start : start + CHUNK], counts


def split(scores: Values, targets: Values, name: str = "scores") -> tuple[Ranked, Ranked]:
    """Separate checked scores by target and sort them; see `scores_and_targets` for what is accepted."""
    values, same = scores_and_targets(scores, targets, name)
    return Ranked(np.sort(values[same])), Ranked(np.sort(values[~same]))


def ratio(count: float, total: int) -> float:
    """Divide, with NaN for a share of nothing."""
    return count / total if total else math.nan


def _total(terms: Float64Array, counts: IntArray | None) -> float:
    return float(terms.sum() if counts is None else terms @ counts)


def _total_ranks(ranks: IntArray, counts: IntArray | None) -> int:
    if counts is None:
        return int(ranks.sum())
    # Exact: in two parts, the sum of the products stays below 2^63 for up to 2^39 pairs.
    return (int((ranks >> 24) @ counts) << 24) + int((ranks & 0xFFFFFF) @ counts)


def round_up(thresholds: float | Float64Array, dtype: np.dtype[np.floating[Any]]) -> Scores:
    """Return the lowest value of a dtype that is at least each threshold.

    Scores of that dtype compare with it as with the threshold itself, and need not be converted to float64 for it.
    """
    exact = np.asarray(thresholds, dtype=np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(dtype)
    return np.where(rounded.astype(np.float64) >= exact, rounded, np.nextafter(rounded, dtype.type(np.inf)))


def count_matches(scores: Ranked, thresholds: float | Float64Array) -> IntArray:
    """Count the scores of at least each threshold, of the shape of the thresholds."""
    return scores.size - scores.below(round_up(thresholds, scores.values.dtype))


def error_counts(positive: Ranked, negative: Ranked, threshold: float) -> tuple[int, int]:
    """Count false matches and false non-matches at a threshold."""
    return int(count_matches(negative, threshold)), positive.size - int(count_matches(positive, threshold))


def fmr_fnmr(positive: Ranked, negative: Ranked, threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR at a threshold."""
    false_matches, false_non_matches = error_counts(positive, negative, check_threshold(threshold))
    return ratio(false_matches, negative.size), ratio(false_non_matches, positive.size)


def accuracy(positive: Ranked, negative: Ranked, threshold: float) -> float:
    """Return the share of right decisions at a threshold."""
    total = positive.size + negative.size
    return ratio(total - sum(error_counts(positive, negative, check_threshold(threshold))), total)


def balanced_accuracy(positive: Ranked, negative: Ranked, threshold: float) -> float:
    """Return 1 - (FMR + FNMR) / 2 at a threshold."""
    return 1.0 - sum(fmr_fnmr(positive, negative, threshold)) / 2


def roc_auc(positive: Ranked, negative: Ranked) -> float:
    """Return P(positive score > negative score) + P(equal) / 2, counted in whole numbers."""
    return ratio(_twice_below(positive, negative), 2 * positive.size * negative.size)


def _twice_below(scores: Ranked, others: Ranked) -> int:
    """Count the pairs of a score and a lower other score, twice, and once those of equal scores."""
    twice = 0
    for values, counts in scores.chunks():
        twice += _total_ranks(others.below(values), counts)
        twice += _total_ranks(others.below(values, or_equal=True), counts)
    return twice


def partial_roc_auc(positive: Ranked, negative: Ranked, max_fmr: float) -> float:
    """Return the area under the ROC curve up to an FMR, standardised: 1 for no error, 1/2 for the diagonal."""
    limit = check_fraction(max_fmr, "max_fmr")
    if limit == 0.0:
        raise ValueError(
            "Expected max_fmr above 0, got 0.0: there is no area there. Use fnmr_at_fmr(scores, targets, 0.0), or 0.01."
        )
    if not (positive.size and negative.size):
        return math.nan
    # The curve rises in straight lines, one for each group of tied negatives. Those above the score at which FMR passes
    # the limit count whole, as in roc_auc; of the line at that score, the part below the limit. The area is continuous
    # in the limit, so that it does not matter on which side of a whole number the product is rounded.
    reached = limit * negative.size
    score = float(negative.at(negative.size - 1 - min(int(reached), negative.size - 1)))
    above = negative.above(score)
    tied = int(count_matches(negative, score)) - above.size
    twice = 2 * positive.size * above.size - _twice_below(above, positive)
    share = (reached - above.size) / tied
    before, after = positive.above(score).size, int(count_matches(positive, score))
    area = twice / 2 + tied * share * (before + (after - before) * share / 2)
    # The diagonal has limit^2 / 2 below it, no error at all limit.
    least = limit * limit / 2
    return 0.5 * (1.0 + (area / (positive.size * negative.size) - least) / (limit - least))


def d_prime(positive: Ranked, negative: Ranked) -> float:
    """Return the difference of means over the root mean of variances."""
    if not (positive.size and negative.size):
        return math.nan
    # The figure does not depend on the scale; on this one no square overflows.
    scale = max(abs(float(scores.values[end])) for scores in (positive, negative) for end in (0, -1))
    if not 0.0 < scale < math.inf:
        return math.nan
    (mean_positive, variance_positive), (mean_negative, variance_negative) = (
        _moments(scores, scale) for scores in (positive, negative)
    )
    difference = mean_positive - mean_negative
    spread = math.sqrt((variance_positive + variance_negative) / 2)
    if spread == 0.0:
        return math.copysign(math.inf, difference) if difference else math.nan
    return difference / spread


def _moments(scores: Ranked, scale: float) -> tuple[float, float]:
    """Return mean and variance (over the number of scores, not one less) of scores divided by `scale`."""
    if scores.values[0] == scores.values[-1]:
        # The mean of equal numbers may be rounded to another, and then seem to vary.
        return float(scores.values[0]) / scale, 0.0
    unit = np.float64(scale)
    mean = math.fsum(_total(chunk / unit, counts) for chunk, counts in scores.chunks()) / scores.size
    squares = math.fsum(_total(np.square(chunk / unit - mean), counts) for chunk, counts in scores.chunks())
    return mean, squares / scores.size


def average_precision(positive: Ranked, negative: Ranked) -> float:
    """Return the precision at the score of each positive pair, averaged over the positive pairs."""
    sums = []
    for chunk, counts in positive.chunks():
        matches = positive.size - positive.below(chunk)
        false_matches = negative.size - negative.below(chunk)
        sums.append(_total(matches / (matches + false_matches), counts))
    return ratio(math.fsum(sums), positive.size)


def curve(
    positive: Ranked, negative: Ranked, max_points: int | None
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return FMR, FNMR and thresholds, from 'nothing matches' to 'everything matches'."""
    if max_points is None:
        chosen = np.concatenate([positive.values, negative.values])
    else:
        # Ranks in geometric steps from the small end of either error: as fine at FMR 1e-6 as at 0.1, on any axis.
        if max_points < 5:
            raise ValueError(f"Expected max_points to be None or at least 5, got {max_points}. Use 1000, say.")
        each = (max_points - 1) // 2
        from_below, from_above = _ranks(positive.size, each) - 1, negative.size - _ranks(negative.size, each)
        chosen = np.concatenate([positive.at(from_below), negative.at(from_above)])
    thresholds = np.unique(chosen)[::-1]
    with np.errstate(invalid="ignore"):
        fmr = np.concatenate([[0], negative.size - negative.below(thresholds)]) / np.float64(negative.size)
        fnmr = np.concatenate([[positive.size], positive.below(thresholds)]) / np.float64(positive.size)
    return fmr, fnmr, np.concatenate([[np.inf], thresholds.astype(np.float64)])


def _ranks(size: int, count: int) -> IntArray:
    if size == 0:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.rint(np.geomspace(1, size, min(count, size))).astype(np.int64))


def highest_reaching(positive: Ranked, negative: Ranked, difference: float) -> float:
    """Return the highest score at which FMR - FNMR is at least `difference`, by binary search; -inf where none is."""
    # Times P * M, so that it is a whole number and exact. It never falls as the threshold falls.
    needed = difference * positive.size * negative.size

    def falls_short(threshold: float) -> bool:
        false_matches, false_non_matches = error_counts(positive, negative, threshold)
        return false_matches * positive.size - false_non_matches * negative.size < needed

    best = -math.inf
    for scores in (positive.values, negative.values):
        reached = bisect.bisect_left(scores, True, key=falls_short)
        best = max(best, float(scores[reached - 1]) if reached else -math.inf)
    return best


def equal_error(positive: Ranked, negative: Ranked) -> tuple[float, float]:
    """Return the equal error rate and the score whose FMR and FNMR are nearest to each other."""
    if not (positive.size and negative.size):
        return math.nan, math.nan
    # The crossing lies on the step from the point `before` to the point `after`. The lowest score of all has FMR 1 and
    # FNMR 0, so `after` exists; `before` may be the point where nothing matches.
    after_score = highest_reaching(positive, negative, 0)
    before_score = _lowest_above(positive, negative, after_score)
    after = error_counts(positive, negative, after_score)
    before = (0, positive.size) if before_score is None else error_counts(positive, negative, before_score)
    excess_after, excess_before = (fm * positive.size - fnm * negative.size for fm, fnm in (after, before))
    share = -excess_before / (excess_after - excess_before)
    rate = (before[0] + (after[0] - before[0]) * share) / negative.size
    return rate, after_score if before_score is None or excess_after <= -excess_before else before_score


def _lowest_above(positive: Ranked, negative: Ranked, score: float) -> float | None:
    higher = (scores.above(score).values for scores in (positive, negative))
    return min((float(values[0]) for values in higher if values.size), default=None)


def at_fmr(positive: Ranked, negative: Ranked, fmr: float) -> tuple[float, float]:
    """Return the lowest attainable FNMR whose FMR is at most the target, and its threshold."""
    target = check_fraction(fmr, "fmr")
    if not (positive.size and negative.size):
        return math.nan, math.nan
    allowed = int(target * negative.size)
    # The product may be rounded to the other side of a whole number; what counts is the rate as it is reported.
    while allowed < negative.size and (allowed + 1) / negative.size <= target:
        allowed += 1
    while allowed / negative.size > target:
        allowed -= 1
    if allowed == negative.size:
        return 0.0, float(min(positive.values[0], negative.values[0]))
    highest_refused = float(negative.at(negative.size - 1 - allowed))
    matches = positive.above(highest_refused).size
    threshold = _lowest_above(positive, negative, highest_refused)
    if threshold is None:
        # Just above all scores; but no threshold refuses a negative pair that scores +inf.
        dtype = negative.values.dtype
        above = float(np.nextafter(dtype.type(highest_refused), dtype.type(np.inf)))
        threshold = above if highest_refused < math.inf else math.nan
    return (positive.size - matches) / positive.size, threshold


def _probabilities(scores: Ranked, to_probability: ToProbability) -> Iterator[tuple[Float64Array, IntArray | None]]:
    for number, (chunk, counts) in enumerate(scores.chunks()):
        probabilities = np.asarray(to_probability(chunk.astype(np.float64)), dtype=np.float64)
        if probabilities.shape != chunk.shape:
            raise ValueError(
                f"Expected one probability per score, shape {list(chunk.shape)}, got {list(probabilities.shape)}. "
                "Give a function that works element by element."
            )
        check_probabilities(probabilities, number * CHUNK)
        yield probabilities, counts


def log_loss_by_target(positive: Ranked, negative: Ranked, to_probability: ToProbability) -> tuple[float, float]:
    """Return the mean negative log-likelihood over positive and over negative pairs, in nats."""
    eps = float(np.finfo(np.float64).eps)
    hits = (-_total(np.log(np.clip(p, eps, 1 - eps)), n) for p, n in _probabilities(positive, to_probability))
    rejections = (-_total(np.log1p(-np.clip(p, eps, 1 - eps)), n) for p, n in _probabilities(negative, to_probability))
    return ratio(math.fsum(hits), positive.size), ratio(math.fsum(rejections), negative.size)


def log_loss(positive: Ranked, negative: Ranked, to_probability: ToProbability) -> float:
    """Return the mean negative log-likelihood of the targets, in nats."""
    losses = log_loss_by_target(positive, negative, to_probability)
    sums = [loss * kind.size for loss, kind in zip(losses, (positive, negative), strict=True) if kind.size]
    return ratio(sum(sums), positive.size + negative.size)


def brier_score(positive: Ranked, negative: Ranked, to_probability: ToProbability) -> float:
    """Return the mean squared difference of probability and target."""
    sums = [_total(np.square(1 - p), counts) for p, counts in _probabilities(positive, to_probability)]
    sums += [_total(np.square(p), counts) for p, counts in _probabilities(negative, to_probability)]
    return ratio(math.fsum(sums), positive.size + negative.size)


def calibration_bins(
    positive: Ranked, negative: Ranked, to_probability: ToProbability, num_bins: int
) -> tuple[Float64Array, Float64Array, IntArray]:
    """Return mean probability, positive rate and count of each equal-width bin; NaN where a bin is empty."""
    if isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 1:
        raise ValueError(f"Expected num_bins to be a whole number of at least 1, got {num_bins!r}. Use 15, say.")
    filled = np.zeros((2, num_bins), dtype=np.int64)
    sums = np.zeros(num_bins)
    for row, scores in enumerate((negative, positive)):
        for probabilities, counts in _probabilities(scores, to_probability):
            bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
            # As floats, the counts are exact below 2^53.
            filled[row] += np.bincount(bins, weights=counts, minlength=num_bins).astype(np.int64)
            weights = probabilities if counts is None else probabilities * counts
            sums += np.bincount(bins, weights=weights, minlength=num_bins)
    totals = filled.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return sums / totals, filled[1] / totals, totals


def expected_calibration_error(
    positive: Ranked, negative: Ranked, to_probability: ToProbability, num_bins: int
) -> float:
    """Return the mean over pairs of |mean probability - positive rate| of their bin."""
    mean, rate, counts = calibration_bins(positive, negative, to_probability, num_bins)
    filled = counts > 0
    return ratio(float((np.abs(mean - rate)[filled] * counts[filled]).sum()), int(counts.sum()))
