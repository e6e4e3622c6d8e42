"""The accuracy with positive and negative pairs weighing one half each."""

from __future__ import annotations

from pairsim.evaluation.decisions.fmr_fnmr import fmr_fnmr
from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores


@pair_metric
def balanced_accuracy(pairs: SplitScores, threshold: float) -> float:
    """Compute 1 - (FMR + FNMR) / 2: accuracy with positive and negative pairs weighing one half each.

    Args:
        pairs: Scores of positive and negative pairs.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        The figure in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        ValueError: If the threshold is NaN.

    Example:
        >>> balanced_accuracy([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.3)
        0.75

    References:
        K. H. Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.
    """
    return 1.0 - sum(fmr_fnmr.of_pairs(pairs, threshold)) / 2
