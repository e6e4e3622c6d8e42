"""The figures that get intervals, and intervals from variances; the formulas and their reasons are in `clustered`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple, TypeAlias

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.pairs.pair_figures import PairFigures

Intervals: TypeAlias = dict[str, tuple[float, float]]
"""The low and high end of an interval, by the name of the figure."""


def fnmr_name(fmr: float) -> str:
    """Return the key of the FNMR at an FMR."""
    return f"fnmr_at_fmr_{fmr:g}"


def point_estimates(pairs: PairFigures, threshold: float, fmr_targets: Sequence[float]) -> dict[str, float]:
    """Compute the figures that get intervals."""
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    return {
        "accuracy": pairs.accuracy(threshold),
        "balanced_accuracy": pairs.balanced_accuracy(threshold),
        "eer": pairs.equal_error_rate(),
        "fmr": fmr,
        "fnmr": fnmr,
        "roc_auc": pairs.roc_auc(),
        **{fnmr_name(target): pairs.fnmr_at_fmr(target) for target in fmr_targets},
    }


class Spread(NamedTuple):
    """The variance of a figure, and the number of pairs that counts for a figure of 0 or 1.

    Attributes:
        variance: Variance of the figure.
        freedom: Degrees of freedom of that variance.
        num_disjoint: Number of pairs without a common image that the figure is worth.
    """

    variance: float
    freedom: float
    num_disjoint: float

    def at_least(self, other: Spread) -> Spread:
        """Return the larger variance with its degrees of freedom, and the lower number of pairs; NaN stays."""
        larger = self if self.variance > other.variance else other
        return larger._replace(num_disjoint=min(self.num_disjoint, other.num_disjoint))


def spread_of_images(
    image_sums: Float64Array,
    image_weights: Float64Array,
    square_sum: float,
    *,
    least: float | None = None,
    images_each: int = 2,
) -> Spread:
    """Compute the spread of a figure.

    For the number of pairs, (sum w)^2 / sum w^2 is the number of images, each counting by its weight; a pair takes two,
    a comparison of a positive with a negative pair, as in the AUC, four.

    Args:
        image_sums: The sum of psi of each image `[N]`.
        image_weights: The weight that the figure's pairs give each image `[N]`.
        square_sum: The sum of psi^2 of all pairs.
        least: The lowest variance; by default `square_sum`.
        images_each: The number of images that a pair takes.
    """
    num_images = image_sums.size
    jackknife = num_images * (num_images - 1) / (num_images - 2) ** 2 if num_images > 2 else 1.0
    squares = np.square(image_sums)
    total = float(squares.sum())
    scatter = float(squares @ squares) - total**2 / max(1, num_images)
    freedom = 2 * total**2 / scatter if scatter > 0 else math.inf
    variance = max(jackknife * (total - square_sum), square_sum if least is None else least)
    images = float(image_weights.sum()) ** 2 / max(float(image_weights @ image_weights), 1e-300)
    return Spread(variance, freedom, images / images_each)


def spread_of_groups(group_sums: Float64Array, group_weights: Float64Array) -> Spread:
    """Compute the spread of a figure whose pairs are dependent within groups; its variance is NaN for one group.

    Args:
        group_sums: The sum of psi of each group `[G]`.
        group_weights: The sum of the weights of each group `[G]`; groups of weight 0 do not count.
    """
    sums, weights = group_sums[group_weights > 0], group_weights[group_weights > 0]
    size, squares = sums.size, np.square(sums)
    total = float(squares.sum())
    scatter = float(squares @ squares) - total**2 / max(1, size)
    freedom = min(2 * total**2 / scatter if scatter > 0 else math.inf, max(1, size - 1))
    variance = total * size / (size - 1) if size > 1 else math.nan
    return Spread(variance, freedom, float(weights.sum()) ** 2 / max(float(weights @ weights), 1e-300))


def check_confidence(confidence: float) -> None:
    """Raise if a coverage is outside (0, 1)."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Expected confidence between 0 and 1, got {confidence}. Use 0.95 for 95 %.")


def t_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t by its expansion about the normal one: at 97.5 %, within 4 % for 2 degrees."""
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def interval_of(estimate: float, spread: Spread | None, confidence: float) -> tuple[float, float]:
    """Return the interval of a figure; NaN for NaN."""
    if spread is None or math.isnan(estimate):
        return math.nan, math.nan
    beyond = (1 - confidence) / 2
    if estimate in (0.0, 1.0):
        bound = 1 - beyond ** (1 / spread.num_disjoint)
        return (0.0, bound) if estimate == 0.0 else (1 - bound, 1.0)
    margin = t_quantile(1 - beyond, spread.freedom) * math.sqrt(spread.variance) / (estimate * (1 - estimate))
    # The odds times exp(+-margin); exp(700) is still finite.
    low, high = (estimate / (estimate + (1 - estimate) * math.exp(m)) for m in (min(margin, 700), -min(margin, 700)))
    # Rounding must not leave the estimate outside.
    return min(low, estimate), max(high, estimate)
