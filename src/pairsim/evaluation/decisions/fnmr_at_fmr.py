"""The false non-match rate at a given false match rate."""

from __future__ import annotations

import math

import numpy as np

from pairsim._common.arrays import check_fraction
from pairsim.evaluation.pairs.pair_metric import pair_metric
from pairsim.evaluation.pairs.ranked import SplitScores, lowest_above


@pair_metric
def fnmr_at_fmr(pairs: SplitScores, fmr: float) -> float:
    """Compute the lowest FNMR that a threshold attains while its FMR is at most `fmr`.

    There is no interpolation: the figure is what a user of that threshold gets on these pairs. With fewer than `1 /
    fmr` negative pairs it is the FNMR at no false match at all. Rejecting every pair (FNMR 1) always counts as
    attainable.

    Args:
        pairs: Scores of positive and negative pairs.
        fmr: Highest false match rate allowed, in [0, 1].

    Returns:
        The rate in [0, 1]; NaN without positive or without negative pairs.

    Raises:
        ValueError: If `fmr` is outside [0, 1].

    Example:
        >>> fnmr_at_fmr([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], fmr=0.1)
        0.5
    """
    return lowest_fnmr(pairs, fmr)[0]


def lowest_fnmr(pairs: SplitScores, fmr: float) -> tuple[float, float]:
    """Return the lowest attainable FNMR whose FMR is at most `fmr`, and its threshold."""
    positive, negative = pairs
    target = check_fraction(fmr, "fmr")
    if not (positive.size and negative.size):
        return math.nan, math.nan
    allowed = int(target * negative.size)
    # The product may be rounded to the other side of a whole number; what counts is the rate as it is reported.
    while allowed < negative.size and (allowed + 1) / negative.size <= target:
        allowed += 1
    while allowed / negative.size > target:
        allowed -= 1
    if allowed == negative.size:
        return 0.0, float(min(positive.values[0], negative.values[0]))
    highest_rejected = float(negative.at(negative.size - 1 - allowed))
    matches = positive.above(highest_rejected).size
    threshold = lowest_above(pairs, highest_rejected)
    if threshold is None:
        # Just above all scores; but no threshold rejects a negative pair that scores +inf.
        dtype = negative.values.dtype
        above = float(np.nextafter(dtype.type(highest_rejected), dtype.type(np.inf)))
        threshold = above if highest_rejected < math.inf else math.nan
    return (positive.size - matches) / positive.size, threshold
