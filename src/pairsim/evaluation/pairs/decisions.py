"""How often decisions at one threshold are right, for given pairs.

A pair is called a match when `score >= threshold`; **target 1 = same class**.
"""

from __future__ import annotations

from pairsim._common.arrays import Values
from pairsim.evaluation.pairs import ranked as _sorted


def accuracy(scores: Values, targets: Values, threshold: float) -> float:
    """Compute the share of pairs that are decided rightly.

    It depends on the share of positive pairs: with 1 in 10, "never a match" is right 90 % of the time. Prefer
    `balanced_accuracy` or `fmr_fnmr` to compare sets.

    Args:
        scores: One score per pair `[P]`, higher = more alike.
        targets: One target per pair `[P]`, 1 = same class.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        The share in [0, 1]; NaN for no pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score or the threshold is NaN.

    Example:
        >>> accuracy([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.5)
        0.5
    """
    return _sorted.accuracy(*_sorted.split(scores, targets), threshold)


def balanced_accuracy(scores: Values, targets: Values, threshold: float) -> float:
    """Compute 1 - (FMR + FNMR) / 2: accuracy with positive and negative pairs weighing one half each.

    Args:
        scores: One score per pair `[P]`, higher = more alike.
        targets: One target per pair `[P]`, 1 = same class.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        The figure in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score or the threshold is NaN.

    Example:
        >>> balanced_accuracy([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.3)
        0.75

    References:
        K. H. Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.
    """
    return _sorted.balanced_accuracy(*_sorted.split(scores, targets), threshold)


def fmr_fnmr(scores: Values, targets: Values, threshold: float) -> tuple[float, float]:
    """Compute the false match rate and the false non-match rate at a threshold.

    Args:
        scores: One score per pair `[P]`, higher = more alike.
        targets: One target per pair `[P]`, 1 = same class.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        FMR and FNMR, each in [0, 1]; NaN where there are no negative, or no positive, pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score or the threshold is NaN.

    Example:
        >>> fmr_fnmr([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.3)
        (0.5, 0.0)

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting.
    """
    return _sorted.fmr_fnmr(*_sorted.split(scores, targets), threshold)
