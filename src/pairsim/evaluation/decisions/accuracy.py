"""The share of right decisions."""

from __future__ import annotations

from pairsim._common.arrays import check_threshold
from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores, error_counts, ratio


@pair_metric
def accuracy(pairs: SplitScores, threshold: float) -> float:
    """Compute the share of pairs that are decided rightly.

    It depends on the share of positive pairs: with 1 in 10, "never a match" is right 90 % of the time. Prefer
    `balanced_accuracy` or `fmr_fnmr` to compare sets.

    Args:
        pairs: Scores of positive and negative pairs.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        The share in [0, 1]; NaN for no pairs.

    Raises:
        ValueError: If the threshold is NaN.

    Example:
        >>> accuracy([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.5)
        0.5
    """
    total = pairs.positive.size + pairs.negative.size
    return ratio(total - sum(error_counts(pairs, check_threshold(threshold))), total)
