"""The log-loss of probabilities."""

from __future__ import annotations

import math

import numpy as np

from pairsim.evaluation.pairs.pair_metric import probability_metric
from pairsim.evaluation.pairs.ranked import SplitScores, ToProbability, ratio, weighted_sum


@probability_metric
def log_loss(pairs: SplitScores, probability: ToProbability) -> float:
    """Compute the mean of -log(probability given to the true target), in nats.

    Probabilities are clipped to [eps, 1 - eps] with the eps of float64, 2.2e-16, as scikit-learn does for float64; a
    certain and wrong pair so costs 36.04. Lower is better; 0.693 is a coin's.

    Args:
        pairs: Scores of positive and negative pairs.
        probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.

    Returns:
        The loss, at least 0; NaN for no pairs.

    Example:
        >>> round(log_loss([0.9, 0.2], [1, 0]), 4)
        0.1643

    References:
        I. J. Good, Rational decisions, Journal of the Royal Statistical Society B 14, 1952.
    """
    losses = log_loss_by_target(pairs, probability)
    sums = [loss * scores.size for loss, scores in zip(losses, pairs, strict=True) if scores.size]
    return ratio(sum(sums), pairs.positive.size + pairs.negative.size)


def log_loss_by_target(pairs: SplitScores, probability: ToProbability) -> tuple[float, float]:
    """Return the log-loss over the positive and over the negative pairs; NaN over no pairs."""
    eps = float(np.finfo(np.float64).eps)
    positive, negative = pairs
    hits = (-weighted_sum(np.log(np.clip(p, eps, 1 - eps)), n) for p, n in positive.probability_chunks(probability))
    rejections = (
        -weighted_sum(np.log1p(-np.clip(p, eps, 1 - eps)), n) for p, n in negative.probability_chunks(probability)
    )
    return ratio(math.fsum(hits), positive.size), ratio(math.fsum(rejections), negative.size)
