"""From scores to probabilities: the two usual fits, and what another prior makes of a probability.

Fit on pairs that the model was not trained on. Both fits give probabilities for the share of positive pairs that is
asked for, which need not be that of the pairs at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import Float64Array, Values, as_array, check_probabilities
from pairsim.evaluation.pairs.pair_scores import Logistic, PairFigures
from pairsim.evaluation.pairs.ranked import IntArray, Ranked

_SAMPLE = 100_000
_NEWTON_STEPS = 60
_CONVERGED = 1e-12


@dataclass(frozen=True, eq=False)
class Isotonic:
    """A rising function from score to probability: straight lines of the log-odds between its points, level beyond.

    Attributes:
        scores: Ascending, without ties `[K]`.
        log_odds: Of "same class" at each of them, never falling, finite `[K]`.
    """

    scores: Float64Array
    log_odds: Float64Array

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Map scores of any shape to probabilities of the same shape; NaN stays NaN."""
        return 1.0 / (1.0 + np.exp(-np.interp(scores, self.scores, self.log_odds)))


def fit_platt(pairs: PairFigures, *, prior: float | None = None) -> Logistic:
    """Fit 1 / (1 + exp(-(weight x score + bias))) by maximum likelihood, positive pairs weighing `prior` together.

    As Platt does, each target is drawn a little towards the middle, by one pair of the other kind among P + 2 or M + 2,
    so that the fit is finite even where scores separate the two kinds without error.

    Args:
        pairs: Scores of held-out pairs, P positive and M negative.
        prior: Share of positive pairs in use, in (0, 1); by default that of these pairs.

    Returns:
        The function. Its weight may be 0 or below where scores say nothing, or the reverse.

    Raises:
        ValueError: If either kind of pairs is missing, a score is infinite, or `prior` is not in (0, 1).

    Example:
        >>> from pairsim.evaluation import PairScores
        >>> pairs = PairScores.from_scores([0.9, 0.7, 0.4, 0.6, 0.3, 0.1], [1, 1, 1, 0, 0, 0])
        >>> float(fit_platt(pairs)(np.array([0.5]))[0])
        0.5

    References:
        J. Platt, Probabilistic outputs for support vector machines, Advances in Large Margin Classifiers, 1999.
        H.-T. Lin, C.-J. Lin, R. C. Weng, A note on Platt's probabilistic outputs, Machine Learning 68, 2007.
    """
    share = _checked_prior(pairs, prior)
    positive, negative = pairs.ranked
    ends = [float(scores.values[place]) for scores in (positive, negative) for place in (0, -1)]
    if not np.isfinite(ends).all():
        raise ValueError("Expected finite scores to fit a line to, got infinite ones. Leave these pairs out.")
    low, span = min(ends), max(ends) - min(ends)
    if span == 0.0:
        return Logistic(0.0, log_odds(share))
    # Every k-th score, which lie like all of them, leave one or two steps with all of them.
    found = np.zeros(2)
    targets = ((positive.size + 1) / (positive.size + 2), 1 / (negative.size + 2))
    for every in (max(1, max(positive.size, negative.size) // _SAMPLE), 1):
        some = [scores if every == 1 else _every(scores, every) for scores in (positive, negative)]
        found = _newton(((some[0], share, targets[0]), (some[1], 1 - share, targets[1])), (low, span), found)
    return Logistic(float(found[0] / span), float(found[1] - found[0] * low / span))


def _every(scores: Ranked, step: int) -> Ranked:
    return Ranked(scores.at(np.arange(0, scores.size, step)))


def _newton(
    kinds: tuple[tuple[Ranked, float, float], ...], scale: tuple[float, float], start: Float64Array
) -> Float64Array:
    """Minimise the cross-entropy over weight and bias on scores brought to [0, 1].

    Args:
        kinds: For either kind of pairs its scores, what they weigh together, and their target.
        scale: Lowest score, and from there to the highest.
        start: Weight and bias to begin with.
    """
    low, span = scale

    def loss_and_slopes(point: Float64Array) -> tuple[float, Float64Array, Float64Array]:
        loss, gradient, hessian = 0.0, np.zeros(2), np.zeros((2, 2))
        for scores, share, target in kinds:
            for values, counts in scores.chunks():
                x = (values.astype(np.float64) - low) / span
                weights = share / scores.size * (1.0 if counts is None else counts)
                logits = point[0] * x + point[1]
                tail = np.exp(-np.abs(logits))
                loss += float((weights * (np.maximum(logits, 0) + np.log1p(tail) - target * logits)).sum())
                p = np.where(logits >= 0, 1.0, tail) / (1.0 + tail)
                residual, curvature = weights * (p - target), weights * p * (1 - p)
                gradient += np.array([x @ residual, residual.sum()])
                cross = float(x @ curvature)
                hessian += np.array([[float((x * x) @ curvature), cross], [cross, float(curvature.sum())]])
        return loss, gradient, hessian

    point = start.copy()
    loss, gradient, hessian = loss_and_slopes(point)
    for _ in range(_NEWTON_STEPS):
        if np.abs(gradient).max() < _CONVERGED:
            break
        # a ridge far below the curvature keeps it solvable where all scores of a kind are one
        step = np.linalg.solve(hessian + 1e-14 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-6:
            tried = point - size * step
            found = loss_and_slopes(tried)
            if found[0] <= loss:
                break
            size /= 2
        else:
            break
        improved = loss - found[0]
        point, (loss, gradient, hessian) = tried, found
        if improved < 1e-15 and size == 1.0 and np.abs(step).max() < 1e-9:
            break
    return point


def fit_isotonic(pairs: PairFigures, *, prior: float | None = None) -> Isotonic:
    """Fit the rising function that makes the pairs most likely: pool adjacent violators.

    Between its flat stretches it is joined by straight lines of the log-odds. Where a stretch at an end holds pairs of
    one kind only, n of them, its rate is taken as 1 / (2n + 2), not as 0, so that no probability is 0 or 1.

    Args:
        pairs: Scores of held-out pairs; some thousand of each kind, or it follows their accidents.
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
    share = _checked_prior(pairs, prior)
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
    """The pairs in ascending order, in groups that end up in one block in any case.

    Millions of pairs come to some thousand groups: neighbours of one kind are one group, and so are ties.
    """
    positive, negative = pairs.ranked
    values, counts = _distinct(positive)
    exact = values.astype(negative.values.dtype)
    below, upto = negative.below(exact), negative.below(exact, or_equal=True)
    before = np.concatenate([[0], upto])
    ends = np.concatenate([below, [negative.size]])
    # odd places: what is at a positive score; even places: the negative pairs between two of them
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
    return list(
        zip(
            np.add.reduceat(matches, begins).tolist(),
            np.add.reduceat(totals, begins).tolist(),
            lows[begins].tolist(),
            highs[stops].tolist(),
            strict=True,
        )
    )


def _distinct(scores: Ranked) -> tuple[Float64Array, IntArray]:
    if scores.before is not None:
        return scores.values.astype(np.float64), np.diff(scores.before)
    values, counts = np.unique(scores.values, return_counts=True)
    return values.astype(np.float64), counts.astype(np.int64)


def _pool_adjacent_violators(groups: list[_Block]) -> list[_Block]:
    blocks: list[_Block] = []
    for group in groups:
        matches, total, low, high = group
        # whole numbers, so that equal rates are found to be equal
        while blocks and blocks[-1][0] * total >= matches * blocks[-1][1]:
            before = blocks.pop()
            matches, total, low = matches + before[0], total + before[1], before[2]
        blocks.append((matches, total, low, high))
    return blocks


def log_odds(probability: float) -> float:
    """Return log(p / (1 - p)) of a probability in (0, 1)."""
    return math.log(probability) - math.log1p(-probability)


def shift_prior(probabilities: Values, *, fitted: float, prior: float) -> Float64Array:
    """Bring probabilities to another share of positive pairs: log-odds + logit(prior) - logit(fitted).

    It is exact where the scores of each kind of pairs are spread as before and only the mixture changed.

    Args:
        probabilities: Of "same class" `[P]`, in [0, 1].
        fitted: Share of positive pairs that they were stated for, in (0, 1); one half after balanced training.
        prior: Share of positive pairs in use, in (0, 1).

    Returns:
        The probabilities `[P]`, float64; 0 and 1 stay as they are.

    Raises:
        ValueError: If something is not a probability.

    Example:
        >>> shift_prior([0.5], fitted=0.5, prior=0.01).round(4).tolist()
        [0.01]

    References:
        M. Saerens, P. Latinne, C. Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities,
        Neural Computation 14, 2002.
    """
    values = np.asarray(as_array(probabilities, "probabilities"), dtype=np.float64)
    check_probabilities(values.reshape(-1))
    _check_open(fitted, "fitted")
    _check_open(prior, "prior")
    positive, negative = values * (prior / fitted), (1.0 - values) * ((1.0 - prior) / (1.0 - fitted))
    return np.asarray(positive / (positive + negative))


def _checked_prior(pairs: PairFigures, prior: float | None) -> float:
    if not (pairs.num_positive and pairs.num_negative):
        raise ValueError(
            f"Expected positive and negative pairs to calibrate on, got {pairs.num_positive} and {pairs.num_negative}. "
            "Use images of at least two classes, two of them of one class."
        )
    return pairs.num_positive / pairs.num_pairs if prior is None else _check_open(prior, "prior")


def _check_open(share: float, name: str) -> float:
    if not 0.0 < share < 1.0:
        raise ValueError(
            f"Expected {name} to be between 0 and 1, got {share}. Give a share of positive pairs, such as 0.01."
        )
    return float(share)
