"""The area under the ROC curve."""

from __future__ import annotations

from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import IntArray, Ranked, SplitScores, ratio


@pair_metric
def roc_auc(pairs: SplitScores) -> float:
    """Compute the area under the ROC curve: P(positive > negative) + P(equal) / 2.

    Args:
        pairs: Scores of positive and negative pairs.

    Returns:
        The area in [0, 1]; NaN without positive or without negative pairs.

    Example:
        >>> roc_auc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        0.75

    References:
        H. B. Mann, D. R. Whitney, On a test of whether one of two random variables is stochastically larger than the
        other, Annals of Mathematical Statistics 18, 1947.
    """
    positive, negative = pairs
    return ratio(count_twice_below(positive, negative), 2 * positive.size * negative.size)


def count_twice_below(scores: Ranked, others: Ranked) -> int:
    """Count the pairs of a score and a lower other score, twice, and once those of equal scores."""
    twice = 0
    for values, counts in scores.chunks():
        twice += _sum_of_ranks(others.below(values), counts)
        twice += _sum_of_ranks(others.below(values, or_equal=True), counts)
    return twice


def _sum_of_ranks(ranks: IntArray, counts: IntArray | None) -> int:
    if counts is None:
        return int(ranks.sum())
    # Exact: in two parts, the sum of the products stays below 2^63 for up to 2^39 pairs.
    return (int((ranks >> 24) @ counts) << 24) + int((ranks & 0xFFFFFF) @ counts)
