"""Paired comparison of two models by their figures on the same resampled sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pairsim.evaluation.uncertainty.resampling import Resampled
from pairsim.evaluation.uncertainty.spread import check_confidence, percentiles


@dataclass(frozen=True)
class Difference:
    """The difference of a figure of two models on the same pairs.

    Attributes:
        first: Figure of the first model.
        second: Figure of the second one.
        difference: First minus second.
        low: Lower end of the interval of the difference.
        high: Upper end.
        p_value: Two-sided, for the hypothesis of no difference; at least 2 / (resamples + 1).
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def paired_differences(first: Resampled, second: Resampled, *, confidence: float = 0.95) -> dict[str, Difference]:
    """Compare the figures of two models on the same resampled sets.

    Args:
        first: Figures of one model.
        second: Figures of the other, of the same images in the same order, with the same `seed` and number of sets.
        confidence: Coverage aimed at, in (0, 1).

    Returns:
        The difference of each figure that both have, with its interval and p-value.

    Raises:
        ValueError: If the sets were drawn differently, or `confidence` is out of range.

    Example:
        >>> from pairsim.evaluation import bootstrap
        >>> angles = np.array([0.0, 0.1, 0.9, 1.0, 1.7, 0.4])
        >>> embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> resampled = bootstrap(embeddings, [0, 0, 0, 1, 1, 1], 0.8, num_resamples=50)
        >>> paired_differences(resampled, resampled)["roc_auc"].p_value
        1.0
    """
    same_draws = all(getattr(first, name) == getattr(second, name) for name in ("unit", "num_units", "seed"))
    sizes = {len(values) for model in (first, second) for values in model.figures.values()}
    if not same_draws or len(sizes) > 1:
        raise ValueError(
            "Expected both to be resampled in the same way, got other units, seeds or numbers of sets. Call bootstrap "
            "for both with the same images in the same order, unit, num_resamples and seed."
        )
    check_confidence(confidence)
    differences = {}
    for name in (name for name in first.estimates if name in second.estimates):
        resampled = first.figures[name] - second.figures[name]
        known = resampled[~np.isnan(resampled)]
        sides = [(1 + int(side.sum())) / (known.size + 1) for side in (known <= 0, known >= 0)]
        difference = first.estimates[name] - second.estimates[name]
        differences[name] = Difference(
            first.estimates[name],
            second.estimates[name],
            difference,
            *percentiles(resampled, confidence),
            math.nan if math.isnan(difference) else min(1.0, 2 * min(sides)),
        )
    return differences
