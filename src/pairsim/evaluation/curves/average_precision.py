"""The average precision."""

from __future__ import annotations

import math

from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores, ratio, weighted_sum


@pair_metric
def average_precision(pairs: SplitScores) -> float:
    """Compute the sum over thresholds of (gain in recall) x precision, as scikit-learn does.

    There is no interpolation. The figure depends on the share of positive pairs, unlike the area under the ROC curve.

    Args:
        pairs: Scores of positive and negative pairs.

    Returns:
        The figure in [0, 1]; 1 without negative pairs, NaN without positive pairs.

    Example:
        >>> average_precision([0.9, 0.4, 0.6, 0.1], [1, 0, 1, 0])
        1.0

    References:
        C. D. Manning, P. Raghavan, H. Schütze, Introduction to Information Retrieval, chapter 8, 2008.
    """
    positive, negative = pairs
    sums = []
    for values, counts in positive.chunks():
        matches = positive.size - positive.below(values)
        false_matches = negative.size - negative.below(values)
        sums.append(weighted_sum(matches / (matches + false_matches), counts))
    return ratio(math.fsum(sums), positive.size)
