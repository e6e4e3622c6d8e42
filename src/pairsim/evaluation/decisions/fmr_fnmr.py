"""The two error rates at a threshold."""

from __future__ import annotations

from pairsim._common.arrays import check_threshold
from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores, error_counts, ratio


@pair_metric
def fmr_fnmr(pairs: SplitScores, threshold: float) -> tuple[float, float]:
    """Compute the false match rate and the false non-match rate at a threshold.

    Args:
        pairs: Scores of positive and negative pairs.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        FMR and FNMR, each in [0, 1]; NaN where there are no negative, or no positive, pairs.

    Raises:
        ValueError: If the threshold is NaN.

    Example:
        >>> fmr_fnmr([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.3)
        (0.5, 0.0)

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting.
    """
    false_matches, false_non_matches = error_counts(pairs, check_threshold(threshold))
    return ratio(false_matches, pairs.negative.size), ratio(false_non_matches, pairs.positive.size)
