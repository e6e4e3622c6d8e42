"""Metrics of decisions at one threshold; FMR and FNMR are the false match rate and the false non-match rate."""

from __future__ import annotations

from pairsim._common.arrays import Values
from pairsim.evaluation.pairs.pair_scores import PairScores


def accuracy(scores: Values, targets: Values, threshold: float) -> float:
    """Compute the share of pairs that are decided rightly.

    It depends on the share of positive pairs: with 1 in 10, "never a match" is right 90 % of the time. Prefer
    `balanced_accuracy` or `fmr_fnmr` to compare sets.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        The share in [0, 1]; NaN for no pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
        ValueError: If the threshold is NaN.

    Example:
        >>> accuracy([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.5)
        0.5
    """
    return PairScores.from_scores(scores, targets).accuracy(threshold)


def balanced_accuracy(scores: Values, targets: Values, threshold: float) -> float:
    """Compute 1 - (FMR + FNMR) / 2: accuracy with positive and negative pairs weighing one half each.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        The figure in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
        ValueError: If the threshold is NaN.

    Example:
        >>> balanced_accuracy([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.3)
        0.75

    References:
        K. H. Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010.
    """
    return PairScores.from_scores(scores, targets).balanced_accuracy(threshold)


def fmr_fnmr(scores: Values, targets: Values, threshold: float) -> tuple[float, float]:
    """Compute the false match rate and the false non-match rate at a threshold.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        threshold: A pair with at least this score is called a match; infinities are fine.

    Returns:
        FMR and FNMR, each in [0, 1]; NaN where there are no negative, or no positive, pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
        ValueError: If the threshold is NaN.

    Example:
        >>> fmr_fnmr([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.3)
        (0.5, 0.0)

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting.
    """
    return PairScores.from_scores(scores, targets).fmr_fnmr(threshold)


def equal_error_rate(scores: Values, targets: Values) -> float:
    """Compute the equal error rate: the error where FMR = FNMR.

    The points of `roc_curve` are joined by straight lines; the result is the error at which that line crosses FMR =
    FNMR. So it may lie between what two thresholds attain.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The rate in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> equal_error_rate([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        0.5

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting.
    """
    return PairScores.from_scores(scores, targets).equal_error_rate()


def fnmr_at_fmr(scores: Values, targets: Values, fmr: float = 0.001) -> float:
    """Compute the lowest FNMR that a threshold attains while its FMR is at most `fmr`.

    There is no interpolation: the figure is what a user of that threshold gets on these pairs. With fewer than `1 /
    fmr` negative pairs it is the FNMR at no false match at all. Rejecting every pair (FNMR 1) always counts as
    attainable.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        fmr: Highest false match rate allowed, in [0, 1].

    Returns:
        The rate in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
        ValueError: If `fmr` is outside [0, 1].

    Example:
        >>> fnmr_at_fmr([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], fmr=0.1)
        0.5
    """
    return PairScores.from_scores(scores, targets).fnmr_at_fmr(fmr)
