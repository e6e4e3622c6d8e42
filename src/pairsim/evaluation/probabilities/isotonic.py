"""Isotonic regression: a rising function from score to probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.ranked import IntArray, Ranked
from pairsim.evaluation.probabilities.priors import log_odds, share_of_positives


@dataclass(frozen=True, eq=False)
class Isotonic:
    """A rising function from score to probability: straight lines of the log-odds between points, constant beyond.

    Attributes:
        scores: Scores of the points `[K]`, ascending, without ties.
        log_odds: Log-odds of "same class" at each of them `[K]`, never falling, finite.
    """

    scores: Float64Array
    log_odds: Float64Array

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Map scores of any shape to probabilities of the same shape; NaN stays NaN."""
        return 1.0 / (1.0 + np.exp(-np.interp(scores, self.scores, self.log_odds)))


def fit_isotonic(pairs: PairFigures, *, prior: float | None = None) -> Isotonic:
    """Fit the rising function of maximum likelihood by pooling adjacent violators.

    Its flat stretches are joined by straight lines of the log-odds. Where a stretch at an end holds n pairs of one kind
    only, its rate is 1 / (2n + 2) instead of 0, so that no probability is 0 or 1.

    Args:
        pairs: Scores of held-out pairs, some thousand of each kind; with fewer it overfits.
        prior: Share of positive pairs in use, in (0, 1); by default that of these pairs.

    Returns:
        The function.

    Raises:
        ValueError: If either kind of pairs is missing, or `prior` is not in (0, 1).

    Example:
        >>> from pairsim.evaluation import PairScores
        >>> pairs = PairScores.from_scores([0.9, 0.7, 0.4, 0.6, 0.3, 0.1], [1, 1, 1, 0, 0, 0])
        >>> fit_isotonic(pairs)(np.array([0.1, 0.5, 0.9])).round(3).tolist()
        [0.167, 0.5, 0.833]

    References:
        B. Zadrozny, C. Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
        N. Brümmer, J. du Preez, Application-independent evaluation of speaker detection, Computer Speech and Language
        20, 2006.
    """
    share = share_of_positives(pairs, prior)
    blocks = _pool_adjacent_violators(_groups(pairs))
    matches, totals = np.array([block[:2] for block in blocks], dtype=np.float64).T
    with np.errstate(divide="ignore"):
        evidence = np.log(matches) - np.log(totals - matches)
    if matches[0] == 0:
        end = -math.log(2 * totals[0] + 1)
        evidence[0] = min(end, evidence[1]) if len(evidence) > 1 else end
    if matches[-1] == totals[-1]:
        end = math.log(2 * totals[-1] + 1)
        evidence[-1] = max(end, evidence[-2]) if len(evidence) > 1 else end
    evidence += log_odds(share) - log_odds(pairs.num_positive / pairs.num_pairs)
    lows, highs = np.array([block[2:] for block in blocks], dtype=np.float64).T
    wide = highs > lows
    scores = np.stack([lows, highs], axis=1)[np.stack([np.ones_like(wide), wide], axis=1)]
    return Isotonic(scores, np.repeat(evidence, 1 + wide))


_Block = tuple[int, int, float, float]
"""Positive pairs, all pairs, lowest and highest score."""


def _groups(pairs: PairFigures) -> list[_Block]:
    """Return the pairs in ascending order, in groups that end up in one block in any case.

    Neighbours of one kind are one group, and so are ties, so that millions of pairs form some thousand groups.
    """
    positive, negative = pairs.ranked
    values, counts = _distinct(positive)
    exact = values.astype(negative.values.dtype)
    below, upto = negative.below(exact), negative.below(exact, or_equal=True)
    before = np.concatenate([[0], upto])
    ends = np.concatenate([below, [negative.size]])
    # At odd indices the pairs at a positive score, at even ones the negative pairs between two of these.
    size = 2 * values.size + 1
    matches, totals = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    lows, highs = np.empty(size), np.empty(size)
    matches[1::2], totals[1::2] = counts, counts + upto - below
    lows[1::2] = highs[1::2] = values
    totals[::2] = ends - before
    last = negative.size - 1
    lows[::2], highs[::2] = negative.at(np.minimum(before, last)), negative.at(np.maximum(ends - 1, 0))
    filled = totals > 0
    matches, totals, lows, highs = matches[filled], totals[filled], lows[filled], highs[filled]
    kind = np.where(matches == 0, -1, np.where(matches == totals, -2, np.arange(totals.size)))
    begins = np.flatnonzero(np.concatenate([[True], kind[1:] != kind[:-1]]))
    stops = np.concatenate([begins[1:], [totals.size]]) - 1
    columns = (np.add.reduceat(matches, begins), np.add.reduceat(totals, begins), lows[begins], highs[stops])
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _distinct(scores: Ranked) -> tuple[Float64Array, IntArray]:
    if scores.before is not None:
        return scores.values.astype(np.float64), np.diff(scores.before)
    values, counts = np.unique(scores.values, return_counts=True)
    return values.astype(np.float64), counts.astype(np.int64)


def _pool_adjacent_violators(groups: list[_Block]) -> list[_Block]:
    blocks: list[_Block] = []
    for group in groups:
        matches, total, low, high = group
        # In whole numbers, so that equal rates compare as equal.
        while blocks and blocks[-1][0] * total >= matches * blocks[-1][1]:
            before = blocks.pop()
            matches, total, low = matches + before[0], total + before[1], before[2]
        blocks.append((matches, total, low, high))
    return blocks
