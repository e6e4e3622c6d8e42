"""The error where the false match rate equals the false non-match rate."""

from __future__ import annotations

import bisect
import math

from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores, error_counts, lowest_above


@pair_metric
def equal_error_rate(pairs: SplitScores) -> float:
    """Compute the equal error rate: the error where FMR = FNMR.

    The points of `roc_curve` are joined by straight lines; the result is the error at which that line crosses FMR =
    FNMR. So it may lie between what two thresholds attain.

    Args:
        pairs: Scores of positive and negative pairs.

    Returns:
        The rate in [0, 1]; NaN without positive or without negative pairs.

    Example:
        >>> equal_error_rate([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        0.5

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting.
    """
    return equal_error(pairs)[0]


def equal_error(pairs: SplitScores) -> tuple[float, float]:
    """Return the equal error rate, and the score that is the threshold with FMR and FNMR nearest to each other."""
    positive, negative = pairs
    if not (positive.size and negative.size):
        return math.nan, math.nan
    # The crossing lies on the step from the point `before` to the point `after`. The lowest score of all has FMR 1 and
    # FNMR 0, so `after` exists; `before` may be the point where nothing matches.
    after_score = highest_reaching(pairs, 0)
    before_score = lowest_above(pairs, after_score)
    after = error_counts(pairs, after_score)
    before = (0, positive.size) if before_score is None else error_counts(pairs, before_score)
    excess_after, excess_before = (fm * positive.size - fnm * negative.size for fm, fnm in (after, before))
    share = -excess_before / (excess_after - excess_before)
    rate = (before[0] + (after[0] - before[0]) * share) / negative.size
    return rate, after_score if before_score is None or excess_after <= -excess_before else before_score


def highest_reaching(pairs: SplitScores, difference: float) -> float:
    """Return the highest score at which FMR - FNMR is at least `difference`, by binary search; -inf where none is."""
    positive, negative = pairs
    # Times P * M, so that it is a whole number and exact. It never falls as the threshold falls.
    needed = difference * positive.size * negative.size

    def falls_short(threshold: float) -> bool:
        false_matches, false_non_matches = error_counts(pairs, threshold)
        return false_matches * positive.size - false_non_matches * negative.size < needed

    best = -math.inf
    for scores in (positive.values, negative.values):
        num_reaching = bisect.bisect_left(scores, True, key=falls_short)
        best = max(best, float(scores[num_reaching - 1]) if num_reaching else -math.inf)
    return best
