"""The FPIR of a gallery that has grown, predicted from searches in the small one.

A larger gallery gives a search for somebody unknown more chances to find somebody. By how much depends on how unequal
the searches are: if all have the same rate p of being similar enough to one identity, the FPIR of G identities is
1 - (1 - p)^G; if few searches, for somebody who looks like many, make most errors, it grows slower. Two estimates
enclose it:

- Gamma: rates of searches are gamma distributed with shape a, so that FPIR(G) = 1 - (1 + G p / a)^-a. The shape is read
  off the searches at lower thresholds, where there are more errors, and extrapolated to the threshold. Since searches
  are more unequal at high thresholds, this tends to be low for galleries that are many times larger.
- Scaling: k times as many identities have the FPIR that G have at the threshold where one is found k times as often.
  Searches there are less unequal, so this tends to be high.

The prediction is their mean in log-odds. Its interval reaches from the lower one less the margin of the measured rate
to the higher one plus that margin.

References:
    S. Coles, An Introduction to Statistical Modeling of Extreme Values, chapter 3, 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.probabilities.priors import log_odds

BINS = 2**16
"""Of similarities from -1 to 1."""

_THRESHOLDS = 12
_MIN_ERRORS = 3
_HIGHEST_FPIR = 0.5
_EQUAL = 1e3
"""A shape at which searches are as good as equal."""

_SMALLEST = 1e-9


def similarity_counts(similarities: npt.NDArray[np.floating]) -> IntArray:
    """Count similarities in [-1, 1], of any shape, in `BINS` bins `[BINS]`."""
    places = ((similarities.ravel() + 1.0) * (BINS / 2)).astype(np.int64)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)


@dataclass(frozen=True, eq=False)
class FpirGrowth:
    """What non-mated searches in a gallery say about larger ones.

    Args:
        others: The highest similarity of each search `[Q]`.
        counts: All similarities of these searches, as `similarity_counts` counts them `[BINS]`.
        num_enrolled: Identities that each search was compared with.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> similarities = generator.beta(2, 8, (2000, 50))
        >>> growth = FpirGrowth(similarities.max(axis=1), similarity_counts(similarities), 50)
        >>> fpir, low, high = growth.predict(0.7, 0.0145, (0.01, 0.02), 100)
        >>> low < fpir < high, 0.02 < fpir < 0.04
        (True, True)
    """

    others: Float64Array
    counts: IntArray
    num_enrolled: int

    def predict(
        self, threshold: float, fpir: float, interval: tuple[float, float], num_identities: float
    ) -> tuple[float, float, float]:
        """Predict the FPIR at a threshold.

        Args:
            threshold: The threshold.
            fpir: The FPIR that was measured at it.
            interval: Its interval.
            num_identities: Size of the gallery, at least `num_enrolled`.

        Returns:
            The FPIR, and the ends of its interval; never less than the measured ones.
        """
        rate, factor = self._rate(threshold), num_identities / self.num_enrolled
        if factor == 1.0:
            return fpir, *interval
        if not fpir or not rate:  # without an error, no more is known than that each identity is found as rarely
            return fpir, interval[0], 1.0 - (1.0 - interval[1]) ** factor
        shape = self._shape(threshold, rate)
        gamma = fpir * _gamma(rate * num_identities, shape) / _gamma(rate * self.num_enrolled, shape)
        scaled = self._fpir_at_rate(min(rate * factor, 1.0))
        below, above = (_odds(value) for value in sorted((max(gamma, fpir), max(scaled, fpir))))
        low, high = (_odds(end) - _odds(fpir) for end in interval)
        return _share((below + above) / 2), _share(below + low), _share(above + high)

    def _rate(self, threshold: float) -> float:
        """Return the share of all similarities at or above a threshold."""
        place = min(max(int((threshold + 1.0) * (BINS / 2)), 0), BINS)
        return float(self.counts[place:].sum() / max(self.counts.sum(), 1))

    def _fpir_at_rate(self, rate: float) -> float:
        """Return the FPIR at the threshold that a share of all similarities reaches."""
        above = np.cumsum(self.counts[::-1]) >= rate * self.counts.sum()
        threshold = (BINS - 1 - int(np.argmax(above))) * (2 / BINS) - 1.0
        return float(np.mean(self.others >= threshold))

    def _shape(self, threshold: float, rate: float) -> float:
        """Return the shape at a threshold: log shape is a line over log rate, fitted to thresholds from there down."""
        size, errors = self.others.size, float(np.mean(self.others >= threshold))
        lowest = max(errors, _MIN_ERRORS / size)
        shares = np.geomspace(lowest, max(_HIGHEST_FPIR, min(4 * lowest, 0.9)), _THRESHOLDS)
        ordered = np.sort(self.others)[::-1]
        points = []
        for count in sorted({max(round(share * size), 1) for share in shares}):
            if count < size and (one := self._rate(float(ordered[count - 1]))) > 0:
                shape = _shape_of(one * self.num_enrolled, count / size)
                if shape < _EQUAL:
                    points.append((math.log(one), math.log(shape)))
        if len(points) < 3:
            return _EQUAL
        x, y = np.array(points).T
        slope, at_zero = np.polyfit(x, y, 1, w=np.exp(x / 2))  # as the square root of the number of errors
        return float(np.exp(np.clip(at_zero + slope * math.log(rate), math.log(1e-3), math.log(_EQUAL))))


def _gamma(found: float, shape: float) -> float:
    """Return the FPIR where a search finds `found` identities in the mean, and rates have a shape."""
    return -math.expm1(-shape * math.log1p(found / shape))


def _shape_of(found: float, fpir: float) -> float:
    """Return the shape with which `_gamma` gives an FPIR, by bisection."""
    if fpir >= -math.expm1(-found):
        return _EQUAL
    low, high = math.log(1e-4), math.log(_EQUAL)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _gamma(found, math.exp(middle)) < fpir else (low, middle)
    return math.exp(high)


def _odds(share: float) -> float:
    return log_odds(min(max(share, _SMALLEST), 1 - _SMALLEST))


def _share(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-odds))
