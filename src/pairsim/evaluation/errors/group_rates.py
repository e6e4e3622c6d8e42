"""Intervals of the error rates of groups, and how much worse off the worst group is.

**Intervals** cover other classes (identities) and other images of a group. Pairs that have a class in common may err
together, so classes count, not pairs: each class is left out once, with all pairs that touch it. With l the logit of
the rate of all C classes, l_c that without class c, and T the sum over pairs of classes of (sum of the psi of their
pairs)^2, psi being the error indicator less the rate p, divided by the number of pairs,

- FNMR, whose pairs are within classes: Var = (C - 1) / C x sum (l_c - l)^2;
- FMR, whose pairs have two classes: Var = C (C - 1) / (C - 2)^2 x ((C - 1) / C x sum (l_c - l)^2 - T / (p (1 - p))^2).
  A pair of classes is left out with either of them, which counts its variance twice; T takes it back once. This is the
  variance of `clustered` with classes in place of images, but computed on the logit scale, where rates near 0 are less
  skewed.

Neither is taken below the variance of independent pairs (FNMR) or pairs of classes (FMR). The interval is l +- t
sqrt(Var), brought back from the logit scale; t and its degrees of freedom, and the interval of a rate of 0 or 1, are
those of `spread`, with as many independent pairs as classes (FNMR) or half as many (FMR). A rate that rests on fewer
than `MIN_CLASSES` classes is NaN: its variance cannot be estimated.

**Ratio.** How much worse off the worst group is: the highest rate over the geometric mean of the rates of all groups
that have one (Grother 2022). It is 1 where all groups are alike, and NaN if a group has no error, as the mean is then
0, or errors only. The variance of log r_g, with r_g = rate_g / mean, is computed by leaving out classes in the same
way. The worst group is chosen on the same data, which makes its ratio too large: the interval of the highest true ratio
is from the highest lower end of all r_g, at the level (1 - confidence) / (2 G), to their highest upper end, at the
level (1 - confidence) / 2. Its coverage is at least the confidence, and higher where groups are alike.

References:
    P. Grother, Face Recognition Vendor Test (FRVT) Part 8: Summarizing demographic differentials, NIST IR 8429, 2022.
    M. Fafchamps, F. Gubert, The formation of risk sharing networks, Journal of Development Economics 83, 2007.
    B. Efron, C. Stein, The jackknife estimate of variance, Annals of Statistics 9, 1981.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.errors.group_counts import GroupCounts
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.uncertainty.spread import Spread, interval_of, t_quantile

MIN_CLASSES = 10
"""A rate of a group needs pairs of this many classes; between groups, of this many in each."""


@dataclass(frozen=True, kw_only=True)
class GroupRatio:
    """The highest rate of a group over the geometric mean of the rates of all groups.

    Attributes:
        name: The group with the highest rate; empty if there is no ratio.
        ratio: At least 1; NaN with fewer than two groups that have a rate, and if one of these has no error.
        interval: Interval of the highest true ratio, from 1.
    """

    name: str
    ratio: float
    interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class GroupRates:
    """One rate of each group, and what it becomes without each class.

    Attributes:
        rates: The rates `[G]`; NaN where there are too few classes.
        without: Rate of each group without each class of it that has pairs `[G]`, arrays `[C_g]`.
        weights: Share of the pairs of the group that these classes have, likewise.
        classes: Number of these classes, likewise.
        least: The lowest variance of each rate `[G]`, that of independent pairs, or pairs of classes.
        of_two: Whether a pair has two classes.
    """

    rates: list[float]
    without: list[Float64Array]
    weights: list[Float64Array]
    classes: list[IntArray]
    least: list[float]
    of_two: bool

    @classmethod
    def of(
        cls,
        counts: GroupCounts,
        cells: Sequence[tuple[IntArray, IntArray]],
        totals: tuple[IntArray, IntArray],
        squares: Sequence[Float64Array] | None = None,
    ) -> GroupRates:
        """Compute rates within groups.

        Args:
            counts: The groups and classes of the cells.
            cells: Errors and pairs of each cell `[K]`, for each group.
            totals: Errors and pairs of each group `[G]`.
            squares: Those of `GroupCounts` within each group `[3]`, if a pair has two classes.
        """
        rates, without, weights, classes, least = [], [], [], [], []
        for group, (errors, pairs) in enumerate(cells):
            total_errors, n = int(totals[0][group]), max(1, int(totals[1][group]))
            rate = total_errors / n
            own = np.flatnonzero((counts.cell_group == group) & (pairs > 0))
            left = np.maximum(n - pairs[own], 1)
            # half an error at least, so that the logit is finite
            without.append(np.clip((total_errors - errors[own]) / left, 0.5 / left, 1 - 0.5 / left))
            weights.append(pairs[own] / n)
            classes.append(counts.cell_class[own])
            rates.append(rate if len(own) >= MIN_CLASSES else math.nan)
            if squares is None:
                least.append(rate * (1 - rate) / n)
            else:
                e2, en, n2 = squares[group]
                least.append(max(0.0, float(e2 - 2 * rate * en + rate**2 * n2)) / n**2)
        return cls(rates, without, weights, classes, least, squares is not None)

    def interval(self, group: int, confidence: float) -> tuple[float, float]:
        """Return the interval of a group's rate; NaN where that is."""
        rate, weights = self.rates[group], self.weights[group]
        if math.isnan(rate):
            return math.nan, math.nan
        disjoint = float(weights.sum()) ** 2 / float(weights @ weights) / (2 if self.of_two else 1)
        if rate in (0.0, 1.0):
            return interval_of(rate, Spread(0.0, math.inf, disjoint), confidence)
        scale = rate * (1 - rate)
        without = self.without[group]
        changes = np.log(without / (1 - without)) - math.log(rate / (1 - rate))
        factor = _factor(len(changes), of_two=self.of_two)
        least = self.least[group] / scale**2
        spread = _spread(changes * math.sqrt(factor), factor * least if self.of_two else 0.0, least)
        return interval_of(rate, Spread(spread.variance * scale**2, spread.freedom, disjoint), confidence)

    def worst(self, names: Sequence[str], confidence: float) -> GroupRatio:
        """Return the highest rate over the geometric mean.

        Args:
            names: Name of each group.
            confidence: Coverage aimed at.
        """
        known = [group for group, rate in enumerate(self.rates) if not math.isnan(rate)]
        rates = np.array([self.rates[group] for group in known])
        if len(known) < 2 or not rates.all() or (rates == 1.0).any():
            return GroupRatio(name="", ratio=math.nan, interval=(math.nan, math.nan))
        logs = np.log(rates)
        ratios = logs - logs.mean()
        changes = np.zeros((len(known), 1 + max(int(self.classes[group].max()) for group in known)))
        taken, least = np.zeros(len(known)), np.zeros(len(known))
        for row, group in enumerate(known):
            factor = _factor(len(self.classes[group]), of_two=self.of_two)
            changes[row, self.classes[group]] = (np.log(self.without[group]) - logs[row]) * math.sqrt(factor)
            least[row] = self.least[group] / rates[row] ** 2
            taken[row] = factor * least[row] if self.of_two else 0.0
        beyond, low, high = (1 - confidence) / 2, [0.0], [0.0]
        for row in range(len(known)):
            factors = (np.arange(len(known)) == row) - 1 / len(known)
            sums = factors @ changes
            spread = _spread(sums[sums != 0], float(factors**2 @ taken), float(factors**2 @ least))
            deviation = math.sqrt(spread.variance)
            low.append(ratios[row] - t_quantile(1 - beyond / len(known), spread.freedom) * deviation)
            high.append(ratios[row] + t_quantile(1 - beyond, spread.freedom) * deviation)
        worst = int(ratios.argmax())
        ends = math.exp(min(max(low), 700.0)), math.exp(min(max(high), 700.0))  # exp(700) is still finite
        return GroupRatio(name=names[known[worst]], ratio=math.exp(ratios[worst]), interval=ends)


def _factor(num_classes: int, *, of_two: bool) -> float:
    """Return the factor of the sum of squared changes; the changes are those of `num_classes` classes."""
    leave_one_out = (num_classes - 1) / num_classes
    return leave_one_out * (num_classes * (num_classes - 1) / (num_classes - 2) ** 2 if of_two else 1.0)


def _spread(changes: Float64Array, taken: float, least: float) -> Spread:
    """Return the variance from the scaled changes without each class, less `taken`, and its degrees of freedom."""
    squares = np.square(changes)
    total = float(squares.sum())
    scatter = float(squares @ squares) - total**2 / max(1, len(squares))
    freedom = max(2 * total**2 / scatter, 2.0) if scatter > 0 else math.inf
    return Spread(max(total - taken, least), freedom, 0.0)
