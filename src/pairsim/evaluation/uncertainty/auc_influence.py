"""The influence of each pair on the AUC, looked up on a grid of scores."""

from __future__ import annotations

import numpy as np

from pairsim._common.arrays import Float32Array, Float64Array
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.ranked import IntArray, Ranked

GRID = 1 << 16
"""Cells over the range of all scores; scores in one cell count as tied."""


class AucInfluence:
    """The AUC's psi, for which see `clustered`, as two tables over a grid of scores.

    A search among millions of scores for each of N x N cosines would take several times as long as everything else. On
    the grid it is one look-up, and psi still sums to 0 exactly, as the tables are computed from the rounded scores.
    """

    def __init__(self, pairs: PairFigures) -> None:
        ends = [float(scores.values[end]) for scores in pairs.ranked if scores.size for end in (0, -1)]
        self._low = np.float32(min(ends, default=0.0))
        span = max(ends, default=0.0) - float(self._low)
        self._scale = np.float32((GRID - 1) / span if span > 1e-30 else 0.0)
        self._counts = [self._count(scores) for scores in pairs.ranked]
        below = [np.cumsum(count) - count / 2 for count in self._counts]
        p, m = max(1, pairs.num_positive), max(1, pairs.num_negative)
        share_positive, share_negative = below[1] / m, 1 - below[0] / p
        area = float(self._counts[0] @ share_positive) / p
        self.positive: Float64Array = (share_positive - area) / p
        self.negative: Float64Array = (share_negative - area) / m

    def _count(self, scores: Ranked) -> Float64Array:
        counts = np.zeros(GRID)
        for values, weights in scores.chunks():
            counts += np.bincount(self.cells(values.astype(np.float32)), weights=weights, minlength=GRID)
        return counts

    def cells(self, scores: Float32Array) -> IntArray:
        """Return the cell of each score."""
        cells = ((scores - self._low) * self._scale).astype(np.int64)
        # Another block shape may move a cosine by a rounding, to just outside the range.
        return np.clip(cells, 0, GRID - 1, out=cells)

    def square_sum(self) -> float:
        """Add up psi^2 over all pairs."""
        return float(self._counts[0] @ np.square(self.positive) + self._counts[1] @ np.square(self.negative))
