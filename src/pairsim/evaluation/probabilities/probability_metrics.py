"""Metrics of probabilities of "same class"."""

from __future__ import annotations

from pairsim._common.arrays import Float64Array, Values, check_probabilities, scores_and_targets
from pairsim.evaluation.pairs.pair_scores import PairScores
from pairsim.evaluation.pairs.ranked import sort_by_target


def log_loss(scores: Values, targets: Values) -> float:
    """Compute the mean of -log(probability given to the true target), in nats.

    Probabilities are clipped to [eps, 1 - eps] with the eps of float64, 2.2e-16, as scikit-learn does for float64; a
    certain and wrong pair so costs 36.04. Lower is better; 0.693 is a coin's.

    Args:
        scores: Probability of "same class" per pair `[P]`, in [0, 1].
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The loss, at least 0; NaN for no pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> round(log_loss([0.9, 0.2], [1, 0]), 4)
        0.1643

    References:
        I. J. Good, Rational decisions, Journal of the Royal Statistical Society B 14, 1952.
    """
    return _pairs(scores, targets).log_loss(_unchanged)


def brier_score(scores: Values, targets: Values) -> float:
    """Compute the mean of (probability - target) squared.

    Args:
        scores: Probability of "same class" per pair `[P]`, in [0, 1].
        targets: One target per pair `[P]`, 1 = same class.

    Returns:
        The score in [0, 1], lower is better; NaN for no pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a probability is NaN or outside [0, 1].

    Example:
        >>> round(brier_score([0.9, 0.2], [1, 0]), 4)
        0.025

    References:
        G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.
    """
    return _pairs(scores, targets).brier_score(_unchanged)


def expected_calibration_error(scores: Values, targets: Values, num_bins: int = 15) -> float:
    """Compute the mean distance between probabilities and the share of positive pairs among the pairs that have them.

    [0, 1] is cut into `num_bins` bins of equal width, bin `floor(p * num_bins)`, the last one with its right end 1. The
    result is the sum over bins of (share of the pairs in it) x `|mean probability - share of positive pairs|`.
    It is the probability of "same class" that is binned, not the confidence in the decision.

    Args:
        scores: Probability of "same class" per pair `[P]`, in [0, 1].
        targets: One target per pair `[P]`, 1 = same class.
        num_bins: Number of bins, at least 1. The figure depends on it; compare like with like.

    Returns:
        The error in [0, 1], lower is better; NaN for no pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, or a probability is NaN or outside [0, 1].
        ValueError: If `num_bins` is not a whole number of at least 1.

    Example:
        >>> round(expected_calibration_error([0.8, 0.8, 0.8, 0.1], [1, 1, 0, 0]), 4)
        0.125

    References:
        M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
        AAAI 2015.
    """
    return _pairs(scores, targets).expected_calibration_error(_unchanged, num_bins)


def _pairs(probabilities: Values, targets: Values) -> PairScores:
    values, same = scores_and_targets(probabilities, targets, "probabilities")
    # In the order of the input, so that the message gives an index of it.
    check_probabilities(values)
    return PairScores(*(scores.values for scores in sort_by_target(values, same)))


def _unchanged(probabilities: Float64Array) -> Float64Array:
    return probabilities
