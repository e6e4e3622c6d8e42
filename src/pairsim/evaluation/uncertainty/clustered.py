"""Confidence intervals that respect that pairs share images.

N images give N(N-1)/2 pairs, but only N independent draws: one odd image affects N - 1 pairs. Intervals that treat
pairs as independent are far too narrow. Here each figure is linearised: pair p moves it by psi_p, and

    Var = sum over images i of (sum of psi_p over the pairs p that touch i)^2 - sum over pairs p of psi_p^2,

which adds the covariance of every two pairs with an image in common. For few images it is multiplied by
N (N - 1) / (N - 2)^2, as in leaving out one image at a time, and it is never taken below the sum of psi_p^2, the
variance for independent pairs.

- FMR, FNMR, accuracy, balanced accuracy: psi is the error indicator less its rate, times the pair's weight in the mean.
- AUC: psi is the share of the other class that the pair is on the right side of, less the AUC, over the pairs of its
  class.
- EER: with e0, e1 the deviations of FMR and FNMR at the EER threshold, and f0, f1 the densities of negative and
  positive scores there, the crossing moves by (f1 e0 + f0 e1) / (f0 + f1); f1 : f0 is read off the curve around the
  crossing.
- FNMR at a target FMR: at the threshold of that FMR, it moves by e1 + (f1 / f0) e0: more false matches than
  expected mean that the threshold must rise, and with it the FNMR.

The interval of a figure p is logit(p) +- t sqrt(Var) / (p (1 - p)), brought back from the logit scale. So it stays in
[0, 1] and is longer towards 1/2, as the scatter of small rates is. Student's t has the degrees of freedom of a variance
that is as uncertain as Var, 2 (sum s^2)^2 / (sum s^4 - (sum s^2)^2 / N) with s the sum of psi_p of an image: few where
few images make most of the errors, otherwise so many that t is the normal z.

A figure of exactly 0 or 1 has no estimate of its variance. Its interval is that of n independent pairs without an
error, from 0 to 1 - ((1 - c) / 2)^(1/n) at a confidence c, or the mirror image (3.7 / n for 95 %), with n half the
number of images, weighted by their pairs (see `spread_of_images`). Two pairs with a common image are correlated by at
most 1/2, so pairs of this number of images are worth at least n independent ones, and mostly far more: this interval is
safe, not narrow.

Pairs of a group, such as those of one writer, may err together. For given pairs with groups, the variance is at least
G / (G - 1) times the sum over the G groups of (sum of psi_p over the pairs of the group)^2, with at most G - 1 degrees
of freedom; a figure of 0 or 1 is that of at most G independent pairs.

The intervals cover new images of the same classes. They do not cover new classes, the randomness of training, or a
threshold chosen on the same pairs. They hold for large samples: with a few images per class, or a few errors, they are
rough.

References:
    M. Fafchamps, F. Gubert, The formation of risk sharing networks, Journal of Development Economics 83, 2007.
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Comparing the areas under two or more correlated receiver
    operating characteristic curves, Biometrics 44, 1988.
    R. M. Bolle, N. K. Ratha, S. Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap,
    Computer Vision and Image Understanding 93, 2004.
    W. Hoeffding, A class of statistics with asymptotically normal distribution, Annals of Mathematical Statistics 19,
    1948.
    F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2, 1946.
    M. Abramowitz, I. A. Stegun, Handbook of Mathematical Functions, 26.7.5, 1964.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairsim._common.arrays import Float64Array, Values, image_codes, scores_and_targets
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.pair_scores import PairScores, all_pair_scores
from pairsim.evaluation.pairs.ranked import IntArray, Ranked, round_up
from pairsim.evaluation.pairs.similarities import by_class, similarity_blocks
from pairsim.evaluation.uncertainty.auc_influence import AucInfluence
from pairsim.evaluation.uncertainty.spread import (
    Intervals,
    check_confidence,
    fnmr_name,
    interval_of,
    point_estimates,
    spread_of_groups,
    spread_of_images,
)


class _ErrorFigure(NamedTuple):
    """A figure whose psi is weight x (error indicator - rate), with a weight and a rate for each kind of pair."""

    threshold: float
    positive_weight: float
    fnmr: float
    negative_weight: float
    fmr: float

    def square_sum(self, pairs: PairFigures) -> float:
        """Sum of psi^2 over all pairs."""
        false_matches, false_non_matches = pairs.ranked.error_counts(self.threshold)
        total = 0.0
        for count, errors, weight, rate in (
            (pairs.num_positive, false_non_matches, self.positive_weight, self.fnmr),
            (pairs.num_negative, false_matches, self.negative_weight, self.fmr),
        ):
            total += weight**2 * (errors * (1 - rate) ** 2 + (count - errors) * rate**2)
        return total


def image_level_intervals(
    embeddings: Values,
    labels: Values,
    threshold: float,
    *,
    fmr_targets: Sequence[float] = (),
    confidence: float = 0.95,
    pair_scores: PairFigures | None = None,
    block_size: int = 256,
    progress: bool | None = None,
) -> Intervals:
    """Compute intervals for the figures over all pairs of labelled embeddings.

    The cosines are computed a second time, block by block, so nothing of size N x N is stored. For the AUC alone,
    scores closer than 1/65,536 of the range of all scores count as tied.

    Args:
        embeddings: Embeddings `[N, D]` of length 1, any float dtype and device.
        labels: Class of each image `[N]`, whole numbers.
        threshold: The operating point of accuracy, balanced accuracy, FMR and FNMR.
        fmr_targets: FMRs in [0, 1] at which the FNMR gets an interval too.
        confidence: Coverage aimed at, in (0, 1).
        pair_scores: The result of `all_pair_scores` or `count_pair_scores` for the same embeddings and labels, if
            there is one: it saves that pass.
        block_size: Rows of a block; memory is some `4 x block_size x N` bytes.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        `(low, high)` for each of `accuracy`, `balanced_accuracy`, `eer`, `fmr`, `fnmr`, `roc_auc`, and for each target,
        such as 0.001, `fnmr_at_fmr_0.001`. NaN where the figure is, and for targets below 1 / (negative pairs).

    Raises:
        TypeError: If embeddings or labels are of the wrong dtype.
        ValueError: If they do not fit, are not of unit length, `pair_scores` are of other pairs, `threshold` is NaN, or
            `fmr_targets`, `confidence` or `block_size` are out of range.

    Example:
        >>> angles = np.array([0.0, 0.1, 0.9, 1.0, 1.7, 0.4])
        >>> embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> low, high = image_level_intervals(embeddings, [0, 0, 0, 1, 1, 1], threshold=0.8)["roc_auc"]
        >>> 0 <= low < high <= 1
        True
    """
    check_confidence(confidence)
    pairs = all_pair_scores(embeddings, labels) if pair_scores is None else pair_scores
    estimates, figures = _linearise(pairs, threshold, fmr_targets)
    vectors, codes, _ = by_class(embeddings, labels)
    sizes = np.bincount(codes)
    num_positive, num_all = int((sizes * (sizes - 1) // 2).sum()), len(vectors) * (len(vectors) - 1) // 2
    if (pairs.num_positive, pairs.num_pairs) != (num_positive, num_all):
        raise ValueError(
            f"Expected pair_scores of these {num_all} pairs, {num_positive} of them positive, got {pairs.num_pairs}, "
            f"{pairs.num_positive} of them positive. Pass all_pair_scores(embeddings, labels), or leave it out."
        )
    influence = AucInfluence(pairs)
    begins, ends = (np.searchsorted(codes, codes, side=side) for side in ("left", "right"))
    # The false matches and the false non-matches of each image at each threshold, and the sum of the AUC's psi.
    errors = {figure.threshold: np.zeros((2, len(vectors))) for figure in figures.values()}
    lowest_matches = [(counts, round_up(at, vectors.dtype)) for at, counts in errors.items()]
    auc_sums = np.zeros(len(vectors))
    for start, products in similarity_blocks(vectors, block_size, upper=False, progress=progress):
        # Row by row, so that the intermediate arrays stay in the caches.
        for image, cosines in enumerate(products, start):
            scores = pairs._round(cosines)
            begin, end = int(begins[image]), int(ends[image])
            # Rows are in class order, so the images of the class of a row are one slice of it.
            same = np.concatenate((scores[begin:image], scores[image + 1 : end]))
            other = np.concatenate((scores[:begin], scores[end:]))
            auc_sums[image] = influence.positive[influence.cells(same)].sum()
            auc_sums[image] += influence.negative[influence.cells(other)].sum()
            for counts, lowest_match in lowest_matches:
                counts[:, image] = np.count_nonzero(other >= lowest_match), np.count_nonzero(same < lowest_match)
    own, others = sizes[codes] - 1, len(vectors) - sizes[codes]
    weights = own / max(1, num_positive) + others / max(1, num_all - num_positive)
    spreads = {"roc_auc": spread_of_images(auc_sums, weights, influence.square_sum(), images_each=4)}
    for name, figure in figures.items():
        false_matches, false_non_matches = errors[figure.threshold]
        sums = figure.positive_weight * (false_non_matches - figure.fnmr * own)
        sums += figure.negative_weight * (false_matches - figure.fmr * others)
        weights = figure.positive_weight * own + figure.negative_weight * others
        spreads[name] = spread_of_images(sums, weights, figure.square_sum(pairs))
    return {name: interval_of(estimate, spreads.get(name), confidence) for name, estimate in estimates.items()}


def image_level_intervals_of_pairs(
    scores: Values,
    targets: Values,
    first: Values,
    second: Values,
    threshold: float,
    *,
    fmr_targets: Sequence[float] = (),
    confidence: float = 0.95,
    groups: Values | None = None,
) -> Intervals:
    """Compute intervals for the figures over given pairs.

    A pair that is given twice, in either order, counts twice in the estimate, but not as two independent pairs. With
    groups, such as the writers of signatures, the interval covers other groups: all pairs of a group may err together.

    Args:
        scores: One score per pair `[P]`, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        first: The first image of each pair `[P]`, by any whole number or string that names it.
        second: The second image of each pair `[P]`.
        threshold: The operating point of accuracy, balanced accuracy, FMR and FNMR.
        fmr_targets: FMRs in [0, 1] at which the FNMR gets an interval too.
        confidence: Coverage aimed at, in (0, 1).
        groups: Group of each pair `[P]`, whole numbers or strings. The larger of the variances of images and of groups
            counts, as groups may share images. A figure of 0 or 1 counts as many pairs as there are groups.

    Returns:
        The intervals, with the keys and the NaN of `image_level_intervals`. NaN where a figure rests on one group.

    Raises:
        TypeError: If scores are not numeric, or images or groups not named by whole numbers or strings.
        ValueError: If shapes differ, a target is not 0 or 1, a score or `threshold` is NaN, or `fmr_targets` or
            `confidence` are out of range.

    Example:
        >>> scores, targets = [0.9, 0.7, 0.3, 0.2, 0.8, 0.1], [1, 1, 1, 0, 0, 0]
        >>> first, second = [0, 0, 1, 0, 1, 2], [1, 2, 2, 3, 3, 3]
        >>> sorted(image_level_intervals_of_pairs(scores, targets, first, second, threshold=0.5))
        ['accuracy', 'balanced_accuracy', 'eer', 'fmr', 'fnmr', 'roc_auc']
    """
    check_confidence(confidence)
    values, same = scores_and_targets(scores, targets)
    one, other, num_images = image_codes(first, second, values.size)
    pairs = PairScores.from_scores(values, same)
    estimates, figures = _linearise(pairs, threshold, fmr_targets)
    # Pairs of the same two images would be counted once for each of the two; together they are one pair.
    keys, pair = np.unique(one * num_images + other, return_inverse=True)
    lower, higher = keys // num_images, keys % num_images
    apart = lower != higher
    if groups is not None:
        clusters, _, num_clusters = image_codes(groups, groups, values.size)
    spreads = {}
    for name, estimate in estimates.items():
        if math.isnan(estimate):
            continue
        if name == "roc_auc":
            weights = np.where(same, 1 / pairs.num_positive, 1 / pairs.num_negative)
            off = np.empty(values.size)
            off[same] = _share_below(pairs.ranked.negative, values[same]) - estimate
            off[~same] = 1 - _share_below(pairs.ranked.positive, values[~same]) - estimate
        else:
            figure = figures[name]
            weights = np.where(same, figure.positive_weight, figure.negative_weight)
            off = (same != (values >= figure.threshold)) - np.where(same, figure.fnmr, figure.fmr)
        psi = _sum_by(pair, weights * off, keys.size)
        # An image paired with itself is in one sum only, so nothing is to be taken off for it.
        spreads[name] = spread_of_images(
            _sum_by(lower, psi, num_images) + _sum_by(higher[apart], psi[apart], num_images),
            _sum_by(one, weights, num_images) + _sum_by(other, weights, num_images),
            float(np.square(psi[apart]).sum()),
            least=float(np.square(psi).sum()),
            images_each=4 if name == "roc_auc" else 2,
        )
        if groups is not None:
            of_groups = spread_of_groups(
                _sum_by(clusters, weights * off, num_clusters), _sum_by(clusters, weights, num_clusters)
            )
            spreads[name] = spreads[name].at_least(of_groups)
    return {name: interval_of(estimate, spreads.get(name), confidence) for name, estimate in estimates.items()}


def _sum_by(groups: IntArray, values: Float64Array, size: int) -> Float64Array:
    return np.bincount(groups, weights=values, minlength=size).astype(np.float64, copy=False)


def _linearise(
    pairs: PairFigures, threshold: float, fmr_targets: Sequence[float]
) -> tuple[dict[str, float], dict[str, _ErrorFigure]]:
    """Compute the figures, and linearise all except the AUC; NaN for the FNMR at FMRs that the pairs cannot show."""
    estimates = point_estimates(pairs, threshold, fmr_targets)
    fmr, fnmr, off = estimates["fmr"], estimates["fnmr"], 1 - estimates["accuracy"]
    # Where there are no pairs of a kind, the figure is NaN and its weights are never used.
    p, m, total = (max(1, count) for count in (pairs.num_positive, pairs.num_negative, pairs.num_pairs))
    figures = {
        "accuracy": _ErrorFigure(threshold, 1 / total, off, 1 / total, off),
        "balanced_accuracy": _ErrorFigure(threshold, 0.5 / p, fnmr, 0.5 / m, fmr),
        "fmr": _ErrorFigure(threshold, 0.0, 0.0, 1 / m, fmr),
        "fnmr": _ErrorFigure(threshold, 1 / p, fnmr, 0.0, 0.0),
    }
    if not math.isnan(estimates["eer"]):
        eer_threshold, fmr_weight = pairs.equal_error_threshold(), _eer_weight_of_fmr(pairs, estimates["eer"])
        fmr, fnmr = pairs.fmr_fnmr(eer_threshold)
        figures["eer"] = _ErrorFigure(eer_threshold, (1 - fmr_weight) / p, fnmr, fmr_weight / m, fmr)
    for target in fmr_targets:
        name, at_target = fnmr_name(target), pairs.threshold_at_fmr(target)
        if pairs.num_negative * target < 1 or math.isnan(at_target):
            estimates[name] = math.nan
        else:
            fmr, fnmr = pairs.fmr_fnmr(at_target)
            figures[name] = _ErrorFigure(at_target, 1 / p, fnmr, _slope(pairs, target) / m, fmr)
    return estimates, figures


def _eer_weight_of_fmr(pairs: PairFigures, rate: float) -> float:
    """Return f1 / (f0 + f1) from the stretch of the curve where FMR and FNMR differ by at most some `width`.

    Rates, unlike densities of the scores, do not change under a monotone transform. The stretch scales with the rate,
    as the curve bends on that scale, and is wide enough to hold some pairs of either kind.
    """
    width = max(rate / 2, 1 / math.sqrt(min(pairs.num_positive, pairs.num_negative)))
    below, above = (pairs.ranked.highest_reaching(difference) for difference in (width, -width))
    change_fmr, change_fnmr = _changes(pairs, below, above)
    return change_fnmr / (change_fmr + change_fnmr) if change_fmr + change_fnmr > 0 else 0.5


def _slope(pairs: PairFigures, fmr: float) -> float:
    """Return f1 / f0 at an FMR, read off the curve between half and twice that FMR."""
    below, above = (pairs.threshold_at_fmr(min(1.0, fmr * factor)) for factor in (2, 0.5))
    change_fmr, change_fnmr = _changes(pairs, below, above)
    return change_fnmr / change_fmr if change_fmr > 0 else 0.0


def _changes(pairs: PairFigures, below: float, above: float) -> tuple[float, float]:
    """Return by how much the FMR falls and the FNMR rises from one threshold to a higher one."""
    (fmr_low, fnmr_low), (fmr_high, fnmr_high) = pairs.fmr_fnmr(below), pairs.fmr_fnmr(above)
    return fmr_low - fmr_high, fnmr_high - fnmr_low


def _share_below(scores: Ranked, values: Float64Array) -> Float64Array:
    """Return the share of the scores below each value, ties counted half."""
    return (scores.below(values) + scores.below(values, or_equal=True)) / (2 * scores.size)
