"""The threshold of a gallery for an FPIR, so that the rate holds for identities that it was not chosen on.

A threshold that a share of the searches reaches is reached by more of other searches, as few identities chose it. In a
gallery that is searched for its own images this is worse: two identities that look alike find each other. So the rate
is cross-validated: each identity in turn is left out, from the gallery and from the searches, the threshold is chosen
without it, and its own searches are counted. This repeats what happens to somebody unknown.

A threshold is chosen by the share of searches that may reach it. A search of identity u with similarity s errs at the
share r if at most r of the searches of others reach s, with u out of the gallery; so the cross-validated FPIR at r is a
count of ranks. Between two shares the threshold and the rate are interpolated. Where even the highest similarity is
found more often than the target, the threshold is above it, by an exponential tail.

The interval is a beta distribution, as the rate at an order statistic has, of as many searches as the groups are worth.

References:
    V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World, chapter 2, 2005.
    R. F. Barber, E. J. Candes, A. Ramdas, R. J. Tibshirani, Predictive inference with the jackknife+, Annals of
    Statistics 49, 2021.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim._common.unit_similarity import MATCH_TOLERANCE
from pairsim.evaluation.identification import Searches
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.uncertainty.beta import beta_quantile
from pairsim.evaluation.uncertainty.spread import Spread, spread_of_groups, t_quantile

_BEYOND = 0.025
_ROUNDING = 1e-9


class FpirThreshold(NamedTuple):
    """A threshold, and the FPIR that is expected at it.

    Attributes:
        threshold: The similarity; it may be above 1.
        fpir: The cross-validated rate, in (0, 1).
        interval: The 95 % interval of the rate of other unknown identities.
    """

    threshold: float
    fpir: float
    interval: tuple[float, float]


def fpir_threshold(searches: Searches, target: float) -> FpirThreshold:
    """Find the threshold whose cross-validated FPIR is a target, or the nearest lower rate.

    Args:
        searches: In a gallery; non-mated ones for at least two identities.
        target: The FPIR in (0, 1).

    Returns:
        The threshold and its rate, at most `target`.

    Example:
        >>> scores = np.arange(100.0) / 100
        >>> alone, nobody = np.arange(100), np.full(100, np.nan)
        >>> searches = Searches(nobody, scores, np.zeros(100, int), np.ones(100, bool), alone, alone, 50)
        >>> chosen = fpir_threshold(searches, 0.1)
        >>> round(chosen.threshold, 6), round(chosen.fpir, 6)  # of 101 searches, 10 reach it
        (0.9, 0.1)
    """
    others = searches.others[searches.non_mated]
    shares = _shares(searches)
    levels = np.unique(shares)
    rates = np.searchsorted(np.sort(shares), levels, side="right") / shares.size
    descending = np.sort(others)[::-1]
    places = np.floor(levels * others.size + _ROUNDING).astype(np.int64)
    thresholds = descending[np.minimum(places, others.size - 1)]  # each has its rate just above it
    groups = searches.groups[searches.non_mated]
    if target < rates[0]:
        top = thresholds[0] + _tail(searches) * math.log(rates[0] / target)
        spread = _spread((shares <= levels[0]).astype(np.float64), groups)
        highest = 1.0 - _BEYOND ** (1.0 / spread.num_disjoint)
        return FpirThreshold(float(top), target, (0.0, max(highest, target)))
    below = int(np.searchsorted(rates, target, side="right")) - 1
    part = (target - rates[below]) / (rates[below + 1] - rates[below])  # the last rate is 1
    threshold = (1.0 - part) * thresholds[below] + part * thresholds[below + 1]
    if np.mean(others >= threshold) > target:  # many similarities that tie
        part, threshold = 0.0, thresholds[below] + 2 * MATCH_TOLERANCE
    errors = (1.0 - part) * (shares <= levels[below]) + part * (shares <= levels[below + 1])
    fpir = float(errors.mean())
    return FpirThreshold(float(threshold), fpir, _interval(fpir, _spread(errors, groups), others.size))


def _shares(searches: Searches) -> Float64Array:
    """Return the share of the searches of others that reach each non-mated one, with its identity left out."""
    kept = searches.non_mated
    others, queried = searches.others[kept], np.unique(searches.queried[kept], return_inverse=True)[1]
    size = others.size
    reaching = size - np.searchsorted(np.sort(others), others) - _reaching(queried, others, queried, others)
    if searches.nearest is not None and searches.next_others is not None:
        # what found this identity, and without it finds somebody less similar
        numbers = searches.queried[kept]
        nearest, following = searches.nearest[kept], searches.next_others[kept]
        reaching -= _reaching(nearest, others, numbers, others) - _reaching(nearest, following, numbers, others)
    return np.asarray(reaching / (size - np.bincount(queried)[queried]), dtype=np.float64)


def _reaching(names: IntArray, values: Float64Array, asked: IntArray, at_least: Float64Array) -> IntArray:
    """Count the values with each name in `asked` `[n]` that are at least as high as `at_least` `[n]`."""
    levels = np.unique(np.concatenate((values, at_least)))
    keys = np.sort(names * (levels.size + 1) + np.searchsorted(levels, values))
    first = asked * (levels.size + 1)
    places = np.searchsorted(keys, (first + levels.size, first + np.searchsorted(levels, at_least)))
    return np.asarray(places[0] - places[1], dtype=np.int64)


def _tail(searches: Searches) -> float:
    """Return the mean excess over the median of the highest similarity of each identity."""
    kept = searches.non_mated
    _, codes = np.unique(searches.queried[kept], return_inverse=True)
    highest = np.full(int(codes.max()) + 1, -np.inf)
    np.maximum.at(highest, codes, searches.others[kept])
    middle = np.median(highest)
    return float(np.mean(highest[highest >= middle] - middle))


def _spread(errors: Float64Array, groups: IntArray) -> Spread:
    _, codes = np.unique(groups, return_inverse=True)
    counts = np.bincount(codes)
    sums = np.bincount(codes, weights=errors) - errors.mean() * counts
    return spread_of_groups(sums / errors.size, counts / errors.size)


def _interval(fpir: float, spread: Spread, size: int) -> tuple[float, float]:
    """Return the interval of a rate, by the beta distribution with its mean and as many searches as it is worth."""
    narrower = NormalDist().inv_cdf(1 - _BEYOND) / t_quantile(1 - _BEYOND, spread.freedom)
    worth = min(fpir * (1 - fpir) * narrower**2 / max(spread.variance, 1e-300), size) + 1
    low, high = (beta_quantile(end, fpir * worth, (1 - fpir) * worth) for end in (_BEYOND, 1 - _BEYOND))
    return min(low, fpir), max(high, fpir)
