"""The points of an error curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import Float64Array, check_count
from pairsim.evaluation.pairs.ranked import IntArray, SplitScores


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Both error rates at every threshold that makes a difference.

    The first point is "nothing matches" (FMR 0, FNMR 1, threshold +inf), the last "everything matches" (FMR 1, FNMR 0).
    Where scores are themselves +inf, no threshold attains the first point.

    Attributes:
        fmr: False match rate `[K]` in [0, 1], never falling; NaN without negative pairs.
        fnmr: False non-match rate `[K]` in [0, 1], never rising; NaN without positive pairs.
        thresholds: Thresholds `[K]`, falling.

    Example:
        >>> from pairsim.evaluation import roc_curve
        >>> curve = roc_curve([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        >>> curve.fmr.tolist(), curve.fnmr.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [1.0, 0.5, 0.5, 0.0, 0.0])
    """

    fmr: Float64Array
    fnmr: Float64Array
    thresholds: Float64Array

    @property
    def tmr(self) -> Float64Array:
        """True match rate `[K]`, 1 - FNMR (TAR, true positive rate, recall elsewhere)."""
        return 1.0 - self.fnmr


def exact_curve(pairs: SplitScores, max_points: int | None = None) -> RocCurve:
    """Return the points at every distinct score, or at most `max_points` of them; see `PairFigures.roc_curve`."""
    positive, negative = pairs
    if max_points is None:
        chosen = np.concatenate([positive.values, negative.values])
    else:
        # Ranks in geometric steps from the small end of either error: as fine at FMR 1e-6 as at 0.1, on any axis.
        each = (check_count(max_points, "max_points", 5, 1000) - 1) // 2
        from_below, from_above = _ranks(positive.size, each) - 1, negative.size - _ranks(negative.size, each)
        chosen = np.concatenate([positive.at(from_below), negative.at(from_above)])
    thresholds = np.unique(chosen)[::-1]
    with np.errstate(invalid="ignore"):
        fmr = np.concatenate([[0], negative.size - negative.below(thresholds)]) / np.float64(negative.size)
        fnmr = np.concatenate([[positive.size], positive.below(thresholds)]) / np.float64(positive.size)
    return RocCurve(fmr, fnmr, np.concatenate([[np.inf], thresholds.astype(np.float64)]))


def _ranks(size: int, count: int) -> IntArray:
    if size == 0:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.rint(np.geomspace(1, size, min(count, size))).astype(np.int64))
