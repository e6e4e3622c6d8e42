"""Intervals from variances; the formulas and their reasons are in `clustered`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.pairs.ranked import IntArray

Intervals: TypeAlias = dict[str, tuple[float, float]]
"""The low and high end of an interval, by the name of the figure."""


@dataclass(frozen=True)
class Spread:
    """The variance of a figure, and the number of pairs that counts for a figure of 0 or 1.

    Attributes:
        variance: Variance of the figure.
        freedom: Degrees of freedom of that variance.
        num_disjoint: Number of pairs without a common image that the figure is worth.
    """

    variance: float
    freedom: float
    num_disjoint: float


def spread_of_images(image_sums: Float64Array, square_sum: float, num_disjoint: float, *, least: float) -> Spread:
    """Compute the spread of a figure from the sum of psi of each image, and the sum of psi^2 of all pairs."""
    num_images = image_sums.size
    jackknife = num_images * (num_images - 1) / (num_images - 2) ** 2 if num_images > 2 else 1.0
    squares = np.square(image_sums)
    total = float(squares.sum())
    scatter = float(squares @ squares) - total**2 / max(1, num_images)
    freedom = 2 * total**2 / scatter if scatter > 0 else math.inf
    return Spread(max(jackknife * (total - square_sum), least), freedom, num_disjoint)


def spread_of_pairs(psi: Float64Array, one: IntArray, other: IntArray, num_disjoint: float) -> Spread:
    """Compute the spread of a figure from psi of each pair, and the numbers of its two images, the lower first."""
    num_images = int(other.max()) + 1
    # Pairs of the same two images would be counted once for each of the two; together they are one pair.
    keys, group = np.unique(one * num_images + other, return_inverse=True)
    merged = sum_by(group, psi, keys.size)
    one, other = keys // num_images, keys % num_images
    apart = one != other
    sums = sum_by(one, merged, num_images) + sum_by(other[apart], merged[apart], num_images)
    # An image paired with itself is in one sum only, so nothing is to be taken off for it.
    return spread_of_images(
        sums, float(np.square(merged[apart]).sum()), num_disjoint, least=float(np.square(merged).sum())
    )


def sum_by(groups: IntArray, values: Float64Array, size: int) -> Float64Array:
    """Add up the values of each group."""
    return np.bincount(groups, weights=values, minlength=size).astype(np.float64, copy=False)


def num_disjoint_of(image_weights: Float64Array, name: str) -> float:
    """Return how many pairs without a common image a figure is worth, from the weight that its pairs give each image.

    (sum w)^2 / sum w^2 is the number of images, each counting by its weight; a pair takes two, a comparison of a
    positive with a negative pair, as in the AUC, four.
    """
    images = float(image_weights.sum()) ** 2 / max(float(image_weights @ image_weights), 1e-300)
    return images / (4 if name == "roc_auc" else 2)


def check_confidence(confidence: float) -> None:
    """Raise if a coverage is outside (0, 1)."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Expected confidence between 0 and 1, got {confidence}. Use 0.95 for 95 %.")


def _t_quantile(probability: float, freedom: float) -> float:
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
    margin = _t_quantile(1 - beyond, spread.freedom) * math.sqrt(spread.variance) / (estimate * (1 - estimate))
    # The odds times exp(+-margin); exp(700) is still finite.
    low, high = (estimate / (estimate + (1 - estimate) * math.exp(m)) for m in (min(margin, 700), -min(margin, 700)))
    # Rounding must not leave the estimate outside.
    return min(low, estimate), max(high, estimate)


def percentiles(values: Float64Array, confidence: float) -> tuple[float, float]:
    """Return the interval from the quantiles of resampled values, without NaN; NaN where all of them are."""
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
