"""Metrics over all thresholds: error curves, the areas under them, and the distance of the two kinds of scores.

FMR, the false match rate, is the share of negative pairs that match (FAR, false positive rate elsewhere); FNMR, the
false non-match rate, the share of positive pairs that do not (FRR, miss rate elsewhere).
"""

from __future__ import annotations

from pairsim._common.arrays import Values
from pairsim.evaluation.curves.roc_curve import RocCurve
from pairsim.evaluation.pairs.pair_scores import PairScores


def roc_curve(scores: Values, targets: Values) -> RocCurve:
    """Compute FMR and FNMR at every distinct score.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The curve, with one point more than there are distinct scores. FMR is NaN without negative pairs, FNMR without
        positive ones; empty input gives the first point alone, with both rates NaN.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> roc_curve([0.9, 0.4, 0.6], [1, 1, 0]).tmr.tolist()
        [0.0, 0.5, 0.5, 1.0]

    References:
        T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27, 2006.
    """
    return PairScores.from_scores(scores, targets).roc_curve()


def det_curve(scores: Values, targets: Values) -> RocCurve:
    """Compute the detection error trade-off: FNMR against FMR.

    The points are those of `roc_curve`; a DET plot differs from a ROC plot in its axes only (FNMR instead of TMR, both
    axes on a normal-deviate or logarithmic scale, where rates of 0 and 1 lie outside the plot).

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The curve; use its `fmr` and `fnmr`. NaN and empty input as in `roc_curve`.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> det_curve([0.9, 0.4, 0.6], [1, 1, 0]).fnmr.tolist()
        [1.0, 0.5, 0.5, 0.0]

    References:
        A. Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997.
    """
    return PairScores.from_scores(scores, targets).roc_curve()


def roc_auc(scores: Values, targets: Values) -> float:
    """Compute the area under the ROC curve: P(positive > negative) + P(equal) / 2.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The area in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> roc_auc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        0.75

    References:
        H. B. Mann, D. R. Whitney, On a test of whether one of two random variables is stochastically larger than the
        other, Annals of Mathematical Statistics 18, 1947.
    """
    return PairScores.from_scores(scores, targets).roc_auc()


def partial_roc_auc(scores: Values, targets: Values, max_fmr: float) -> float:
    """Compute the area under the ROC curve from FMR 0 to `max_fmr`, standardised to 1/2 for chance and 1 for no error.

    With A the area under the straight-line curve up to `max_fmr = m`, it is 1/2 (1 + (A - m^2/2) / (m - m^2/2)), which
    is what scikit-learn's `roc_auc_score(..., max_fpr=m)` gives. At m = 1 it is `roc_auc`. The last stretch is
    interpolated where m falls between two points; `fnmr_at_fmr` is the figure without interpolation.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        max_fmr: Highest false match rate of interest, in (0, 1].

    Returns:
        The figure, at most 1; below 1/2 where the curve runs below the diagonal, and never below (1 - m) / (2 - m), so
        not below 0. NaN without positive or without negative pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.
        ValueError: If `max_fmr` is outside (0, 1].

    Example:
        >>> round(partial_roc_auc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], max_fmr=0.5), 4)
        0.6667

    References:
        D. K. McClish, Analyzing a portion of the ROC curve, Medical Decision Making 9, 1989.
    """
    return PairScores.from_scores(scores, targets).partial_roc_auc(max_fmr)


def average_precision(scores: Values, targets: Values) -> float:
    """Compute the sum over thresholds of (gain in recall) x precision, as scikit-learn does.

    There is no interpolation. The figure depends on the share of positive pairs, unlike the area under the ROC curve.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The figure in [0, 1]; 1 without negative pairs, NaN without positive pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> average_precision([0.9, 0.4, 0.6, 0.1], [1, 0, 1, 0])
        1.0

    References:
        C. D. Manning, P. Raghavan, H. Schütze, Introduction to Information Retrieval, chapter 8, 2008.
    """
    return PairScores.from_scores(scores, targets).average_precision()


def d_prime(scores: Values, targets: Values) -> float:
    """Compute d' = (mean of positive - mean of negative scores) / sqrt((their variances added) / 2).

    The variances are over the number of scores, not one less. The figure depends on means and variances only: where
    scores are far from normal, so are conclusions from it. Unlike the figures of the ROC curve it changes under a
    monotone function of the scores. Some publications take the absolute value, which hides a reversed score; this is
    negative then.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The figure, any real number. Where neither kind varies it is +-infinity if the means differ, and NaN if they are
        equal. NaN without positive or without negative pairs, or if a score is infinite.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a score is NaN.

    Example:
        >>> d_prime([4.0, 2.0, 1.0, -1.0], [1, 1, 0, 0])
        3.0

    References:
        J. Daugman, Biometric decision landscapes, technical report UCAM-CL-TR-482, University of Cambridge, 2000.
    """
    return PairScores.from_scores(scores, targets).d_prime()
