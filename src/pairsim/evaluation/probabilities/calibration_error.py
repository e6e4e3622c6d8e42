"""Bins of probabilities, and how far they are from the share of positive pairs."""

from __future__ import annotations

import numpy as np

from pairsim._common.arrays import Float64Array, check_count
from pairsim.evaluation.pairs.pair_metric import probability_metric
from pairsim.evaluation.pairs.ranked import IntArray, SplitScores, ToProbability, ratio


@probability_metric
def expected_calibration_error(pairs: SplitScores, probability: ToProbability, num_bins: int = 15) -> float:
    """Compute the mean distance between probabilities and the share of positive pairs among the pairs that have them.

    [0, 1] is cut into `num_bins` bins of equal width, bin `floor(p * num_bins)`, the last one with its right end 1. The
    result is the sum over bins of (share of the pairs in it) x `|mean probability - share of positive pairs|`.
    It is the probability of "same class" that is binned, not the confidence in the decision.

    Args:
        pairs: Scores of positive and negative pairs.
        probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.
        num_bins: Number of bins, at least 1. The figure depends on it; compare like with like.

    Returns:
        The error in [0, 1], lower is better; NaN for no pairs.

    Raises:
        ValueError: If `num_bins` is not a whole number of at least 1.

    Example:
        >>> round(expected_calibration_error([0.8, 0.8, 0.8, 0.1], [1, 1, 0, 0]), 4)
        0.125

    References:
        M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
        AAAI 2015.
    """
    return mean_gap(*calibration_bins(pairs, probability, num_bins))


def mean_gap(mean: Float64Array, rate: Float64Array, counts: IntArray) -> float:
    """Return the mean over pairs of |mean probability - share of positive pairs| of their bin."""
    filled = counts > 0
    return ratio(float((np.abs(mean - rate)[filled] * counts[filled]).sum()), int(counts.sum()))


def calibration_bins(
    pairs: SplitScores, probability: ToProbability, num_bins: int
) -> tuple[Float64Array, Float64Array, IntArray]:
    """Return mean probability, share of positive pairs and number of pairs of each bin; NaN where a bin is empty."""
    check_count(num_bins, "num_bins", 1, 15)
    filled = np.zeros((2, num_bins), dtype=np.int64)
    sums = np.zeros(num_bins)
    for row, scores in enumerate((pairs.negative, pairs.positive)):
        for probabilities, counts in scores.probability_chunks(probability):
            bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
            # As floats, the counts are exact below 2^53.
            filled[row] += np.bincount(bins, weights=counts, minlength=num_bins).astype(np.int64)
            weights = probabilities if counts is None else probabilities * counts
            sums += np.bincount(bins, weights=weights, minlength=num_bins)
    totals = filled.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return sums / totals, filled[1] / totals, totals
