"""Data of figures of pairs: curve points, histograms of scores, counts by threshold, reliability of probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import BoolArray, Float64Array, Values, check_probabilities, image_codes, scores_and_targets
from pairsim.evaluation.curves.roc_curve import RocCurve
from pairsim.evaluation.pairs.pair_figures import PairFigures, mean_gap
from pairsim.evaluation.pairs.ranked import IntArray, ToProbability
from pairsim.evaluation.uncertainty.clustered import image_level_intervals_of_pairs

_MAX_WHOLE_PAIRS, _MAX_POINTS = 20_000, 4_000


def curve_points(pairs: PairFigures) -> RocCurve:
    """Compute the points of a ROC or DET curve to draw.

    Args:
        pairs: Scores of positive and negative pairs.

    Returns:
        The curve: every point for up to 20,000 pairs, else at most 4,000 exact points, dense where an error is small.
    """
    return pairs.roc_curve(None if pairs.num_pairs <= _MAX_WHOLE_PAIRS else _MAX_POINTS)


@dataclass(frozen=True, eq=False)
class JoinedCurve:
    """An error curve with further points on the straight lines, in rates, between its exact points.

    Straight lines between these points follow the curve on any axis, such as a logarithmic one.

    Attributes:
        fmr: False match rate `[M]`, never falling.
        fnmr: False non-match rate `[M]`, never rising.
        exact: Whether each point is one of the curve `[M]`.
    """

    fmr: Float64Array
    fnmr: Float64Array
    exact: BoolArray


def join_points(curve: RocCurve, at_fmr: Float64Array, at_fnmr: Float64Array) -> JoinedCurve:
    """Add points to a curve, on which it is straight in rates, as the area under it takes it to be.

    Tied scores give points far apart, between which a logarithmic or normal-deviate axis bends the line.

    Args:
        curve: Both rates, without NaN.
        at_fmr: False match rates at which points are added; those outside the curve add none.
        at_fnmr: False non-match rates at which points are added, likewise.

    Returns:
        The curve with all its own points, in their order, and the others between them.
    """
    places = np.arange(len(curve.fmr), dtype=np.float64)
    further = [np.interp(at_fmr, curve.fmr, places), np.interp(at_fnmr, curve.fnmr[::-1], places[::-1])]
    joined = np.unique(np.concatenate([places, *further]))
    fmr, fnmr = (np.interp(joined, places, rates) for rates in (curve.fmr, curve.fnmr))
    return JoinedCurve(fmr, fnmr, joined == np.floor(joined))


def match_counts(pairs: PairFigures, thresholds: Float64Array) -> tuple[IntArray, IntArray]:
    """Count the pairs that match at each threshold.

    Args:
        pairs: Scores of positive and negative pairs.
        thresholds: Thresholds `[T]`, without NaN.

    Returns:
        The positive and the negative pairs with a score of at least each threshold, each `[T]`.
    """
    positive, negative = pairs.ranked
    return positive.matches(thresholds), negative.matches(thresholds)


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """The scores of positive and negative pairs in common bins, as shares of the pairs of each kind.

    Attributes:
        edges: Edges of the bins `[B + 1]`, ascending.
        positive_share: Share of the positive pairs in each bin `[B]`; 0 without positive pairs.
        negative_share: Share of the negative pairs in each bin `[B]`; 0 without negative pairs.
    """

    edges: Float64Array
    positive_share: Float64Array
    negative_share: Float64Array


def score_histogram(
    pairs: PairFigures, num_bins: int, *, low: float | None = None, high: float | None = None
) -> ScoreHistogram:
    """Count the scores in bins of equal width.

    Each bin holds its lower edge; the last one also holds its upper edge.

    Args:
        pairs: Finite scores, at least one.
        num_bins: Number of bins B, at least 1.
        low: Lower edge of the first bin, at most the lowest score; by default the lowest score.
        high: Upper edge of the last bin, at least the highest score; by default the highest score. Where both ends are
            equal by default, the bins reach 0.5 to either side.

    Returns:
        The edges and the share of the pairs of each kind in each bin.
    """
    ends = [float(scores.values[end]) for scores in pairs.ranked if scores.size for end in (0, -1)]
    first = min(ends) if low is None else low
    last = max(ends) if high is None else high
    if first == last:
        first, last = first - 0.5, last + 0.5
    edges = np.linspace(first, last, num_bins + 1)
    shares = [-np.diff(matches, append=0) for matches in match_counts(pairs, edges[:-1])]
    positive, negative = (share / max(1, kind.size) for share, kind in zip(shares, pairs.ranked, strict=True))
    return ScoreHistogram(edges, positive, negative)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often pairs are of the same class, by their probability, in bins of equal width over [0, 1].

    Attributes:
        mean_probability: Mean probability of the pairs of each bin `[B]`; NaN for an empty bin.
        positive_share: Share of positive pairs of each bin `[B]`; NaN for an empty bin.
        num_pairs: Number of pairs of each bin `[B]`.
        error: The expected calibration error.
    """

    mean_probability: Float64Array
    positive_share: Float64Array
    num_pairs: IntArray
    error: float


def reliability(pairs: PairFigures, probability: ToProbability, num_bins: int = 15) -> Reliability:
    """Compute the points of a reliability diagram.

    Args:
        pairs: Scores of positive and negative pairs.
        probability: Maps scores to probabilities; see `PairFigures.log_loss`.
        num_bins: Number of bins B, at least 1.

    Returns:
        The points, one for each bin.

    Raises:
        ValueError: As in `PairFigures.calibration_bins`.
    """
    bins = pairs.calibration_bins(probability, num_bins)
    return Reliability(*bins, error=mean_gap(*bins))


def reliability_intervals(
    probabilities: Values, targets: Values, first: Values, second: Values, num_bins: int = 15
) -> Float64Array:
    """Compute 95 % intervals of the share of positive pairs in each bin, which respect that pairs share images.

    Args:
        probabilities: Probability of "same class" per pair `[P]`, in [0, 1].
        targets: One target per pair `[P]`, 1 = same class.
        first: The first image of each pair `[P]`, by any whole number or string that names it.
        second: The second image of each pair `[P]`.
        num_bins: Number of bins B, at least 1.

    Returns:
        The lower and the upper ends `[2, B]`; NaN for an empty bin.

    Raises:
        TypeError: If probabilities are not numeric, or images not named by whole numbers or strings.
        ValueError: If shapes differ, a target is not 0 or 1, or a probability is NaN or outside [0, 1].
    """
    values, same = scores_and_targets(probabilities, targets, "probabilities")
    check_probabilities(values)
    one, other, _ = image_codes(first, second, values.size)
    bins = np.minimum((values * num_bins).astype(np.int64), num_bins - 1)
    ends = np.full((2, num_bins), np.nan)
    for number in np.unique(bins).tolist():
        inside = bins == number
        # With every pair a match, the accuracy is the share of positive pairs.
        matched = np.ones(int(inside.sum()))
        intervals = image_level_intervals_of_pairs(matched, same[inside], one[inside], other[inside], 0.5)
        ends[:, number] = intervals["accuracy"]
    return ends
