"""Choosing a threshold on held-out pairs, by FMR or by cost.

Never choose it on the pairs that a figure is then reported on.
"""

from __future__ import annotations

import math

import numpy as np

from pairsim._common.arrays import check_fraction, check_share
from pairsim._common.numbers import real_number
from pairsim.evaluation.pairs.pair_figures import PairFigures

_RULE_OF_THREE = 3
"""With no error among n pairs, rates up to 3 / n are not excluded at 95 %."""


def negatives_needed(target_fmr: float) -> int:
    """Compute the number of negative pairs that a false match rate needs, by the rule of three.

    Args:
        target_fmr: The rate, in (0, 1].

    Returns:
        The smallest whole number n with 3 / n <= `target_fmr`.

    Raises:
        ValueError: If the rate is not in (0, 1].

    Example:
        >>> negatives_needed(0.001)
        3000

    References:
        B. D. Jovanovic, P. S. Levy, A look at the rule of three, The American Statistician 51, 1997.
    """
    rate = check_fraction(target_fmr, "target_fmr")
    if rate == 0.0:
        raise ValueError(
            "Expected target_fmr above 0, got 0.0: no number of pairs can show it. Give a rate such as 0.0001."
        )
    needed = math.ceil(_RULE_OF_THREE / rate)
    return needed - 1 if needed > 1 and _RULE_OF_THREE / (needed - 1) <= rate else needed


def threshold_for_fmr(pairs: PairFigures, target_fmr: float) -> float:
    """Find the lowest threshold whose false match rate is at most a target.

    Args:
        pairs: Scores of held-out pairs.
        target_fmr: Highest false match rate allowed, in (0, 1).

    Returns:
        The threshold; NaN without positive pairs.

    Raises:
        ValueError: If the rate is not in (0, 1), or there are fewer than 3 / `target_fmr` negative pairs.

    Example:
        >>> from pairsim.evaluation import PairScores
        >>> pairs = PairScores.from_scores([0.9, 0.8, 0.6, 0.4, 0.2, 0.1], [1, 1, 0, 0, 0, 0])
        >>> threshold_for_fmr(pairs, 0.75)
        0.2
    """
    needed = negatives_needed(target_fmr)
    if target_fmr >= 1:
        raise ValueError("Expected target_fmr below 1, got 1: then every pair matches. For 1 % give 0.01.")
    if pairs.num_negative < needed:
        lowest = _RULE_OF_THREE / pairs.num_negative if pairs.num_negative else 1.0
        raise ValueError(
            f"Expected at least {needed:,} negative pairs for a false match rate of {target_fmr:g} (rule of three), "
            f"got {pairs.num_negative:,}. "
            + (f"Use more pairs, or a rate of {lowest:.2g} or more." if lowest < 1 else "Use more pairs.")
        )
    return pairs.threshold_at_fmr(target_fmr)


def threshold_for_cost(
    pairs: PairFigures, *, false_match: float, false_non_match: float, prior: float | None = None
) -> float:
    """Find the threshold with the lowest cost, prior x FNMR x false_non_match + (1 - prior) x FMR x false_match.

    Args:
        pairs: Scores of held-out pairs.
        false_match: Cost of calling a negative pair a match, in any unit; at least 0.
        false_non_match: Cost of missing a positive pair, in the same unit; at least 0.
        prior: Share of positive pairs in use, in (0, 1); by default that of these pairs.

    Returns:
        A score of a positive pair, the highest of those with the lowest cost; infinity if rejecting every pair costs
        least. NaN without positive or without negative pairs.

    Raises:
        ValueError: If a cost is negative or not finite, both are 0, or `prior` is not in (0, 1).

    Example:
        >>> from pairsim.evaluation import PairScores
        >>> pairs = PairScores.from_scores([0.9, 0.7, 0.4, 0.6, 0.3, 0.1], [1, 1, 1, 0, 0, 0])
        >>> threshold_for_cost(pairs, false_match=10, false_non_match=1)
        0.7
    """
    for name, cost in (("false_match", false_match), ("false_non_match", false_non_match)):
        if not 0.0 <= real_number(cost, f"the cost {name}") < math.inf:
            raise ValueError(f"Expected the cost {name} to be a number of at least 0, got {cost}.")
    if false_match == false_non_match == 0:
        raise ValueError("Expected one cost above 0, got 0 for both: then every threshold costs the same.")
    if prior is not None:
        check_share(prior, "prior")
    if not (pairs.num_positive and pairs.num_negative):
        return math.nan
    share = pairs.num_positive / pairs.num_pairs if prior is None else prior
    # Between two positive scores a higher threshold only saves false matches, so the best one is at a positive score.
    positive, negative = pairs.ranked
    values = np.unique(positive.values)
    missed = positive.below(values) / pairs.num_positive
    false = (pairs.num_negative - negative.below(values)) / pairs.num_negative
    costs = share * false_non_match * missed + (1 - share) * false_match * false
    lowest = costs.min()
    if share * false_non_match < lowest:
        return math.inf
    return float(values[np.flatnonzero(costs == lowest)[-1]])
