"""Intervals by resampling images or classes.

Pairs share images, so images, or whole classes, are drawn with replacement, never pairs. Embeddings stay as they are:
an image drawn k times gives its pairs the weight k, and a pair of images has the product of both weights. Two copies of
one image are no pair. When classes are drawn, all images of a class come k times together; two copies of one class are
no pairs, neither positive nor negative.

- Images: the interval covers other images of the same classes.
- Classes: it covers other classes as well. Such an interval needs some 20 classes.

The weighted figures are read off a few hundred thresholds, which lie dense where either error is small, and joined by
straight lines; the same error of the unweighted pairs is subtracted.

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
from functools import cached_property
from itertools import pairwise

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
from pairsim._common.choices import Unit
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.pair_scores import PairScores, all_pair_scores
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.evaluation.pairs.similarities import by_class, similarity_blocks
from pairsim.evaluation.uncertainty.spread import Intervals, check_confidence, fnmr_name, point_estimates

_CURVE_POINTS = 201
_AROUND_TARGET = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 4.0)
_EVENLY = tuple(count / 20 for count in range(1, 20))  # for curves with large errors
_RESAMPLES_AT_ONCE = 128  # weights of 10,000 images then stay in a cache
_PAIRS_AT_ONCE = 1 << 20  # their weights have exact sums in float32


@dataclass(frozen=True, eq=False)
class Resampled:
    """Figures of a test set and of many resampled sets.

    Attributes:
        estimates: Each figure on the pairs themselves.
        figures: Each figure on each resampled set `[R]`; NaN where a set had no pair of a kind.
        unit: The units that were drawn: `"images"` or `"classes"`.
        num_units: Number of units in the test set.
        seed: Seed of the draws. Sets with the same number of units and seed have the same weights.
    """

    estimates: dict[str, float]
    figures: dict[str, Float64Array]
    unit: Unit
    num_units: int
    seed: int

    def intervals(self, confidence: float = 0.95) -> Intervals:
        """Compute percentile intervals.

        Args:
            confidence: Coverage aimed at, in (0, 1).

        Returns:
            `(low, high)` of each figure; NaN where it is NaN.

        Raises:
            ValueError: If `confidence` is out of range.
        """
        check_confidence(confidence)
        return {name: _percentiles(self.figures[name], confidence) for name in self.estimates}


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
        pair_scores: The result of `all_pair_scores` for the same embeddings and labels, if there is one.
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
    figures = _WeightedFigures(pairs, threshold, fmr_targets)
    # By image number, not by position in class order, so that two models get the same weights.
    units = order if unit == "images" else codes
    num_units = int(units.max(initial=-1)) + 1
    weights = _weights(num_units, num_resamples, seed)[torch.from_numpy(units)]
    num_cells = len(figures.edges) + 1
    ends = np.searchsorted(codes, codes, side="right")
    chunks = [chunk.contiguous() for chunk in weights.split(_RESAMPLES_AT_ONCE, dim=1)]
    counts = [torch.zeros(2 * num_cells, chunk.shape[1], dtype=torch.float64) for chunk in chunks]
    bounds = torch.from_numpy(figures.edges)
    for start, products in similarity_blocks(vectors, block_size, upper=True):
        cells = torch.bucketize(torch.from_numpy(products).double(), bounds, right=True).numpy().astype(np.uint16)
        for first, last in _rows_of_equal_weight(codes[start : start + len(products)], len(codes), unit):
            parts = [cells[row, row + 1 :] for row in range(first, last)]
            for row, part in zip(range(first, last), parts, strict=True):
                part[int(ends[start + row]) - start - row - 1 :] += np.uint16(num_cells)
            keys = np.concatenate(parts)
            others = np.concatenate([np.arange(start + row + 1, len(codes)) for row in range(first, last)])
            rows = torch.from_numpy(others[np.argsort(keys, kind="stable")])
            offsets = _offsets(keys, 2 * num_cells)
            for chunk, count in zip(chunks, counts, strict=True):
                sums = _bag_sums(rows, chunk, offsets)
                if unit == "classes":  # a class with itself has the weight k, not k squared
                    sizes = offsets.diff(append=torch.tensor([len(keys)]))
                    sums[:num_cells] = sizes[:num_cells, None].float()
                count.addcmul_(sums.double(), chunk[start + first].double())
    return figures.resampled(counts, unit, num_units, seed)


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
        scores: One score per pair `[P]`, higher = more similar.
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
    figures = _WeightedFigures(PairScores.from_scores(values, same), threshold, fmr_targets)
    num_cells = len(figures.edges) + 1
    weights = _weights(num_images, num_resamples, seed)
    keys = np.searchsorted(figures.edges, values, side="right") + num_cells * ~same
    order = np.argsort(keys, kind="stable")
    offsets = _offsets(keys, 2 * num_cells)
    left, right = (torch.from_numpy(images[order]) for images in (one, other))
    parts = []
    for chunk in weights.split(max(1, (1 << 24) // max(1, len(keys))), dim=1):
        of_pairs = chunk[left] * torch.where((left != right)[:, None], chunk[right], 1.0)
        parts.append(_bag_sums(torch.arange(len(of_pairs)), of_pairs, offsets).double())
    return figures.resampled(parts, "images", num_images, seed)


@dataclass(frozen=True)
class Difference:
    """The difference of a figure of two models on the same pairs.

    Attributes:
        first: Figure of the first model.
        second: Figure of the second one.
        difference: First minus second.
        low: Lower end of the interval of the difference.
        high: Upper end.
        p_value: Two-sided, for the hypothesis of no difference; at least 2 / (resamples + 1).
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def paired_differences(first: Resampled, second: Resampled, *, confidence: float = 0.95) -> dict[str, Difference]:
    """Compare the figures of two models on the same resampled sets.

    Args:
        first: Figures of one model.
        second: Figures of the other, of the same images in the same order, with the same `seed` and number of sets.
        confidence: Coverage aimed at, in (0, 1).

    Returns:
        The difference of each figure that both have, with its interval and p-value.

    Raises:
        ValueError: If the sets were drawn differently, or `confidence` is out of range.

    Example:
        >>> from pairsim.evaluation import bootstrap
        >>> angles = np.array([0.0, 0.1, 0.9, 1.0, 1.7, 0.4])
        >>> embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> resampled = bootstrap(embeddings, [0, 0, 0, 1, 1, 1], 0.8, num_resamples=50)
        >>> paired_differences(resampled, resampled)["roc_auc"].p_value
        1.0
    """
    same_draws = all(getattr(first, name) == getattr(second, name) for name in ("unit", "num_units", "seed"))
    sizes = {len(values) for model in (first, second) for values in model.figures.values()}
    if not same_draws or len(sizes) > 1:
        raise ValueError(
            "Expected both to be resampled in the same way, got other units, seeds or numbers of sets. Call bootstrap "
            "for both with the same images in the same order, unit, num_resamples and seed."
        )
    check_confidence(confidence)
    differences = {}
    for name in (name for name in first.estimates if name in second.estimates):
        resampled = first.figures[name] - second.figures[name]
        known = resampled[~np.isnan(resampled)]
        sides = [(1 + int(side.sum())) / (known.size + 1) for side in (known <= 0, known >= 0)]
        difference = first.estimates[name] - second.estimates[name]
        differences[name] = Difference(
            first.estimates[name],
            second.estimates[name],
            difference,
            *_percentiles(resampled, confidence),
            math.nan if math.isnan(difference) else min(1.0, 2 * min(sides)),
        )
    return differences


@dataclass(frozen=True)
class _WeightedFigures:
    """The figures of weighted pairs, read off a few hundred thresholds.

    Attributes:
        pairs: The scores of the pairs.
        threshold: The operating point.
        fmr_targets: FMRs to give the FNMR at.
    """

    pairs: PairFigures
    threshold: float
    fmr_targets: Sequence[float]

    @cached_property
    def edges(self) -> Float64Array:
        """The thresholds `[E]`, ascending."""
        pairs, threshold = self.pairs, check_threshold(self.threshold)
        curve = pairs.roc_curve(None if pairs.num_pairs <= 2 * _CURVE_POINTS else _CURVE_POINTS)
        others = [threshold, pairs.equal_error_threshold()]
        rates = [check_fraction(target, "fmr") for target in self.fmr_targets] + [pairs.equal_error_rate()]
        if pairs.num_positive and pairs.num_negative:
            around = [min(1.0, rate * factor) for rate in rates for factor in _AROUND_TARGET]
            others += [pairs.threshold_at_fmr(rate) for rate in (*around, *_EVENLY)]
        edges = np.unique(np.concatenate([curve.thresholds, others]))
        return np.asarray(edges[np.isfinite(edges)])

    def read(self, counts: Float64Array) -> dict[str, Float64Array]:
        """Compute each figure `[R]` from the weight of the pairs between edges `[2, E + 1, R]`, positive ones first."""
        totals = counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            positive, negative = counts / totals[:, None]
            # At the thresholds -inf, each edge, +inf.
            zero = np.zeros((1, positive.shape[1]))
            fnmr = np.concatenate([zero, np.cumsum(positive, axis=0)])
            fmr = np.concatenate([np.cumsum(negative[::-1], axis=0)[::-1], zero])
            at = 1 + int(np.searchsorted(self.edges, self.threshold))
            share = totals[0] / totals.sum(axis=0)
            accuracy = share * (1 - fnmr[at]) + (1 - share) * (1 - fmr[at])
        return {
            "accuracy": accuracy,
            "balanced_accuracy": 1 - (fmr[at] + fnmr[at]) / 2,
            "eer": _crossing(fmr, fmr - fnmr),
            "fmr": fmr[at],
            "fnmr": fnmr[at],
            "roc_auc": (negative * (1 - (fnmr[1:] + fnmr[:-1]) / 2)).sum(axis=0),
            **{fnmr_name(target): _crossing(fnmr, fmr - target) for target in self.fmr_targets},
        }

    def resampled(self, parts: list[Tensor], unit: Unit, num_units: int, seed: int) -> Resampled:
        """Read the figures of resampled sets, and take off what reading them off few thresholds changes.

        `parts` hold the weight of the pairs between edges `[2 (E + 1), R]` for some sets each, positive pairs first.
        """
        unweighted = []
        for scores in self.pairs.ranked:
            below = scores.size - scores.matches(self.edges)
            unweighted.append(np.diff(below, prepend=0, append=scores.size))
        coarse = self.read(np.stack(unweighted)[:, :, None].astype(np.float64))
        estimates = point_estimates(self.pairs, self.threshold, self.fmr_targets)
        figures = self.read(torch.cat(parts, dim=1).numpy().reshape(2, len(self.edges) + 1, -1))
        shifted = {name: np.clip(figures[name] + (estimates[name] - coarse[name][0]), 0.0, 1.0) for name in estimates}
        return Resampled(estimates, shifted, unit, num_units, seed)


def _crossing(values: Float64Array, excess: Float64Array) -> Float64Array:
    """Return values `[K, R]` where the falling `excess` reaches 0, interpolated between two thresholds; NaN for NaN."""
    after = (excess > 0).sum(axis=0).clip(1, len(excess) - 1)
    column = np.arange(values.shape[1])
    high, low = excess[after - 1, column], excess[after, column]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high > low, high / (high - low), 0.0)
    return np.asarray(values[after - 1, column] + (values[after, column] - values[after - 1, column]) * share)


def _weights(num_units: int, num_resamples: int, seed: int) -> Tensor:
    """Return how often each unit is drawn `[U, R]`; float32, in which all sums of a row of pairs are exact."""
    count = check_count(num_resamples, "num_resamples", 1, 1000)
    if not num_units:
        return torch.zeros(0, count)
    generator = np.random.default_rng(check_count(seed, "seed", 0, 0))
    drawn = np.empty((num_units, count), dtype=np.float32)
    for number in range(count):
        drawn[:, number] = np.bincount(generator.integers(num_units, size=num_units), minlength=num_units)
    return torch.from_numpy(drawn)


def _rows_of_equal_weight(codes: IntArray, num_images: int, unit: Unit) -> list[tuple[int, int]]:
    """Divide the rows of a block into those that are drawn together: the images of a class, or each image alone."""
    if unit == "images":
        return [(row, row + 1) for row in range(len(codes))]
    at_once = max(1, _PAIRS_AT_ONCE // num_images)
    bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    return [
        (first, min(first + at_once, end)) for begin, end in pairwise(bounds) for first in range(begin, end, at_once)
    ]


def _offsets(keys: np.ndarray[tuple[int], np.dtype[np.integer]], num_keys: int) -> Tensor:
    """Return where each key begins in the sorted keys `[K]`."""
    sizes = np.bincount(keys, minlength=num_keys)
    return torch.from_numpy(np.cumsum(sizes) - sizes)


def _bag_sums(rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    if not len(rows):
        return torch.zeros(len(offsets), weights.shape[1])
    return functional.embedding_bag(rows, weights, offsets, mode="sum")


def _percentiles(values: Float64Array, confidence: float) -> tuple[float, float]:
    """Return the interval from the quantiles of resampled values, without NaN; NaN where all of them are."""
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
