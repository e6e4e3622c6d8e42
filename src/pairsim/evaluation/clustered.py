"""Confidence intervals that respect that pairs share images.

N images give N(N-1)/2 pairs, but only N independent draws: if one image is odd, all its N - 1 pairs are. Intervals that
take pairs for independent are far too narrow. Here each figure is linearised: pair p moves it by psi_p, and

    Var = sum over images i of (sum of psi_p over the pairs p that touch i)^2 - sum over pairs p of psi_p^2,

which adds the covariance of every two pairs with an image in common. For few images it is multiplied by
N (N - 1) / (N - 2)^2, what leaving out one image at a time gives, and it is never taken below the sum of psi_p^2,
what independent pairs would give. The interval is estimate +- z sqrt(Var), clipped to [0, 1].

- FMR, FNMR, accuracy, balanced accuracy: psi is the error indicator less its rate, times the pair's weight in the mean.
- AUC: psi is the share of the other class that the pair is on the right side of, less the AUC, over the pairs of its
  class.
- EER: with e0, e1 the deviations of FMR and FNMR at the EER threshold, and f0, f1 the densities of negative and
  positive scores there, the crossing moves by (f1 e0 + f0 e1) / (f0 + f1); f1 : f0 is read off the curve around the
  crossing.

What the intervals cover is new images of the same classes. They do not cover new classes, the randomness of training,
or a threshold chosen on the same pairs. They are for large samples: with a few images per class, or rates near 0 or 1,
they are rough, and a figure without a single error gets an interval of width 0, which means "no error seen", not
"certain".

References:
    M. Fafchamps, F. Gubert, The formation of risk sharing networks, Journal of Development Economics 83, 2007.
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Comparing the areas under two or more correlated receiver
    operating characteristic curves, Biometrics 44, 1988.
    R. M. Bolle, N. K. Ratha, S. Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap,
    Computer Vision and Image Understanding 93, 2004.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pairsim.evaluation import _sorted
from pairsim.evaluation._inputs import Float64Array, Values, as_array, check_threshold, scores_and_targets
from pairsim.evaluation.all_pairs import (
    Float32Array,
    IntArray,
    PairScores,
    all_pair_scores,
    by_class,
    similarity_blocks,
)

Intervals: TypeAlias = dict[str, tuple[float, float]]

GRID = 1 << 16
"""Cells over the range of all scores, within which the AUC's psi takes scores for tied; see `_Placements`."""


@dataclass(frozen=True)
class _ErrorFigure:
    """A figure whose psi is weight x (error indicator - centre), with one weight and centre for each target."""

    threshold: float
    positive_weight: float
    positive_center: float
    negative_weight: float
    negative_center: float


def image_level_intervals(
    embeddings: Values,
    labels: Values,
    threshold: float,
    *,
    confidence: float = 0.95,
    pair_scores: PairScores | None = None,
    block_size: int = 256,
) -> Intervals:
    """Compute intervals for the figures over all pairs of labelled embeddings.

    The cosines are computed a second time, block by block, so nothing of size N x N is stored. For the AUC alone,
    scores closer than 1/65,536 of the range of all scores count as tied.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        threshold: The operating point of accuracy, balanced accuracy, FMR and FNMR.
        confidence: Coverage aimed at, in (0, 1).
        pair_scores: What `all_pair_scores` gave for the same embeddings and labels, if it is at hand: saves that pass.
        block_size: Rows of a block; memory is some `20 x block_size x N` bytes.

    Returns:
        `(low, high)` for each of `accuracy`, `balanced_accuracy`, `eer`, `fmr`, `fnmr`, `roc_auc`; NaN where the figure
        is.

    Raises:
        TypeError: If embeddings or labels are of the wrong dtype.
        ValueError: If they do not fit, are not of unit length, `pair_scores` are of other pairs, `threshold` is NaN, or
            `confidence` or `block_size` is out of range.

    Example:
        >>> angles = np.array([0.0, 0.1, 0.9, 1.0, 1.7, 0.4])
        >>> embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> low, high = image_level_intervals(embeddings, [0, 0, 0, 1, 1, 1], threshold=0.8)["roc_auc"]
        >>> 0 <= low < high <= 1
        True
    """
    pairs = all_pair_scores(embeddings, labels) if pair_scores is None else pair_scores
    figures, estimates = _figures(pairs, threshold)
    factor = _normal_quantile(confidence)
    vectors, codes, _ = by_class(embeddings, labels)
    sizes = np.bincount(codes) if codes.size else np.zeros(0, dtype=np.int64)
    num_positive, num_all = int((sizes * (sizes - 1) // 2).sum()), len(vectors) * (len(vectors) - 1) // 2
    if (pairs.num_positive, pairs.num_pairs) != (num_positive, num_all):
        raise ValueError(
            f"Expected pair_scores of these {num_all} pairs, {num_positive} of them positive, got {pairs.num_pairs}, "
            f"{pairs.num_positive} of them positive. Pass all_pair_scores(embeddings, labels), or leave it out."
        )
    placements = _Placements(pairs)
    thresholds = sorted({figure.threshold for figure in figures.values() if not math.isnan(figure.threshold)})
    errors, auc_sums = _per_image(vectors, codes, sizes, thresholds, placements, block_size=block_size)
    own = sizes[codes]
    square_sum = placements.square_sum()
    variances = {"roc_auc": _variance(auc_sums, square_sum, least=square_sum)}
    for name, figure in figures.items():
        if math.isnan(estimates[name]):
            continue
        false_matches, false_non_matches = errors[figure.threshold]
        sums = figure.positive_weight * (false_non_matches - figure.positive_center * (own - 1))
        sums += figure.negative_weight * (false_matches - figure.negative_center * (len(vectors) - own))
        square_sum = _square_sum(pairs, figure)
        variances[name] = _variance(sums, square_sum, least=square_sum)
    return _intervals(estimates, variances, factor)


def image_level_intervals_of_pairs(
    scores: Values, targets: Values, first: Values, second: Values, threshold: float, *, confidence: float = 0.95
) -> Intervals:
    """Compute intervals for the figures over given pairs.

    A pair that is given twice, in either order, counts twice in the estimate and is known not to be independent.

    Args:
        scores: One score per pair `[P]`, higher = more alike.
        targets: One target per pair `[P]`, 1 = same class.
        first: The first image of each pair `[P]`, by any whole number or string that names it.
        second: The second image of each pair `[P]`.
        threshold: The operating point of accuracy, balanced accuracy, FMR and FNMR.
        confidence: Coverage aimed at, in (0, 1).

    Returns:
        `(low, high)` for each of `accuracy`, `balanced_accuracy`, `eer`, `fmr`, `fnmr`, `roc_auc`; NaN where the figure
        is.

    Raises:
        TypeError: If scores are not numeric, or images not named by whole numbers or strings.
        ValueError: If shapes differ, a target is not 0 or 1, a score or `threshold` is NaN, or `confidence` is out of
            range.

    Example:
        >>> scores, targets = [0.9, 0.7, 0.3, 0.2, 0.8, 0.1], [1, 1, 1, 0, 0, 0]
        >>> first, second = [0, 0, 1, 0, 1, 2], [1, 2, 2, 3, 3, 3]
        >>> sorted(image_level_intervals_of_pairs(scores, targets, first, second, threshold=0.5))
        ['accuracy', 'balanced_accuracy', 'eer', 'fmr', 'fnmr', 'roc_auc']
    """
    values, same = scores_and_targets(scores, targets)
    names = [_image_names(images, name, values.size) for name, images in (("first", first), ("second", second))]
    codes = np.unique(np.concatenate(names), return_inverse=True)[1].astype(np.int64)
    one, other = np.sort(codes.reshape(2, -1), axis=0)
    pairs = PairScores(np.sort(values[same]), np.sort(values[~same]))
    figures, estimates = _figures(pairs, threshold)
    factor = _normal_quantile(confidence)
    variances = {}
    for name, estimate in estimates.items():
        if math.isnan(estimate):
            continue
        psi = np.empty(values.size)
        if name == "roc_auc":
            psi[same] = (_share_below(pairs.negative, values[same]) - estimate) / pairs.num_positive
            psi[~same] = (1 - _share_below(pairs.positive, values[~same]) - estimate) / pairs.num_negative
        else:
            figure = figures[name]
            matches = values >= figure.threshold
            psi[same] = figure.positive_weight * (~matches[same] - figure.positive_center)
            psi[~same] = figure.negative_weight * (matches[~same] - figure.negative_center)
        variances[name] = _variance_of_pairs(psi, one, other)
    return _intervals(estimates, variances, factor)


def _figures(pairs: PairScores, threshold: float) -> tuple[Mapping[str, _ErrorFigure], Mapping[str, float]]:
    cut = check_threshold(threshold)
    fmr, fnmr = pairs.fmr_fnmr(cut)
    accuracy = pairs.accuracy(cut)
    eer_cut = pairs.equal_error_threshold()
    # Where there are no pairs of a kind, the figure is NaN and its weights are never used.
    p, m, total = (max(1, count) for count in (pairs.num_positive, pairs.num_negative, pairs.num_pairs))
    estimates = {
        "accuracy": accuracy,
        "balanced_accuracy": pairs.balanced_accuracy(cut),
        "eer": pairs.equal_error_rate(),
        "fmr": fmr,
        "fnmr": fnmr,
        "roc_auc": pairs.roc_auc(),
    }
    figures = {
        "accuracy": _ErrorFigure(cut, 1 / total, 1 - accuracy, 1 / total, 1 - accuracy),
        "balanced_accuracy": _ErrorFigure(cut, 0.5 / p, fnmr, 0.5 / m, fmr),
        "fmr": _ErrorFigure(cut, 0.0, 0.0, 1 / m, fmr),
        "fnmr": _ErrorFigure(cut, 1 / p, fnmr, 0.0, 0.0),
    }
    if not math.isnan(eer_cut):
        fmr_weight = _eer_weight_of_fmr(pairs, estimates["eer"])
        eer_fmr, eer_fnmr = pairs.fmr_fnmr(eer_cut)
        figures["eer"] = _ErrorFigure(eer_cut, (1 - fmr_weight) / p, eer_fnmr, fmr_weight / m, eer_fmr)
    return figures, estimates


def _eer_weight_of_fmr(pairs: PairScores, rate: float) -> float:
    """Return f1 / (f0 + f1) from the stretch of the curve where FMR and FNMR differ by at most some `width`.

    Rates, unlike densities of the scores, do not change under a monotone transform. The stretch scales with the rate,
    as the curve bends on that scale, and is wide enough to hold some pairs of either kind.
    """
    positive, negative = pairs.positive, pairs.negative
    width = max(rate / 2, 1 / math.sqrt(min(positive.size, negative.size)))
    fmr_low, fnmr_low = pairs.fmr_fnmr(_sorted.highest_reaching(positive, negative, width))
    fmr_high, fnmr_high = pairs.fmr_fnmr(_sorted.highest_reaching(positive, negative, -width))
    change_fmr, change_fnmr = fmr_low - fmr_high, fnmr_high - fnmr_low
    return change_fnmr / (change_fmr + change_fnmr) if change_fmr + change_fnmr > 0 else 0.5


def _share_below(ordered: npt.NDArray[np.floating[Any]], values: Float64Array) -> Float64Array:
    """Return the share of `ordered` below each value, ties counted half."""
    below, upto = np.searchsorted(ordered, values, side="left"), np.searchsorted(ordered, values, side="right")
    return (below + upto) / (2 * ordered.size)


class _Placements:
    """The AUC's psi as two tables over a grid of scores.

    A search among millions of scores for each of N x N cosines would take several times as long as everything else. On
    the grid it is one look-up, and still sums to 0 exactly: the tables are those of the scores rounded to the grid.
    """

    def __init__(self, pairs: PairScores) -> None:
        ends = [float(scores[place]) for scores in (pairs.positive, pairs.negative) if scores.size for place in (0, -1)]
        self.low = np.float32(min(ends, default=0.0))
        span = max(ends, default=0.0) - float(self.low)
        self.scale = np.float32((GRID - 1) / span if span > 1e-30 else 0.0)
        self.counts = [self._count(scores) for scores in (pairs.positive, pairs.negative)]
        below = [np.cumsum(count) - count / 2 for count in self.counts]
        p, m = max(1, pairs.num_positive), max(1, pairs.num_negative)
        placed_positive, placed_negative = below[1] / m, 1 - below[0] / p
        area = float(self.counts[0] @ placed_positive) / p
        self.positive = (placed_positive - area) / p
        self.negative = (placed_negative - area) / m

    def _count(self, scores: npt.NDArray[np.floating[Any]]) -> Float64Array:
        counts = np.zeros(GRID, dtype=np.int64)
        for start in range(0, scores.size, _sorted.CHUNK):
            chunk = scores[start : start + _sorted.CHUNK].astype(np.float32)
            counts += np.bincount(self.cells(chunk), minlength=GRID)
        return counts.astype(np.float64)

    def cells(self, scores: Float32Array) -> IntArray:
        """Return the cell of each score; the same arithmetic for the tables and for the look-ups."""
        cells = ((scores - self.low) * self.scale).astype(np.int64)
        # Another block shape may move a cosine by a rounding, to just outside the range.
        return np.clip(cells, 0, GRID - 1, out=cells)

    def square_sum(self) -> float:
        """Sum of psi^2 over all pairs."""
        return float(self.counts[0] @ np.square(self.positive) + self.counts[1] @ np.square(self.negative))


def _per_image(
    vectors: Float32Array,
    codes: IntArray,
    sizes: IntArray,
    thresholds: list[float],
    placements: _Placements,
    *,
    block_size: int,
) -> tuple[dict[float, tuple[Float64Array, Float64Array]], Float64Array]:
    """Sum over the pairs of each image: false matches and false non-matches by threshold, and the AUC's psi.

    Rows are in class order, so the positive pairs of a row are one slice (with the image itself, which is taken out).
    """
    num_images = len(vectors)
    begins = (np.cumsum(sizes) - sizes)[codes]
    ends = begins + sizes[codes]
    errors = {t: (np.zeros(num_images), np.zeros(num_images)) for t in thresholds}
    auc_sums = np.zeros(num_images)
    for start, products in similarity_blocks(vectors, block_size, upper=False):
        cells = placements.cells(products)
        if_negative = placements.negative[cells]
        totals = if_negative.sum(axis=1)
        hits = [products >= _sorted.rounded_up(t, products.dtype) for t in thresholds]
        matching = [(errors[t], hit, hit.sum(axis=1)) for t, hit in zip(thresholds, hits, strict=True)]
        for row in range(len(products)):
            image = start + row
            same = slice(int(begins[image]), int(ends[image]))
            own = placements.positive[cells[row, same]].sum() - placements.positive[cells[row, image]]
            auc_sums[image] = totals[row] - if_negative[row, same].sum() + own
            for (false_matches, false_non_matches), matches, count in matching:
                matches_same = int(matches[row, same].sum())
                false_matches[image] = count[row] - matches_same
                false_non_matches[image] = (same.stop - same.start - 1) - (matches_same - int(matches[row, image]))
    return errors, auc_sums


def _square_sum(pairs: PairScores, figure: _ErrorFigure) -> float:
    total = 0.0
    false_matches, false_non_matches = _sorted.error_counts(pairs.positive, pairs.negative, figure.threshold)
    for count, errors, weight, center in (
        (pairs.num_positive, false_non_matches, figure.positive_weight, figure.positive_center),
        (pairs.num_negative, false_matches, figure.negative_weight, figure.negative_center),
    ):
        total += weight**2 * (errors * (1 - center) ** 2 + (count - errors) * center**2)
    return total


def _variance(image_sums: Float64Array, square_sum: float, *, least: float) -> float:
    num_images = image_sums.size
    jackknife = num_images * (num_images - 1) / (num_images - 2) ** 2 if num_images > 2 else 1.0
    return max(jackknife * (float(image_sums @ image_sums) - square_sum), least)


def _variance_of_pairs(psi: Float64Array, one: IntArray, other: IntArray) -> float:
    num_images = int(other.max()) + 1
    # Pairs of the same two images would be counted once for each of the two; together they are one pair.
    keys, group = np.unique(one * num_images + other, return_inverse=True)
    merged = _sum_by(group, psi, keys.size)
    one, other = keys // num_images, keys % num_images
    apart = one != other
    sums = _sum_by(one, merged, num_images) + _sum_by(other[apart], merged[apart], num_images)
    # An image paired with itself is in one sum only, so nothing is to be taken off for it.
    return _variance(sums, float(np.square(merged[apart]).sum()), least=float(np.square(merged).sum()))


def _sum_by(groups: IntArray, values: Float64Array, size: int) -> Float64Array:
    return np.bincount(groups, weights=values, minlength=size).astype(np.float64, copy=False)


def _image_names(images: Values, name: str, num_pairs: int) -> npt.NDArray[Any]:
    array = as_array(images, name)
    if array.shape != (num_pairs,):
        raise ValueError(
            f"Expected {name} to name one image per pair, shape [{num_pairs}], got shape {list(array.shape)}. "
            "Give the images in the order of the scores."
        )
    if array.size and array.dtype.kind not in "iuUSO":
        raise TypeError(f"Expected {name} to be whole numbers or strings, got dtype {array.dtype}. Convert them.")
    return array if array.size else np.zeros(0, dtype=np.int64)


def _normal_quantile(confidence: float) -> float:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"Expected confidence between 0 and 1, got {confidence}. Use 0.95 for 95 %.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _intervals(estimates: Mapping[str, float], variances: Mapping[str, float], factor: float) -> Intervals:
    intervals = {}
    for name, estimate in estimates.items():
        if math.isnan(estimate):
            intervals[name] = (math.nan, math.nan)
        else:
            margin = factor * math.sqrt(variances[name])
            intervals[name] = (max(0.0, estimate - margin), min(1.0, estimate + margin))
    return intervals
