"""The share of positive pairs that probabilities are stated for."""

from __future__ import annotations

import math

import numpy as np

from pairsim._common.arrays import Float64Array, Values, as_array, check_probabilities, check_share
from pairsim.evaluation.pairs.pair_figures import PairFigures


def log_odds(probability: float) -> float:
    """Return log(p / (1 - p)) of a probability in (0, 1)."""
    return math.log(probability) - math.log1p(-probability)


def shift_prior(probabilities: Values, *, fitted: float, prior: float) -> Float64Array:
    """Adjust probabilities to another share of positive pairs: log-odds + logit(prior) - logit(fitted).

    It is exact where the scores of each kind of pairs have the same distribution and only the mixture changed.

    Args:
        probabilities: Probability of "same class" `[P]`, in [0, 1].
        fitted: Share of positive pairs that they were stated for, in (0, 1); one half after balanced training.
        prior: Share of positive pairs in use, in (0, 1).

    Returns:
        The probabilities `[P]`, float64; 0 and 1 stay as they are.

    Raises:
        ValueError: If a value is outside [0, 1], or a share is not in (0, 1).

    Example:
        >>> shift_prior([0.5], fitted=0.5, prior=0.01).round(4).tolist()
        [0.01]

    References:
        M. Saerens, P. Latinne, C. Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities,
        Neural Computation 14, 2002.
    """
    values = np.asarray(as_array(probabilities, "probabilities"), dtype=np.float64)
    check_probabilities(values.reshape(-1))
    check_share(fitted, "fitted")
    check_share(prior, "prior")
    positive, negative = values * (prior / fitted), (1.0 - values) * ((1.0 - prior) / (1.0 - fitted))
    return np.asarray(positive / (positive + negative))


def share_of_positives(pairs: PairFigures, prior: float | None) -> float:
    """Return the prior if there is one, else the share of positive pairs; raise if either kind is missing."""
    if not (pairs.num_positive and pairs.num_negative):
        raise ValueError(
            f"Expected positive and negative pairs to calibrate on, got {pairs.num_positive} and {pairs.num_negative}. "
            "Use images of at least two classes, two of them of one class."
        )
    return pairs.num_positive / pairs.num_pairs if prior is None else check_share(prior, "prior")
