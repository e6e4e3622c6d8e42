"""The FPIR of a gallery that has grown, predicted from searches in the small one.

A larger gallery gives a search for somebody unknown more chances to find somebody. If all searches have the same rate p
of being similar enough to one identity, the FPIR of G identities is 1 - (1 - p)^G, so that k times as many identities
find nobody in (1 - FPIR)^k of the searches. If few searches, for somebody who looks like many, make most errors, it
grows slower: (1 - FPIR)^r with an r between 1 and k.

r is read off the searches at a lower threshold: k times as many identities have the FPIR that G have at the threshold
where one is found k times as often. Searches there are less unequal, so this tends to be high. The ends of the interval
grow with the same r.

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

BINS = 2**16
"""Of similarities from -1 to 1."""


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
        exponent = self._exponent(threshold, fpir, num_identities / self.num_enrolled)
        return grown(fpir, exponent), grown(interval[0], exponent), grown(interval[1], exponent)

    def _exponent(self, threshold: float, fpir: float, factor: float) -> float:
        """Return the power of the share that finds nobody, of a gallery that is `factor` times as large."""
        rate, observed = self._rate(threshold), float(np.mean(self.others >= threshold))
        if not 0.0 < fpir < 1.0 or not rate or observed == 1.0:
            return factor  # without an error, no more is known than that each identity is found as rarely
        left = (1.0 - self._fpir_at_rate(min(rate * factor, 1.0))) / (1.0 - observed)
        exponent = 1.0 + math.log(left) / math.log1p(-fpir) if left > 0 else factor
        return min(max(exponent, 1.0), factor)

    def _rate(self, threshold: float) -> float:
        """Return the share of all similarities at or above a threshold."""
        place = min(max(int((threshold + 1.0) * (BINS / 2)), 0), BINS)
        return float(self.counts[place:].sum() / max(self.counts.sum(), 1))

    def _fpir_at_rate(self, rate: float) -> float:
        """Return the FPIR at the threshold that a share of all similarities reaches."""
        above = np.cumsum(self.counts[::-1]) >= rate * self.counts.sum()
        threshold = (BINS - 1 - int(np.argmax(above))) * (2 / BINS) - 1.0
        return float(np.mean(self.others >= threshold))


def grown(fpir: float, exponent: float) -> float:
    """Return the FPIR of a gallery whose share of searches that find no identity is a power of another one's.

    Args:
        fpir: In [0, 1].
        exponent: At least 0; for independent identities, how many times as many there are.

    Example:
        >>> round(grown(0.1, 2), 4)
        0.19
    """
    return fpir if exponent == 1.0 else 1.0 - (1.0 - fpir) ** exponent
