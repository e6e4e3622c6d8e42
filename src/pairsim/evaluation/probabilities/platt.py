"""Platt scaling: a logistic function from score to probability."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.ranked import Ranked
from pairsim.evaluation.probabilities.logistic_fit import WeightedScores, fit_logistic
from pairsim.evaluation.probabilities.priors import log_odds, share_of_positives

_MAX_SAMPLE = 100_000
_RIDGE, _TOLERANCE = 1e-14, 1e-6
"""The ridge only keeps a step solvable. After a step below the tolerance the next one would be a rounding."""


@dataclass(frozen=True)
class Logistic:
    """The function from score to probability 1 / (1 + exp(-(weight x score + bias))), in float64.

    Attributes:
        weight: Factor on the score.
        bias: Added to it.

    Example:
        >>> Logistic(10.0, -5.0)(np.array([0.5])).tolist()
        [0.5]
    """

    weight: float
    bias: float

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Map scores of any shape to probabilities of the same shape; NaN stays NaN."""
        logits = self.weight * scores
        logits += self.bias
        # exp(700) is still finite, and its reciprocal is far below any clipping.
        np.clip(logits, -700.0, 700.0, out=logits)
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        logits += 1.0
        return np.reciprocal(logits, out=logits)


def fit_platt(pairs: PairFigures, *, prior: float | None = None) -> Logistic:
    """Fit 1 / (1 + exp(-(weight x score + bias))) by maximum likelihood, positive pairs weighing `prior` together.

    As in Platt's method, the targets are (P + 1) / (P + 2) and 1 / (M + 2) instead of 1 and 0, so that the fit is
    finite even where scores separate the two kinds without error.

    Args:
        pairs: Scores of held-out pairs, P positive and M negative.
        prior: Share of positive pairs in use, in (0, 1); by default that of these pairs.

    Returns:
        The function. Its weight is 0 where the scores do not separate the two kinds, negative where they are reversed.

    Raises:
        ValueError: If either kind of pairs is missing, a score is infinite, or `prior` is not in (0, 1).

    Example:
        >>> from pairsim.evaluation import PairScores
        >>> pairs = PairScores.from_scores([0.9, 0.7, 0.4, 0.6, 0.3, 0.1], [1, 1, 1, 0, 0, 0])
        >>> float(fit_platt(pairs)(np.array([0.5]))[0])
        0.5

    References:
        J. Platt, Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers, 1999.
        H.-T. Lin, C.-J. Lin, R. C. Weng, A note on Platt's probabilistic outputs, Machine Learning 68, 2007.
    """
    share = share_of_positives(pairs, prior)
    ends = [float(scores.values[end]) for scores in pairs.ranked for end in (0, -1)]
    if not np.isfinite(ends).all():
        raise ValueError("Expected finite scores to fit a line to, got infinite ones. Leave these pairs out.")
    # In units of the largest score no square overflows. With mean 0 and variance 1 the steps converge fast.
    unit = max(map(abs, ends)) or 1.0
    weights = (share, 1 - share)
    moments = [scores.moments(unit) for scores in pairs.ranked]
    mean = sum(weight * of_kind for weight, (of_kind, _) in zip(weights, moments, strict=True))
    variance = sum(weight * (v + (m - mean) ** 2) for weight, (m, v) in zip(weights, moments, strict=True))
    if variance == 0.0:
        return Logistic(0.0, log_odds(share))
    center, scale = mean * unit, math.sqrt(variance) * unit
    line = (0.0, 0.0)
    for every in (max(1, max(pairs.num_positive, pairs.num_negative) // _MAX_SAMPLE), 1):
        # From the fit of every k-th score, few steps with all of them are left.
        data = partial(_scaled, pairs, weights, center, scale, every)
        line = fit_logistic(data, line, ridge=_RIDGE, tolerance=_TOLERANCE)
    weight = line[0] / scale
    return Logistic(weight, line[1] - weight * center)


def _scaled(
    pairs: PairFigures, weights: tuple[float, float], center: float, scale: float, every: int
) -> Iterator[WeightedScores]:
    """Yield every k-th score, scaled, with weights that add up to `weights` for positive and negative pairs."""
    targets = ((pairs.num_positive + 1) / (pairs.num_positive + 2), 1 / (pairs.num_negative + 2))
    for scores, weight, target in zip(pairs.ranked, weights, targets, strict=True):
        some = scores if every == 1 else Ranked(scores.at(np.arange(0, scores.size, every)))
        for values, counts in some.chunks():
            repeats = np.ones(values.size) if counts is None else counts
            each = torch.from_numpy(weight / some.size * repeats)
            yield WeightedScores(torch.from_numpy((values.astype(np.float64) - center) / scale), each, target * each)
