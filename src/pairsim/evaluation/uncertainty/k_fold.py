"""Accuracy by cross-validation over folds of pairs, as for Labeled Faces in the Wild.

A pair is called a match when `score >= threshold`; **target 1 = same class**.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import BoolArray, Float64Array, Values, scores_and_targets, vector
from pairsim.evaluation.pairs.pair_scores import PairScores

Criterion = Literal["accuracy", "balanced_accuracy"]


@dataclass(frozen=True)
class FoldAccuracy:
    """The result of one fold at the threshold that is best on the other folds.

    Attributes:
        fold: Number of the fold.
        num_pairs: Pairs in it.
        num_positive: Positive pairs among them.
        threshold: The threshold that is best on all other folds.
        accuracy: Accuracy, or balanced accuracy where that is the criterion, of the fold's pairs.
        fmr: False match rate of the fold's pairs; NaN without a negative one.
        fnmr: False non-match rate of the fold's pairs; NaN without a positive one.
    """

    fold: int
    num_pairs: int
    num_positive: int
    threshold: float
    accuracy: float
    fmr: float
    fnmr: float


@dataclass(frozen=True)
class KFoldReport:
    """The result of `k_fold_accuracy`.

    Attributes:
        accuracy: Mean over the folds of the figure that `criterion` names; each fold counts the same.
        standard_error: Standard deviation over the folds (k - 1 in the denominator) divided by the root of k.
        criterion: "accuracy" or "balanced_accuracy": the figure that thresholds maximize and that is reported.
        folds: One row per fold, by ascending number.
    """

    accuracy: float
    standard_error: float
    criterion: Criterion
    folds: tuple[FoldAccuracy, ...]


def k_fold_accuracy(
    scores: Values, targets: Values, folds: Values, *, criterion: Criterion = "accuracy"
) -> KFoldReport:
    """Compute the accuracy of each fold at the threshold that is best on all other folds.

    The best thresholds of the other folds form one or several ranges between two of their scores. The threshold is the
    middle of the widest range (the lowest of equally wide ones). Where it is best that all pairs match, or that none
    does, it is their lowest score, or just above their highest.

    The standard error measures how far the folds differ. It assumes that they are independent, so that they should have
    no images (and, for faces, no people) in common, and it does not cover another training run.

    Args:
        scores: One score per pair `[P]`, finite, higher = more similar.
        targets: One target per pair `[P]`, 1 = same class.
        folds: Fold number of each pair `[P]`, any whole numbers, at least two different ones.
        criterion: "accuracy" as published for LFW, or "balanced_accuracy", for which every fold needs pairs of either
            target.

    Returns:
        Mean, standard error, and the figures of each fold.

    Raises:
        TypeError: If the input is not numeric, or the folds not whole numbers.
        ValueError: If shapes differ, a target is not 0 or 1, a score is not finite, there are fewer than two folds (as
            in empty input), or a fold has only one target for balanced accuracy.

    Example:
        >>> report = k_fold_accuracy([0.9, 0.2, 0.8, 0.6], [1, 0, 1, 0], [0, 0, 1, 1])
        >>> [round(fold.threshold, 3) for fold in report.folds], report.accuracy, report.standard_error
        ([0.7, 0.55], 0.75, 0.25)

    References:
        G. B. Huang, M. Ramesh, T. Berg, E. Learned-Miller, Labeled Faces in the Wild: a database for studying face
        recognition in unconstrained environments, 2007, view 2.
    """
    if criterion not in get_args(Criterion):
        raise ValueError(f'Expected criterion to be "accuracy" or "balanced_accuracy", got {criterion!r}.')
    values, same = scores_and_targets(scores, targets)
    numbers = _fold_numbers(folds, values.size)
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise ValueError(
            f"Expected finite scores, to put thresholds between, got {values[infinite[0]]} at index {infinite[0]} "
            f"({infinite.size} such of {values.size}). Clip them."
        )
    balanced = criterion == "balanced_accuracy"
    rows = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        pairs = PairScores.from_scores(values[inside], same[inside])
        if balanced and not (pairs.num_positive and pairs.num_negative):
            raise ValueError(
                f"Expected positive and negative pairs in every fold for balanced accuracy, got {pairs.num_positive} "
                f'positive of {pairs.num_pairs} in fold {number}. Spread them evenly, or use criterion="accuracy".'
            )
        threshold = _best_threshold(values[~inside], same[~inside], balanced=balanced)
        figure = pairs.balanced_accuracy(threshold) if balanced else pairs.accuracy(threshold)
        rates = pairs.fmr_fnmr(threshold)
        rows.append(FoldAccuracy(number, pairs.num_pairs, pairs.num_positive, threshold, figure, *rates))
    figures = np.array([row.accuracy for row in rows])
    error = float(figures.std(ddof=1)) / math.sqrt(len(rows))
    return KFoldReport(float(figures.mean()), error, criterion, tuple(rows))


def _fold_numbers(folds: Values, num_pairs: int) -> npt.NDArray[np.integer[Any]]:
    numbers = vector(folds, "folds")
    if numbers.size and numbers.dtype.kind not in "iu":
        raise TypeError(f"Expected folds to be whole numbers, got dtype {numbers.dtype}. Number the folds from 0.")
    if numbers.size != num_pairs:
        raise ValueError(
            f"Expected one fold number per score, got {num_pairs} scores and {numbers.size} fold numbers. "
            "Give one of each per pair, in the same order."
        )
    num_folds = np.unique(numbers).size
    if num_folds < 2:
        raise ValueError(
            f"Expected pairs of at least two folds, got {num_folds}: the threshold of a fold is chosen on the others. "
            "PairList.of(pairs, folds=10) assigns them."
        )
    return numbers


def _best_threshold(values: Float64Array, same: BoolArray, *, balanced: bool) -> float:
    """Return the middle of the widest range of thresholds with the fewest errors."""
    steps, index = np.unique(values, return_inverse=True)
    positive = np.bincount(index[same], minlength=steps.size)
    negative = np.bincount(index[~same], minlength=steps.size)
    # Entry j: with a threshold above step j - 1 and up to step j.
    false_non_matches = np.concatenate([[0], np.cumsum(positive)])
    false_matches = negative.sum() - np.concatenate([[0], np.cumsum(negative)])
    # Whole numbers, so that ties are exact.
    if balanced:
        errors = false_non_matches * negative.sum() + false_matches * positive.sum()
    else:
        errors = false_non_matches + false_matches
    best = np.concatenate([[False], errors == errors.min(), [False]])
    begins, ends = np.flatnonzero(best[1:] & ~best[:-1]), np.flatnonzero(best[:-1] & ~best[1:])
    # Range r lies above edges[begins[r]] and goes up to edges[ends[r]], which belongs to it.
    edges = np.concatenate([[np.nextafter(steps[0], -np.inf)], steps, [np.nextafter(steps[-1], np.inf)]])
    halves_low, halves_high = edges[begins] / 2, edges[ends] / 2  # whose sums and differences do not overflow
    widest = int(np.argmax(halves_high - halves_low))
    middle = float(halves_low[widest] + halves_high[widest])
    # Between two neighbouring numbers there is no middle; rounded down it would lie outside.
    return middle if middle > edges[begins[widest]] else float(edges[ends[widest]])
