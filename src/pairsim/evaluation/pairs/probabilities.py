"""How good probabilities of "same class" are, for given pairs.

These take probabilities in [0, 1], never similarities or logits, and apply no sigmoid. All of them depend on the share
of positive pairs: judge probabilities on pairs mixed as they will be in use.
"""

from __future__ import annotations

from pairsim._common.arrays import Float64Array, Values, check_probabilities, scores_and_targets
from pairsim.evaluation.pairs import ranked as _sorted


def _split(probabilities: Values, targets: Values) -> tuple[_sorted.Ranked, _sorted.Ranked]:
    # Checked in the order that was given, so that the message names an index that the caller knows.
    check_probabilities(scores_and_targets(probabilities, targets, "probabilities")[0])
    return _sorted.split(probabilities, targets, "probabilities")


def _unchanged(probabilities: Float64Array) -> Float64Array:
    return probabilities


def log_loss(probabilities: Values, targets: Values) -> float:
    """Compute the mean of -log(probability given to the true target), in nats.

    Probabilities are clipped to [eps, 1 - eps] with the eps of float64, 2.2e-16, as scikit-learn does for float64; a
    certain and wrong pair so costs 36.04. Lower is better; 0.693 is a coin's.

    Args:
        probabilities: Probability of "same class" per pair `[P]`, in [0, 1].
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
    return _sorted.log_loss(*_split(probabilities, targets), _unchanged)


def brier_score(probabilities: Values, targets: Values) -> float:
    """Compute the mean of (probability - target) squared.

    Args:
        probabilities: Probability of "same class" per pair `[P]`, in [0, 1].
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
    return _sorted.brier_score(*_split(probabilities, targets), _unchanged)


def expected_calibration_error(probabilities: Values, targets: Values, num_bins: int = 15) -> float:
    """Compute the mean distance between what probabilities say and what then happens.

    [0, 1] is cut into `num_bins` bins of equal width, bin `floor(p * num_bins)`, the last one with its right end 1. The
    result is the sum over bins of (share of the pairs in it) x `|mean probability - share of positive pairs|`.
    It is the probability of "same class" that is binned, not the confidence in the decision.

    Args:
        probabilities: Probability of "same class" per pair `[P]`, in [0, 1].
        targets: One target per pair `[P]`, 1 = same class.
        num_bins: Number of bins, at least 1. The figure depends on it; compare like with like.

    Returns:
        The error in [0, 1], lower is better; NaN for no pairs.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a target is not 0 or 1, a probability is NaN or outside [0, 1], or `num_bins` is
            not a whole number of at least 1.

    Example:
        >>> round(expected_calibration_error([0.8, 0.8, 0.8, 0.1], [1, 1, 0, 0]), 4)
        0.125

    References:
        M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
        AAAI 2015.
    """
    return _sorted.expected_calibration_error(*_split(probabilities, targets), _unchanged, num_bins)
