"""The rate of pairs above a high similarity, beyond what the pairs at hand can count.

The inverse hyperbolic tangent of a correlation of n independent values has an exponential tail: its density falls like
(1 - r)^(n / 2 - 2), whose logarithm is linear in atanh r. So the excesses of atanh r over a high level u are taken as
exponential, with the rate lambda by maximum likelihood. With k of n pairs above u,

    log S(r) = log(k / n) - lambda (atanh r - u).

Some pairs may not count, whatever their similarity is. They tell lambda as well, and k is the number of those that
count.

Pairs above a ceiling may have been left out, as copies. The excesses are then a truncated exponential distribution, and
k is divided by the share that is below the ceiling.

N pictures give N (N - 1) / 2 pairs, which depend on each other. As in `clustered`, the variance of log S adds the
covariance of every two pairs with a picture in common. The ratio to that of independent pairs divides the numbers of
pairs. The interval combines Poisson's of k and that of log lambda, which is nearly normal, by the squares of their
distances.

References:
    I. Weissman, Estimation of parameters and large quantiles based on the k largest observations, Journal of the
    American Statistical Association 73, 1978.
    G. Y. Zou, A. Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27, 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import Float64Array

MIN_EXCEEDANCES = 20
"""Pairs above the level from which the tail is fitted, at least."""

_TAIL = 0.4
"""Share of the similarities given that are taken as the tail."""
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class PairTail:
    """The upper tail of the similarities of pairs.

    Attributes:
        level: atanh of the similarity from which it is exponential.
        excesses: Of atanh over the level, of the pairs above it `[m]`.
        counted: Which of these count `[m]`.
        first: Their first pictures `[m]`.
        second: Their second pictures `[m]`.
        num_pictures: All pictures.
        num_pairs: All pairs.
        width: From the level to the ceiling, in atanh.
        slope: Rate lambda of the exponential distribution; 0 if none fits, as the similarities do not fall.
    """

    level: float
    excesses: Float64Array
    counted: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    num_pictures: int
    num_pairs: int
    width: float
    slope: float

    def rate(self, similarity: float) -> tuple[float, float, float]:
        """Estimate the share of pairs with at least a similarity.

        Args:
            similarity: In (-1, 1), above the level.

        Returns:
            The estimate, and the lower and the upper end of its 95 % interval, in [0, 1].
        """
        if self.slope <= 0:
            return 1.0, 0.0, 1.0
        distance = max(math.atanh(similarity) - self.level, 0.0)
        effect = self._design_effect(distance)
        k = float(self.counted.sum())
        few, many = poisson_interval(k / effect)
        log = math.log(k / self.num_pairs) if k else -math.inf
        spread = math.exp(_Z / (self.slope * math.sqrt(len(self.excesses) / effect * self._information())))
        fall = self._fall(self.slope, distance)
        steep = self._fall(self.slope * spread, distance) - fall
        flat = self._fall(self.slope / spread, distance) - fall
        if not k:  # the upper end alone, of independent pairs
            return 0.0, 0.0, min(many / self.num_pairs * math.exp(fall + flat), 1.0)
        low = log + fall - math.hypot(math.log(few * effect / k), steep) if few > 0 else -math.inf
        high = log + fall + math.hypot(math.log(many * effect / k), flat)
        return min(math.exp(log + fall), 1.0), math.exp(low), math.exp(min(high, 0.0))

    def _fall(self, slope: float, distance: float) -> float:
        """Logarithm of the pairs at a distance above the level, per pair between the level and the ceiling."""
        return -slope * distance - math.log(-math.expm1(-slope * self.width))

    def _information(self) -> float:
        """Fisher information on lambda of one pair."""
        return 1 / self.slope**2 - (self.width / (2 * math.sinh(min(self.slope * self.width / 2, 300.0)))) ** 2

    def _design_effect(self, distance: float) -> float:
        """Ratio of the variance of log S to that of independent pairs, at least 1."""
        hidden = self.width / math.expm1(min(self.slope * self.width, 600.0))
        psi = self.counted / max(self.counted.sum(), 1)
        psi += (distance + hidden) * (self.excesses - self.excesses.mean()) / self._information() / len(psi)
        sums = np.bincount(self.first, psi, self.num_pictures) + np.bincount(self.second, psi, self.num_pictures)
        own = float((psi**2).sum())
        return max(float(((sums - sums.mean()) ** 2).sum()) / own - 1, 1.0)


def fitted_tail(
    similarities: Float64Array,
    counted: npt.NDArray[np.bool_],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    *,
    num_pictures: int,
    num_pairs: int,
    ceiling: float,
) -> PairTail | None:
    """Fit the upper two fifths of the similarities.

    Args:
        similarities: Of the pairs that were compared, in [-1, 1] `[P]`; those of all others are lower.
        counted: Which of them count `[P]`.
        first: First picture of each `[P]`.
        second: Second picture of each `[P]`.
        num_pictures: All pictures.
        num_pairs: All pairs.
        ceiling: Similarity from which pairs were left out. A pair above it counts as just below it.

    Returns:
        `None` if fewer than `MIN_EXCEEDANCES` pairs are in it.
    """
    k = int(_TAIL * len(similarities))
    if k < MIN_EXCEEDANCES:
        return None
    values = np.arctanh(np.clip(similarities, -ceiling, ceiling))
    order = np.argsort(-values, kind="stable")
    level = float(values[order[k]])
    chosen = order[:k]
    excesses, width = values[chosen] - level, math.atanh(ceiling) - level
    slope = _slope(float(excesses.mean()), width) if width > 0 else 0.0
    return PairTail(
        level, excesses, counted[chosen], first[chosen], second[chosen], num_pictures, num_pairs, width, slope
    )


def poisson_interval(count: float) -> tuple[float, float]:
    """Return the 95 % interval of the expected number of independent events, by Wilson and Hilferty's approximation.

    Args:
        count: Events that were counted, at least 0; need not be whole.

    Example:
        >>> low, high = poisson_interval(10)
        >>> round(low, 2), round(high, 2)
        (4.79, 18.39)
    """
    if count == 0:
        return 0.0, -math.log(0.025)
    low = max(1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count)), 0.0)
    above = count + 1
    return count * low**3, above * (1 - 1 / (9 * above) + _Z / (3 * math.sqrt(above))) ** 3


def _slope(mean: float, width: float) -> float:
    """Return the rate of the exponential distribution, truncated at `width`, that has this mean; 0 if none has."""
    if not 0 < mean < width / 2:
        return 0.0
    low, high = 0.0, 1 / mean
    for _ in range(60):
        slope = (low + high) / 2
        expected = 1 / slope - width / math.expm1(min(slope * width, 600.0))
        low, high = (slope, high) if expected > mean else (low, slope)
    return high
