"""Errors of searches for identities of whom some are enrolled and some are not (open-set identification).

A mated search is for somebody who is enrolled, a non-mated one for somebody who is not. FPIR, the false positive
identification rate, is the share of non-mated searches that find somebody; FNIR, the false negative identification
rate, that of mated searches that do not find the right one in the first place. Both depend on the size of the gallery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pairsim._common.arrays import BoolArray, Float64Array, check_share, check_threshold, vector
from pairsim._common.numbers import whole_number
from pairsim.evaluation.decisions.operating_points import negatives_needed
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.uncertainty.spread import interval_of, spread_of_groups


@dataclass(frozen=True, eq=False)
class Searches:
    """The similarities that decide searches in a gallery of G identities.

    A search may count as both kinds: with its own identity in the gallery, and as if that were left out.

    Attributes:
        own: Similarity to the query's own identity `[Q]`, float64; NaN if it is not enrolled.
        others: The highest similarity to any other identity `[Q]`, float64.
        ranks: Number of identities that are at least as similar as its own `[Q]`, from 1; 0 if it is not enrolled.
        non_mated: Which searches count as non-mated `[Q]`.
        queried: Number of the identity of each query `[Q]`.
        groups: Number of a group of identities `[Q]` whose searches may err together: at least those of one identity.
        num_enrolled: Identities that a search is compared with, G; non-mated ones with one less if they are enrolled.
        nearest: Number of the identity that `others` is the similarity to `[Q]`, as in `queried`; `None` if the
            identities of non-mated searches are not in the gallery.
        next_others: The highest similarity to any identity but its own and `nearest` `[Q]`, float64; `None` as there.

    Raises:
        ValueError: If shapes differ or `num_enrolled` is below 1.
    """

    own: Float64Array
    others: Float64Array
    ranks: IntArray
    non_mated: BoolArray
    queried: IntArray
    groups: IntArray
    num_enrolled: int
    nearest: IntArray | None = None
    next_others: Float64Array | None = None

    def __post_init__(self) -> None:
        whole_number(self.num_enrolled, "num_enrolled", 1)
        names = ("own", "others", "ranks", "queried", "groups", "nearest", "next_others")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        sizes = {name: vector(value, name).size for name, value in given.items()}
        if len(set(sizes.values()) | {vector(self.non_mated, "non_mated").size}) > 1:
            raise ValueError(f"Expected one value of each kind for each search, got {sizes}.")

    def __len__(self) -> int:
        return self.own.size

    @property
    def mated(self) -> BoolArray:
        """Which searches count as mated `[Q]`."""
        return ~np.isnan(self.own)

    @property
    def num_mated(self) -> int:
        """Number of mated searches."""
        return int(np.count_nonzero(self.mated))

    @property
    def num_non_mated(self) -> int:
        """Number of non-mated searches."""
        return int(np.count_nonzero(self.non_mated))

    def fpir(self, threshold: float) -> float:
        """Compute the FPIR: the share of non-mated searches with a similarity at or above a threshold.

        Args:
            threshold: The threshold.

        Returns:
            The rate in [0, 1]; NaN without non-mated searches.
        """
        return _share(self.others[self.non_mated] >= check_threshold(threshold))

    def fnir(self, threshold: float) -> float:
        """Compute the FNIR: the share of mated searches in which the right identity is not first, or below a threshold.

        Args:
            threshold: The threshold.

        Returns:
            The rate in [0, 1]; NaN without mated searches. At minus infinity it is 1 - rank-1 accuracy.
        """
        return _share(self._missed(check_threshold(threshold)))

    def fpir_interval(self, threshold: float) -> tuple[float, float]:
        """Compute the 95 % interval of the FPIR, for other unknown identities.

        Args:
            threshold: The threshold.

        Returns:
            Both ends; NaN without non-mated searches, or if these are of one group.
        """
        return self._interval(self.others[self.non_mated] >= check_threshold(threshold), self._non_mated_codes)

    def fnir_interval(self, threshold: float) -> tuple[float, float]:
        """Compute the 95 % interval of the FNIR, for other enrolled identities.

        Args:
            threshold: The threshold.

        Returns:
            Both ends; NaN without mated searches, or if these are of one group.
        """
        return self._interval(self._missed(check_threshold(threshold)), self._mated_codes)

    def threshold_for_fpir(self, target: float) -> float:
        """Find the lowest threshold whose FPIR is at most a target.

        It lies halfway between two of the similarities, so that rounding does not decide.

        Args:
            target: FPIR in (0, 1).

        Returns:
            The threshold.

        Raises:
            ValueError: If the rate is not in (0, 1), or there are fewer than 3 / `target` non-mated searches.

        References:
            B. D. Jovanovic, P. S. Levy, A look at the rule of three, The American Statistician 51, 1997.
        """
        needed = negatives_needed(check_share(target, "target_fpir"))
        if self.num_non_mated < needed:
            raise ValueError(
                f"Expected at least {needed:,} searches for unknown identities for an FPIR of {target:g} (rule of "
                f"three), got {self.num_non_mated:,}. Add pictures, or give a higher rate."
            )
        return self.threshold_at(target)

    def threshold_at(self, fpir: float) -> float:
        """Find the lowest threshold whose FPIR is at most a rate, however few searches there are.

        Args:
            fpir: The rate, in [0, 1).

        Returns:
            The threshold; NaN without non-mated searches.
        """
        scores = np.sort(self.others[self.non_mated])[::-1]
        if not scores.size:
            return math.nan
        allowed = math.floor(fpir * scores.size)
        values = scores[:allowed]
        above = values[values > scores[allowed]]  # of those that tie, all or none
        return float((above[-1] if above.size else scores[allowed] + 2e-3) + scores[allowed]) / 2

    def fnir_at_fpir(self, target: float) -> float:
        """Compute the FNIR at the lowest threshold whose FPIR is at most a target.

        Args:
            target: FPIR in (0, 1).

        Returns:
            The rate in [0, 1]; NaN without mated searches.

        Raises:
            ValueError: As for `threshold_for_fpir`.
        """
        return self.fnir(self.threshold_for_fpir(target))

    def cmc(self, max_rank: int) -> Float64Array:
        """Compute the cumulative match characteristic: the share of mated searches with the right identity among r.

        Args:
            max_rank: The highest rank, at least 1.

        Returns:
            `[max_rank]` for r = 1, 2, ...; NaN without mated searches.
        """
        ranks = self.ranks[self.mated]
        counts = np.bincount(np.minimum(ranks, whole_number(max_rank, "max_rank", 1) + 1), minlength=max_rank + 2)
        return np.cumsum(counts[1 : max_rank + 1]) / (ranks.size or math.nan)

    def curve(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Compute FPIR and FNIR at each threshold at which one of them changes.

        Returns:
            Thresholds, descending, FPIR and FNIR `[T]` each.
        """
        missed, own = self.ranks[self.mated] != 1, self.own[self.mated]
        others, found = np.sort(self.others[self.non_mated]), np.sort(own[~missed])
        thresholds = np.unique(np.concatenate((others, found)))[::-1]
        fpir = (others.size - np.searchsorted(others, thresholds)) / (others.size or math.nan)
        fnir = 1.0 - (found.size - np.searchsorted(found, thresholds)) / (own.size or math.nan)
        return thresholds, fpir, fnir

    def _missed(self, threshold: float) -> BoolArray:
        mated = self.mated
        return np.asarray((self.own[mated] < threshold) | (self.ranks[mated] != 1))

    @cached_property
    def _mated_codes(self) -> IntArray:
        return np.unique(self.groups[self.mated], return_inverse=True)[1]

    @cached_property
    def _non_mated_codes(self) -> IntArray:
        return np.unique(self.groups[self.non_mated], return_inverse=True)[1]

    @staticmethod
    def _interval(errors: BoolArray, codes: IntArray) -> tuple[float, float]:
        if not errors.size:
            return math.nan, math.nan
        counts, rate = np.bincount(codes), float(errors.mean())
        sums = np.bincount(codes, weights=errors) - rate * counts
        return interval_of(rate, spread_of_groups(sums / errors.size, counts / errors.size), 0.95)


def _share(errors: BoolArray) -> float:
    return float(errors.mean()) if errors.size else math.nan
