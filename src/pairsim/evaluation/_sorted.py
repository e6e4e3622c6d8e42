"""Every figure, once, on two ascending arrays: the scores of positive and of negative pairs.

With both sorted, a rate at a threshold is one binary search, and nothing of the size of all pairs has to be built.
A pair is called a match when its score is at least the threshold. A rate over no pairs is NaN.
Arguments called `positive` and `negative` are ascending, without NaN, and of one floating dtype.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pairsim.evaluation._inputs import (
    Float64Array,
    Values,
    check_fraction,
    check_probabilities,
    check_threshold,
    scores_and_targets,
)

Scores: TypeAlias = npt.NDArray[np.floating[Any]]
ToProbability: TypeAlias = Callable[[Float64Array], Float64Array]

CHUNK = 1 << 20  # Scores handled at once: large enough to hide the loop, small enough to stay in the caches nearby.


def split(scores: Values, targets: Values, name: str = "scores") -> tuple[Float64Array, Float64Array]:
    """Separate checked scores by target and sort them; see `scores_and_targets` for what is accepted."""
    values, same = scores_and_targets(scores, targets, name)
    return np.sort(values[same]), np.sort(values[~same])


def ratio(count: float, total: int) -> float:
    """Divide, with NaN for a share of nothing."""
    return count / total if total else math.nan


def _chunks(values: Scores) -> Iterator[Scores]:
    for start in range(0, values.size, CHUNK):
        yield values[start : start + CHUNK]


def rounded_up(threshold: float, dtype: np.dtype[np.floating[Any]]) -> np.floating[Any]:
    """Return the lowest value of a dtype that is at least the threshold.

    Scores of that dtype compare with it as with the threshold itself, and need not be widened for it.
    """
    with np.errstate(over="ignore"):
        cut = dtype.type(threshold)
    # As Python floats: NumPy would round the threshold to the dtype before it compares.
    return cut if float(cut) >= float(threshold) else np.nextafter(cut, dtype.type(np.inf))


def count_matches(scores: Scores, threshold: float) -> int:
    """Count the scores of at least the threshold."""
    return int(scores.size - np.searchsorted(scores, rounded_up(threshold, scores.dtype), side="left"))


def error_counts(positive: Scores, negative: Scores, threshold: float) -> tuple[int, int]:
    """Count false matches and false non-matches at a threshold."""
    return count_matches(negative, threshold), positive.size - count_matches(positive, threshold)


def fmr_fnmr(positive: Scores, negative: Scores, threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR at a threshold."""
    false_matches, false_non_matches = error_counts(positive, negative, check_threshold(threshold))
    return ratio(false_matches, negative.size), ratio(false_non_matches, positive.size)


def accuracy(positive: Scores, negative: Scores, threshold: float) -> float:
    """Return the share of right decisions at a threshold."""
    total = positive.size + negative.size
    return ratio(total - sum(error_counts(positive, negative, check_threshold(threshold))), total)


def balanced_accuracy(positive: Scores, negative: Scores, threshold: float) -> float:
    """Return 1 - (FMR + FNMR) / 2 at a threshold."""
    return 1.0 - sum(fmr_fnmr(positive, negative, threshold)) / 2


def roc_auc(positive: Scores, negative: Scores) -> float:
    """Return P(positive score > negative score) + P(equal) / 2, counted in whole numbers."""
    twice = 0
    for chunk in _chunks(positive):
        twice += int(np.searchsorted(negative, chunk, side="left").sum())
        twice += int(np.searchsorted(negative, chunk, side="right").sum())
    return ratio(twice, 2 * positive.size * negative.size)


def partial_roc_auc(positive: Scores, negative: Scores, max_fmr: float) -> float:
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
    score = float(negative[-1 - min(int(reached), negative.size - 1)])
    above = _count_above(negative, score)
    tied = count_matches(negative, score) - above
    twice = 2 * positive.size * above
    for chunk in _chunks(negative[negative.size - above :]):
        twice -= int(np.searchsorted(positive, chunk, side="left").sum())
        twice -= int(np.searchsorted(positive, chunk, side="right").sum())
    share = (reached - above) / tied
    before, after = _count_above(positive, score), count_matches(positive, score)
    area = twice / 2 + tied * share * (before + (after - before) * share / 2)
    # The diagonal has limit^2 / 2 below it, no error at all limit.
    least = limit * limit / 2
    return 0.5 * (1.0 + (area / (positive.size * negative.size) - least) / (limit - least))


def d_prime(positive: Scores, negative: Scores) -> float:
    """Return the difference of means over the root mean of variances."""
    if not (positive.size and negative.size):
        return math.nan
    # The figure does not depend on the scale; on this one no square overflows.
    scale = max(abs(float(scores[end])) for scores in (positive, negative) for end in (0, -1))
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


def _moments(scores: Scores, scale: float) -> tuple[float, float]:
    """Return mean and variance (over the number of scores, not one less) of scores divided by `scale`."""
    if scores[0] == scores[-1]:
        # The mean of equal numbers may be rounded to another, and then seem to vary.
        return float(scores[0]) / scale, 0.0
    mean = math.fsum(float((chunk / np.float64(scale)).sum()) for chunk in _chunks(scores)) / scores.size
    squares = math.fsum(float(np.square(chunk / np.float64(scale) - mean).sum()) for chunk in _chunks(scores))
    return mean, squares / scores.size


def average_precision(positive: Scores, negative: Scores) -> float:
    """Return the precision at the score of each positive pair, averaged over the positive pairs."""
    sums = []
    for chunk in _chunks(positive):
        matches = positive.size - np.searchsorted(positive, chunk, side="left")
        false_matches = negative.size - np.searchsorted(negative, chunk, side="left")
        sums.append(float((matches / (matches + false_matches)).sum()))
    return ratio(math.fsum(sums), positive.size)


def curve(
    positive: Scores, negative: Scores, max_points: int | None
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return FMR, FNMR and thresholds, from 'nothing matches' to 'everything matches'."""
    if max_points is None:
        chosen = np.concatenate([positive, negative])
    else:
        # Ranks in geometric steps from the small end of either error: as fine at FMR 1e-6 as at 0.1, on any axis.
        if max_points < 5:
            raise ValueError(f"Expected max_points to be None or at least 5, got {max_points}. Use 1000, say.")
        each = (max_points - 1) // 2
        chosen = np.concatenate([positive[_ranks(positive.size, each) - 1], negative[-_ranks(negative.size, each)]])
    thresholds = np.unique(chosen)[::-1]
    false_matches = negative.size - np.searchsorted(negative, thresholds, side="left")
    false_non_matches = np.searchsorted(positive, thresholds, side="left")
    with np.errstate(invalid="ignore"):
        fmr = np.concatenate([[0], false_matches]) / np.float64(negative.size)
        fnmr = np.concatenate([[positive.size], false_non_matches]) / np.float64(positive.size)
    return fmr, fnmr, np.concatenate([[np.inf], thresholds.astype(np.float64)])


def _ranks(size: int, count: int) -> npt.NDArray[np.int64]:
    if size == 0:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.rint(np.geomspace(1, size, min(count, size))).astype(np.int64))


def highest_reaching(positive: Scores, negative: Scores, difference: float) -> float:
    """Return the highest score at which FMR - FNMR is at least `difference`, by binary search; -inf where none is."""
    # Times P * M, so that it is a whole number and exact. It never falls as the threshold falls.
    needed = difference * positive.size * negative.size

    def falls_short(threshold: float) -> bool:
        false_matches, false_non_matches = error_counts(positive, negative, threshold)
        return false_matches * positive.size - false_non_matches * negative.size < needed

    best = -math.inf
    for scores in (positive, negative):
        reached = bisect.bisect_left(scores, True, key=falls_short)
        best = max(best, float(scores[reached - 1]) if reached else -math.inf)
    return best


def equal_error(positive: Scores, negative: Scores) -> tuple[float, float]:
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


def _lowest_above(positive: Scores, negative: Scores, score: float) -> float | None:
    counts = [(scores, _count_above(scores, score)) for scores in (positive, negative)]
    return min((float(scores[-count]) for scores, count in counts if count), default=None)


def _count_above(scores: Scores, score: float) -> int:
    return int(scores.size - np.searchsorted(scores, scores.dtype.type(score), side="right"))


def at_fmr(positive: Scores, negative: Scores, fmr: float) -> tuple[float, float]:
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
        return 0.0, float(min(positive[0], negative[0]))
    highest_refused = float(negative[-1 - allowed])
    matches = _count_above(positive, highest_refused)
    threshold = _lowest_above(positive, negative, highest_refused)
    if threshold is None:
        # Just above all scores; but no threshold refuses a negative pair that scores +inf.
        above = float(np.nextafter(negative.dtype.type(highest_refused), negative.dtype.type(np.inf)))
        threshold = above if highest_refused < math.inf else math.nan
    return (positive.size - matches) / positive.size, threshold


def _probabilities(scores: Scores, to_probability: ToProbability) -> Iterator[Float64Array]:
    for number, chunk in enumerate(_chunks(scores)):
        probabilities = np.asarray(to_probability(chunk.astype(np.float64)), dtype=np.float64)
        if probabilities.shape != chunk.shape:
            raise ValueError(
                f"Expected one probability per score, shape {list(chunk.shape)}, got {list(probabilities.shape)}. "
                "Give a function that works element by element."
            )
        check_probabilities(probabilities, number * CHUNK)
        yield probabilities


def log_loss(positive: Scores, negative: Scores, to_probability: ToProbability) -> float:
    """Return the mean negative log-likelihood of the targets, in nats."""
    eps = float(np.finfo(np.float64).eps)
    sums = [-float(np.log(np.clip(p, eps, 1 - eps)).sum()) for p in _probabilities(positive, to_probability)]
    sums += [-float(np.log1p(-np.clip(p, eps, 1 - eps)).sum()) for p in _probabilities(negative, to_probability)]
    return ratio(math.fsum(sums), positive.size + negative.size)


def brier_score(positive: Scores, negative: Scores, to_probability: ToProbability) -> float:
    """Return the mean squared difference of probability and target."""
    sums = [float(np.square(1 - p).sum()) for p in _probabilities(positive, to_probability)]
    sums += [float(np.square(p).sum()) for p in _probabilities(negative, to_probability)]
    return ratio(math.fsum(sums), positive.size + negative.size)


def calibration_bins(
    positive: Scores, negative: Scores, to_probability: ToProbability, num_bins: int
) -> tuple[Float64Array, Float64Array, npt.NDArray[np.int64]]:
    """Return mean probability, positive rate and count of each equal-width bin; NaN where a bin is empty."""
    if isinstance(num_bins, bool) or not isinstance(num_bins, int) or num_bins < 1:
        raise ValueError(f"Expected num_bins to be a whole number of at least 1, got {num_bins!r}. Use 15, say.")
    counts = np.zeros((2, num_bins), dtype=np.int64)
    sums = np.zeros(num_bins)
    for row, scores in enumerate((negative, positive)):
        for probabilities in _probabilities(scores, to_probability):
            bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
            counts[row] += np.bincount(bins, minlength=num_bins)
            sums += np.bincount(bins, weights=probabilities, minlength=num_bins)
    totals = counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return sums / totals, counts[1] / totals, totals


def expected_calibration_error(
    positive: Scores, negative: Scores, to_probability: ToProbability, num_bins: int
) -> float:
    """Return the mean over pairs of |mean probability - positive rate| of their bin."""
    mean, rate, counts = calibration_bins(positive, negative, to_probability, num_bins)
    filled = counts > 0
    return ratio(float((np.abs(mean - rate)[filled] * counts[filled]).sum()), int(counts.sum()))
