"""The distance of the scores of positive and negative pairs in standard deviations."""

from __future__ import annotations

import math

from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores


@pair_metric
def d_prime(pairs: SplitScores) -> float:
    """Compute d' = (mean of positive - mean of negative scores) / sqrt((their variances added) / 2).

    The variances are over the number of scores, not one less. The figure depends on means and variances only: where
    scores are far from normal, so are conclusions from it. Unlike the figures of the ROC curve it changes under a
    monotone function of the scores. Some publications take the absolute value, which hides a reversed score; this is
    negative then.

    Args:
        pairs: Scores of positive and negative pairs.

    Returns:
        The figure, any real number. Where neither kind varies it is +-infinity if the means differ, and NaN if they are
        equal. NaN without positive or without negative pairs, or if a score is infinite.

    Example:
        >>> d_prime([4.0, 2.0, 1.0, -1.0], [1, 1, 0, 0])
        3.0

    References:
        J. Daugman, Biometric decision landscapes, technical report UCAM-CL-TR-482, University of Cambridge, 2000.
    """
    if not (pairs.positive.size and pairs.negative.size):
        return math.nan
    # The figure does not depend on the scale; on this one no square overflows.
    scale = max(abs(float(scores.values[end])) for scores in pairs for end in (0, -1))
    if not 0.0 < scale < math.inf:
        return math.nan
    mean_positive, variance_positive = pairs.positive.moments(scale)
    mean_negative, variance_negative = pairs.negative.moments(scale)
    difference = mean_positive - mean_negative
    spread = math.sqrt((variance_positive + variance_negative) / 2)
    if spread == 0.0:
        return math.copysign(math.inf, difference) if difference else math.nan
    return difference / spread
