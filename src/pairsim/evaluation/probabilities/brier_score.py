"""The Brier score of probabilities."""

from __future__ import annotations

import math

import numpy as np

from pairsim.evaluation.pairs.pair_metric import probability_metric
from pairsim.evaluation.pairs.ranked import SplitScores, ToProbability, ratio, weighted_sum


@probability_metric
def brier_score(pairs: SplitScores, probability: ToProbability) -> float:
    """Compute the mean of (probability - target) squared.

    Args:
        pairs: Scores of positive and negative pairs.
        probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.

    Returns:
        The score in [0, 1], lower is better; NaN for no pairs.

    Example:
        >>> round(brier_score([0.9, 0.2], [1, 0]), 4)
        0.025

    References:
        G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.
    """
    sums = [
        weighted_sum(np.square(p - target), counts)
        for target, scores in zip((1, 0), pairs, strict=True)
        for p, counts in scores.probability_chunks(probability)
    ]
    return ratio(math.fsum(sums), pairs.positive.size + pairs.negative.size)
