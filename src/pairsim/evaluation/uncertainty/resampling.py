"""Intervals by resampling images or classes, and paired comparison of two models.

Pairs share images, so it is images, or whole classes, that are drawn anew with replacement, never pairs. Embeddings
stay as they are: an image drawn k times gives its pairs the weight k, and a pair of images weighs the product of both.
Two copies of one image are no pair. When classes are drawn, all images of a class come k times together; two copies of
one class are no pair, be they taken for the same class or for two.

- Images: what other images of the same classes would give.
- Classes: what other classes would give as well. It takes some 20 classes for such an interval to mean much.

The weighted figures are read off a few hundred thresholds, which lie dense where either error is small, and joined by
straight lines; what that changes in the figure of the unweighted pairs is taken off again.

References:
    R. M. Bolle, N. K. Ratha, S. Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap,
    Computer Vision and Image Understanding 93, 2004.
    T. A. B. Snijders, S. P. Borgatti, Non-parametric standard errors and tests for network statistics, Connections 22,
    1999.
    B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap, 1993.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim._common.arrays import (
    Float64Array,
    Values,
    check_count,
    check_fraction,
    check_threshold,
    image_codes,
    scores_and_targets,
)
from pairsim.evaluation.pairs.pair_scores import PairFigures, PairScores, all_pair_scores, by_class, similarity_blocks
from pairsim.evaluation.pairs.ranked import IntArray, count_matches
from pairsim.evaluation.uncertainty.clustered import Intervals
from pairsim.evaluation.uncertainty.spread import check_confidence

Unit: TypeAlias = Literal["images", "classes"]

_CURVE_POINTS = 201
_AROUND_TARGET = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 4.0)
_EVENLY = tuple(count / 20 for count in range(1, 20))  # for curves whose errors are large
_RESAMPLES_AT_ONCE = 128  # weights of 10,000 images then stay in a cache


@dataclass(frozen=True, eq=False)
class Resampled:
    """Figures of a test set and of many resampled ones.

    Attributes:
        estimates: Each figure on the pairs themselves.
        figures: Each figure on each resampled set `[R]`; NaN where a set had no pair of a kind.
        unit: What was drawn.
        num_units: How many there are.
        seed: Of the draws. Sets with the same number of units and seed have the same weights.
    """

    estimates: dict[str, float]
    figures: dict[str, Float64Array]
    unit: Unit
    num_units: int
    seed: int

    def intervals(self, confidence: float = 0.95) -> Intervals:
        """Percentile intervals.

        Args:
            confidence: Coverage aimed at, in (0, 1).

        Returns:
            `(low, high)` of each figure; NaN where it is NaN.

        Raises:
            ValueError: If `confidence` is out of range.
        """
        check_confidence(confidence)
        return {name: _percentiles(self.figures[name], confidence) for name in self.estimates}


@dataclass(frozen=True)
class Difference:
    """How much a figure of one model is above that of another, on the same pairs.

    Attributes:
        first: Figure of the first model.
        second: Figure of the second one.
        difference: First less second.
        low: Lower end of the interval of the difference.
        high: Upper end.
        p_value: Two-sided, of no difference; it cannot fall below 2 / (resamples + 1).
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def bootstrap(
    embeddings: Values,
    labels: Values,
    threshold: float,
    *,
    fmr_targets: Sequence[float] = (),
    unit: Unit = "images",
    num_resamples: int = 1000,
    seed: int = 0,
    pair_scores: PairFigures | None = None,
    block_size: int = 256,
) -> Resampled:
    """Compute the figures over all pairs of labelled embeddings on resampled sets.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        threshold: The operating point of accuracy, balanced accuracy, FMR and FNMR.
        fmr_targets: FMRs in (0, 1] to give the FNMR at, as `fnmr_at_fmr_0.001`.
        unit: `"images"` or `"classes"`.
        num_resamples: Resampled sets R; 1,000 for intervals, some hundred for a first look.
        seed: Any whole number of at least 0.
        pair_scores: What `all_pair_scores` gave for the same embeddings and labels, if it is at hand.
        block_size: Rows of a block.

    Returns:
        `accuracy`, `balanced_accuracy`, `eer`, `fmr`, `fnmr`, `roc_auc` and the FNMR at each target.

    Raises:
        TypeError: If embeddings or labels are of the wrong dtype.
        ValueError: If they do not fit, are not of unit length, or an argument is out of range.

    Example:
        >>> angles = np.array([0.0, 0.1, 0.9, 1.0, 1.7, 0.4])
        >>> embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> low, high = bootstrap(embeddings, [0, 0, 0, 1, 1, 1], 0.8, num_resamples=50).intervals()["roc_auc"]
        >>> 0 <= low < high <= 1
        True
    """
    if unit not in ("images", "classes"):
        raise ValueError(f'Expected unit to be "images" or "classes", got {unit!r}.')
    pairs = all_pair_scores(embeddings, labels) if pair_scores is None else pair_scores
    vectors, codes, order = by_class(embeddings, labels)
    edges = _edges(pairs, threshold, fmr_targets)
    num_units = len(codes) if unit == "images" else int(codes[-1]) + 1 if codes.size else 0
    drawn = _weights(num_units, num_resamples, seed)
    # by image number, not by place in class order, so that two models get the same weights
    weights = drawn[torch.from_numpy(order)] if unit == "images" else drawn[torch.from_numpy(codes)]
    counts = _count_all_pairs(vectors, codes, edges, weights, unit=unit, block_size=block_size)
    return _resampled(pairs, counts, edges, threshold, fmr_targets, unit=unit, num_units=num_units, seed=seed)


def bootstrap_of_pairs(
    scores: Values,
    targets: Values,
    first: Values,
    second: Values,
    threshold: float,
    *,
    fmr_targets: Sequence[float] = (),
    num_resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Compute the figures over given pairs on sets with resampled images.

    Args:
        scores: One score per pair `[P]`, higher = more alike.
        targets: One target per pair `[P]`, 1 = same class.
        first: The first image of each pair `[P]`, by any whole number or string that names it.
        second: The second image of each pair `[P]`.
        threshold: The operating point of accuracy, balanced accuracy, FMR and FNMR.
        fmr_targets: As for `bootstrap`.
        num_resamples: As for `bootstrap`.
        seed: As for `bootstrap`.

    Returns:
        The figures, as of `bootstrap`.

    Raises:
        TypeError: If scores are not numeric, or images not named by whole numbers or strings.
        ValueError: If shapes differ, a target is not 0 or 1, a score is NaN, or an argument is out of range.

    Example:
        >>> scores, targets = [0.9, 0.7, 0.3, 0.2, 0.8, 0.1], [1, 1, 1, 0, 0, 0]
        >>> first, second = [0, 0, 1, 0, 1, 2], [1, 2, 2, 3, 3, 3]
        >>> sorted(bootstrap_of_pairs(scores, targets, first, second, 0.5, num_resamples=20).figures)
        ['accuracy', 'balanced_accuracy', 'eer', 'fmr', 'fnmr', 'roc_auc']
    """
    values, same = scores_and_targets(scores, targets)
    one, other, num_images = image_codes(first, second, values.size)
    pairs = PairScores(np.sort(values[same]), np.sort(values[~same]))
    edges = _edges(pairs, threshold, fmr_targets)
    weights = _weights(num_images, num_resamples, seed)
    keys = np.searchsorted(edges, values, side="right") + (len(edges) + 1) * ~same
    order = np.argsort(keys, kind="stable")
    offsets = _offsets(keys, 2 * (len(edges) + 1))
    left, right = (torch.from_numpy(part[order]) for part in (one, other))
    parts = []
    for chunk in weights.split(max(1, (1 << 24) // max(1, values.size)), dim=1):
        of_pairs = chunk[left] * torch.where((left != right)[:, None], chunk[right], 1.0)
        parts.append(_bag_sums(torch.arange(len(of_pairs)), of_pairs, offsets).double())
    counts = torch.cat(parts, dim=1).numpy().reshape(2, len(edges) + 1, -1)
    return _resampled(pairs, counts, edges, threshold, fmr_targets, unit="images", num_units=num_images, seed=seed)


def paired_differences(first: Resampled, second: Resampled, *, confidence: float = 0.95) -> dict[str, Difference]:
    """Compare two models on the same pairs, resampled alike.

    Args:
        first: Figures of one model.
        second: Figures of the other, of the same images in the same order, with the same `seed` and number of sets.
        confidence: Coverage aimed at, in (0, 1).

    Returns:
        For each figure that both have the difference with its interval and p-value.

    Raises:
        ValueError: If the sets were not drawn alike, or `confidence` is out of range.

    Example:
        >>> angles = np.array([0.0, 0.1, 0.9, 1.0, 1.7, 0.4])
        >>> embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> found = bootstrap(embeddings, [0, 0, 0, 1, 1, 1], 0.8, num_resamples=50)
        >>> paired_differences(found, found)["roc_auc"].p_value
        1.0
    """
    alike = all(getattr(first, name) == getattr(second, name) for name in ("unit", "num_units", "seed"))
    sizes = {len(values) for found in (first, second) for values in found.figures.values()}
    if not alike or len(sizes) > 1:
        raise ValueError(
            "Expected both to be resampled alike, got other units, seeds or numbers of sets. Call bootstrap for both "
            "with the same images in the same order, unit, num_resamples and seed."
        )
    check_confidence(confidence)
    found = {}
    for name in (name for name in first.estimates if name in second.estimates):
        differences = first.figures[name] - second.figures[name]
        known = differences[~np.isnan(differences)]
        sides = [(1 + int(side.sum())) / (known.size + 1) for side in (known <= 0, known >= 0)]
        a, b = first.estimates[name], second.estimates[name]
        missing = math.isnan(a - b)
        found[name] = Difference(
            a, b, a - b, *_percentiles(differences, confidence), math.nan if missing else min(1.0, 2 * min(sides))
        )
    return found


def _percentiles(values: Float64Array, confidence: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _weights(num_units: int, num_resamples: int, seed: int) -> Tensor:
    """How often each unit was drawn `[U, R]`; float32, in which all sums of a row of pairs are exact."""
    count = check_count(num_resamples, "num_resamples", 1, 1000)
    if not num_units:
        return torch.zeros(0, count)
    generator = np.random.default_rng(check_count(seed, "seed", 0, 0))
    drawn = np.empty((num_units, count), dtype=np.float32)
    for number in range(count):
        drawn[:, number] = np.bincount(generator.integers(num_units, size=num_units), minlength=num_units)
    return torch.from_numpy(drawn)


def _edges(pairs: PairFigures, threshold: float, fmr_targets: Sequence[float]) -> Float64Array:
    """Thresholds to read figures at, ascending."""
    cut = check_threshold(threshold)
    few = pairs.num_pairs <= 2 * _CURVE_POINTS
    chosen = [pairs.roc_curve(None if few else _CURVE_POINTS).thresholds, [cut, pairs.equal_error_threshold()]]
    rates = [check_fraction(target, "fmr") for target in fmr_targets] + [pairs.equal_error_rate()]
    if pairs.num_positive and pairs.num_negative:
        around = [min(1.0, rate * factor) for rate in rates for factor in _AROUND_TARGET]
        chosen.append([pairs.threshold_at_fmr(rate) for rate in (*around, *_EVENLY)])
    edges = np.unique(np.concatenate([np.asarray(part, dtype=np.float64) for part in chosen]))
    return np.asarray(edges[np.isfinite(edges)])


def _count_all_pairs(
    vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    codes: IntArray,
    edges: Float64Array,
    weights: Tensor,
    *,
    unit: Unit,
    block_size: int,
) -> Float64Array:
    """Weighted pairs between two edges `[2, E + 1, R]`, positive ones first."""
    num_cells = len(edges) + 1
    ends = np.searchsorted(codes, codes, side="right")
    chunks = [chunk.contiguous() for chunk in weights.split(_RESAMPLES_AT_ONCE, dim=1)]
    counts = [torch.zeros(2 * num_cells, chunk.shape[1], dtype=torch.float64) for chunk in chunks]
    bounds = torch.from_numpy(edges)
    for start, products in similarity_blocks(vectors, block_size, upper=True):
        cells = torch.bucketize(torch.from_numpy(products).double(), bounds, right=True).to(torch.int32).numpy()
        for row in range(len(products)):
            image, end = start + row, int(ends[start + row])
            keys = cells[row, row + 1 :].astype(np.uint16)
            keys[end - image - 1 :] += np.uint16(num_cells)
            order = torch.from_numpy(np.argsort(keys, kind="stable") + image + 1)
            offsets = _offsets(keys, 2 * num_cells)
            for chunk, count in zip(chunks, counts, strict=True):
                sums = _bag_sums(order, chunk, offsets)
                if unit == "classes":  # a class with itself comes as often as it was drawn, not that often squared
                    sizes = offsets.diff(append=torch.tensor([len(keys)]))
                    sums[:num_cells] = sizes[:num_cells, None].float()
                count.addcmul_(sums.double(), chunk[image].double())
    return torch.cat(counts, dim=1).numpy().reshape(2, num_cells, -1)


def _offsets(keys: np.ndarray[tuple[int], np.dtype[np.integer]], num_keys: int) -> Tensor:
    """Where each key begins in the sorted keys `[K]`."""
    sizes = np.bincount(keys, minlength=num_keys)
    return torch.from_numpy(np.cumsum(sizes) - sizes)


def _bag_sums(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    if not len(rows):
        return torch.zeros(len(offsets), weights.shape[1])
    return functional.embedding_bag(rows, weights, offsets, mode="sum")


def _resampled(
    pairs: PairFigures,
    counts: Float64Array,
    edges: Float64Array,
    threshold: float,
    fmr_targets: Sequence[float],
    *,
    unit: Unit,
    num_units: int,
    seed: int,
) -> Resampled:
    figures = _figures(counts, edges, threshold, fmr_targets)
    unweighted = []
    for scores in pairs.ranked:
        below = scores.size - count_matches(scores, edges)
        unweighted.append(np.diff(np.concatenate([[0], below, [scores.size]])))
    coarse = _figures(np.stack(unweighted)[:, :, None].astype(np.float64), edges, threshold, fmr_targets)
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    estimates = {
        "accuracy": pairs.accuracy(threshold),
        "balanced_accuracy": pairs.balanced_accuracy(threshold),
        "eer": pairs.equal_error_rate(),
        "fmr": fmr,
        "fnmr": fnmr,
        "roc_auc": pairs.roc_auc(),
        **{f"fnmr_at_fmr_{target:g}": pairs.fnmr_at_fmr(target) for target in fmr_targets},
    }
    shifted = {name: np.clip(figures[name] + (estimates[name] - coarse[name][0]), 0.0, 1.0) for name in estimates}
    return Resampled(estimates, shifted, unit, num_units, seed)


def _figures(
    counts: Float64Array, edges: Float64Array, threshold: float, fmr_targets: Sequence[float]
) -> dict[str, Float64Array]:
    """Each figure `[R]` of weighted pairs between edges `[2, E + 1, R]`."""
    totals = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        positive, negative = counts / totals[:, None]
        # at the thresholds -inf, each edge, +inf
        zero = np.zeros((1, positive.shape[1]))
        fnmr = np.concatenate([zero, np.cumsum(positive, axis=0)])
        fmr = np.concatenate([np.cumsum(negative[::-1], axis=0)[::-1], zero])
        at = 1 + int(np.searchsorted(edges, threshold))
        share = totals[0] / totals.sum(axis=0)
        accuracy = share * (1 - fnmr[at]) + (1 - share) * (1 - fmr[at])
    return {
        "accuracy": accuracy,
        "balanced_accuracy": 1 - (fmr[at] + fnmr[at]) / 2,
        "eer": _crossing(fmr, fmr - fnmr),
        "fmr": fmr[at],
        "fnmr": fnmr[at],
        "roc_auc": (negative * (1 - (fnmr[1:] + fnmr[:-1]) / 2)).sum(axis=0),
        **{f"fnmr_at_fmr_{target:g}": _crossing(fnmr, fmr - target) for target in fmr_targets},
    }


def _crossing(values: Float64Array, excess: Float64Array) -> Float64Array:
    """Values `[K, R]` where the falling `excess` comes to 0, on a straight line between two thresholds; NaN for NaN."""
    after = (excess > 0).sum(axis=0).clip(1, len(excess) - 1)
    column = np.arange(values.shape[1])
    high, low = excess[after - 1, column], excess[after, column]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high > low, high / (high - low), 0.0)
    return np.asarray(values[after - 1, column] + (values[after, column] - values[after - 1, column]) * share)
