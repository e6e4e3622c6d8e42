"""The area under the ROC curve at low false match rates."""

from __future__ import annotations

import math

from pairsim._common.arrays import check_fraction
from pairsim.evaluation.curves.roc_auc import count_twice_below
from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores, count_matches


@pair_metric
def partial_roc_auc(pairs: SplitScores, max_fmr: float) -> float:
    """Compute the area under the ROC curve from FMR 0 to `max_fmr`, standardised to 1/2 for chance and 1 for no error.

    With A the area under the straight-line curve up to `max_fmr = m`, it is 1/2 (1 + (A - m^2/2) / (m - m^2/2)), which
    is what scikit-learn's `roc_auc_score(..., max_fpr=m)` gives. At m = 1 it is `roc_auc`. The last stretch is
    interpolated where m falls between two points; `fnmr_at_fmr` is the figure without interpolation.

    Args:
        pairs: Scores of positive and negative pairs.
        max_fmr: Highest false match rate of interest, in (0, 1].

    Returns:
        The figure, at most 1; below 1/2 where the curve runs below the diagonal, and never below (1 - m) / (2 - m), so
        not below 0. NaN without positive or without negative pairs.

    Raises:
        ValueError: If `max_fmr` is outside (0, 1].

    Example:
        >>> round(partial_roc_auc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], max_fmr=0.5), 4)
        0.6667

    References:
        D. K. McClish, Analyzing a portion of the ROC curve, Medical Decision Making 9, 1989.
    """
    positive, negative = pairs
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
    twice = 2 * positive.size * above.size - count_twice_below(above, positive)
    share = (reached - above.size) / tied
    before, after = positive.above(score).size, int(count_matches(positive, score))
    area = twice / 2 + tied * share * (before + (after - before) * share / 2)
    # The area below the diagonal is limit^2 / 2, that without an error is limit.
    diagonal = limit * limit / 2
    return 0.5 * (1.0 + (area / (positive.size * negative.size) - diagonal) / (limit - diagonal))
