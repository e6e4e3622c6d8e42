"""Quantiles of the beta distribution."""

from __future__ import annotations

import math

import numpy as np

_STEPS = 20_001
_DEEP = 50.0
"""How far below its top, in nats, the density no longer counts."""


def beta_quantile(probability: float, first: float, second: float) -> float:
    """Compute a quantile of a beta distribution, from its density over the log-odds.

    Args:
        probability: In (0, 1).
        first: The first shape, above 0.
        second: The second shape, above 0.

    Returns:
        The quantile in [0, 1], within 0.1 %.

    Example:
        >>> round(beta_quantile(0.975, 2, 19), 4)
        0.2487
    """
    top = math.log(first / second)
    width = [_DEEP / shape + 20 / math.sqrt(min(first, second)) for shape in (first, second)]
    odds = np.linspace(top - width[0], top + width[1], _STEPS)
    density = -first * np.logaddexp(0.0, -odds) - second * np.logaddexp(0.0, odds)
    share = np.exp(density - density.max())
    place = np.interp(probability, (np.cumsum(share) - share / 2) / share.sum(), odds)
    return float(1.0 / (1.0 + np.exp(-place)))
