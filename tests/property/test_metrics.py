"""What holds for every metric whatever the scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairsim import evaluation
from pairsim.evaluation import PairScores

Floats = npt.NDArray[np.float64]
Case = tuple[Floats, npt.NDArray[np.bool_]]

UNTIMED = settings(deadline=None)  # a busy machine is no failure
RATES = st.sampled_from([0.0, 0.001, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0])


@st.composite
def cases(draw: st.DrawFn, *, both: bool = True) -> Case:
    size = draw(st.integers(2 if both else 0, 40))
    # Few distinct values, so that ties are the rule.
    some = st.one_of(st.integers(-3, 3).map(float), st.floats(-100, 100), st.sampled_from([math.inf, -math.inf]))
    scores = draw(arrays(np.float64, size, elements=some))
    targets = draw(arrays(np.bool_, size))
    if both:
        targets[0], targets[1] = True, False
    return scores, targets


@st.composite
def embedded(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_images, dim = draw(st.integers(2, 40)), draw(st.sampled_from([1, 3, 17, 64]))
    labels = generator.integers(0, draw(st.integers(1, 6)), num_images)
    embeddings = generator.normal(size=(num_images, dim))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    if draw(st.booleans()):
        embeddings[1] = embeddings[0]
    return embeddings.astype(np.float32), labels


def _roc_figures(scores: npt.NDArray[Any], targets: npt.NDArray[np.bool_], fmr: float) -> list[float]:
    return [
        evaluation.roc_auc(scores, targets),
        evaluation.equal_error_rate(scores, targets),
        evaluation.fnmr_at_fmr(scores, targets, fmr),
        evaluation.average_precision(scores, targets),
        *evaluation.roc_curve(scores, targets).fmr.tolist(),
        *evaluation.roc_curve(scores, targets).fnmr.tolist(),
    ]


@UNTIMED
@given(cases(), RATES, st.floats(allow_nan=False))
def test_ranges(case: Case, fmr: float, threshold: float) -> None:
    scores, targets = case
    figures = _roc_figures(scores, targets, fmr)
    figures += [
        evaluation.accuracy(scores, targets, threshold),
        evaluation.balanced_accuracy(scores, targets, threshold),
    ]
    figures += evaluation.fmr_fnmr(scores, targets, threshold)
    assert all(0.0 <= figure <= 1.0 for figure in figures)


@UNTIMED
@given(cases(both=False))
def test_curve_is_monotone_from_corner_to_corner(case: Case) -> None:
    scores, targets = case
    curve = evaluation.roc_curve(scores, targets)
    assert len(curve.fmr) == len(curve.fnmr) == len(curve.thresholds) == len(np.unique(scores)) + 1
    assert np.all(curve.thresholds[1:-1] > curve.thresholds[2:])
    for rates, ends, count in ((curve.fmr, (0, 1), (~targets).sum()), (curve.tmr, (0, 1), targets.sum())):
        assert (rates[0], rates[-1]) == ends if count else np.isnan(rates).all()
        assert not count or np.all(np.diff(rates) >= 0)


@UNTIMED
@given(cases(), st.integers(5, 30))
def test_thinned_curve_is_part_of_the_curve(case: Case, max_points: int) -> None:
    pairs = PairScores.from_scores(*case)
    full, thin = pairs.roc_curve(), pairs.roc_curve(max_points)
    assert len(thin.fmr) <= max_points
    whole = set(zip(full.fmr.tolist(), full.fnmr.tolist(), full.thresholds.tolist(), strict=True))
    assert set(zip(thin.fmr.tolist(), thin.fnmr.tolist(), thin.thresholds.tolist(), strict=True)) <= whole
    assert (thin.fmr[-1], thin.fnmr[-1]) == (1.0, 0.0)


@UNTIMED
@given(cases(), RATES)
def test_increasing_transforms_change_nothing(case: Case, fmr: float) -> None:
    scores, targets = case
    ranks = np.unique(scores, return_inverse=True)[1]
    expected = _roc_figures(scores, targets, fmr)
    for transformed in (ranks, ranks.astype(np.float32) ** 3, np.exp(ranks / 10.0) - 7):
        assert _roc_figures(transformed, targets, fmr) == expected


@UNTIMED
@given(cases(), RATES, st.randoms(use_true_random=False))
def test_order_of_pairs_changes_nothing(case: Case, fmr: float, random: Any) -> None:
    scores, targets = case
    order = list(range(len(scores)))
    random.shuffle(order)
    assert _roc_figures(scores[order], targets[order], fmr) == _roc_figures(scores, targets, fmr)
    chances = np.unique(scores, return_inverse=True)[1] / len(scores)
    for metric in (evaluation.log_loss, evaluation.brier_score, evaluation.expected_calibration_error):
        # Sums over sorted scores: not even the rounding depends on the order given.
        assert metric(chances[order], targets[order]) == metric(chances, targets)


@UNTIMED
@given(cases())
def test_swapping_classes_and_direction_changes_nothing(case: Case) -> None:
    scores, targets = case
    assert evaluation.roc_auc(-scores, ~targets) == evaluation.roc_auc(scores, targets)
    assert evaluation.roc_auc(-scores, targets) == pytest.approx(1 - evaluation.roc_auc(scores, targets), abs=1e-12)
    swapped = evaluation.equal_error_rate(-scores, ~targets)
    assert swapped == pytest.approx(evaluation.equal_error_rate(scores, targets), abs=1e-12)


@UNTIMED
@given(cases())
def test_area_is_that_under_the_curve(case: Case) -> None:
    curve = evaluation.roc_curve(*case)
    area = np.sum(np.diff(curve.fmr) * (curve.tmr[1:] + curve.tmr[:-1]) / 2)
    assert evaluation.roc_auc(*case) == pytest.approx(area, abs=1e-12)


@UNTIMED
@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)), st.integers(1, 30), st.data())
def test_probability_figures_in_range(chances: Floats, num_bins: int, data: st.DataObject) -> None:
    targets = data.draw(arrays(np.bool_, len(chances)))
    assert 0 <= evaluation.brier_score(chances, targets) <= 1
    assert 0 <= evaluation.expected_calibration_error(chances, targets, num_bins) <= 1 + 1e-12
    assert 0 <= evaluation.log_loss(chances, targets) <= 36.05
    # The calibration error of whole bins never exceeds that of the pairs one by one.
    brier = evaluation.brier_score(chances, targets)
    assert evaluation.expected_calibration_error(chances, targets, num_bins) <= math.sqrt(brier) + 1e-12


@UNTIMED
@given(embedded(), st.integers(1, 50))
def test_block_size_changes_nothing_but_rounding(
    case: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]], block_size: int
) -> None:
    embeddings, labels = case
    whole, blocked = (
        evaluation.all_pair_scores(embeddings, labels),
        evaluation.all_pair_scores(embeddings, labels, block_size=block_size),
    )
    np.testing.assert_allclose(blocked.positive, whole.positive, rtol=0, atol=1e-6)
    np.testing.assert_allclose(blocked.negative, whole.negative, rtol=0, atol=1e-6)
    assert np.all(np.abs(np.concatenate([blocked.positive, blocked.negative])) <= 1)


@UNTIMED
@given(embedded(), st.floats(-1.1, 1.1), RATES)
def test_all_pairs_give_what_the_list_of_pairs_gives(
    case: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]], threshold: float, fmr: float
) -> None:
    embeddings, labels = case
    pairs = evaluation.all_pair_scores(embeddings, labels)
    assert pairs.num_pairs == len(labels) * (len(labels) - 1) // 2
    scores = np.concatenate([pairs.positive, pairs.negative])
    targets = np.arange(pairs.num_pairs) < pairs.num_positive
    chance = evaluation.Logistic(8.0, -4.0)
    chances = chance(scores.astype(np.float64))
    found = [
        pairs.roc_auc(),
        pairs.equal_error_rate(),
        pairs.average_precision(),
        pairs.fnmr_at_fmr(fmr),
        pairs.accuracy(threshold),
        pairs.balanced_accuracy(threshold),
        *pairs.fmr_fnmr(threshold),
        pairs.log_loss(chance),
        pairs.brier_score(chance),
        pairs.expected_calibration_error(chance),
    ]
    expected = [
        evaluation.roc_auc(scores, targets),
        evaluation.equal_error_rate(scores, targets),
        evaluation.average_precision(scores, targets),
        evaluation.fnmr_at_fmr(scores, targets, fmr),
        evaluation.accuracy(scores, targets, threshold),
        evaluation.balanced_accuracy(scores, targets, threshold),
        *evaluation.fmr_fnmr(scores, targets, threshold),
        evaluation.log_loss(chances, targets),
        evaluation.brier_score(chances, targets),
        evaluation.expected_calibration_error(chances, targets),
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@UNTIMED
@given(embedded(), st.floats(-1.1, 1.1), st.floats(0.5, 0.99))
def test_intervals_hold_the_estimate_and_lie_in_range(
    case: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]], threshold: float, confidence: float
) -> None:
    embeddings, labels = case
    pairs = evaluation.all_pair_scores(embeddings, labels)
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    estimates = {
        "accuracy": pairs.accuracy(threshold),
        "balanced_accuracy": pairs.balanced_accuracy(threshold),
        "eer": pairs.equal_error_rate(),
        "fmr": fmr,
        "fnmr": fnmr,
        "roc_auc": pairs.roc_auc(),
    }
    intervals = evaluation.image_level_intervals(embeddings, labels, threshold, confidence=confidence)
    assert intervals.keys() == estimates.keys()
    for name, (low, high) in intervals.items():
        if math.isnan(estimates[name]):
            assert math.isnan(low)
            assert math.isnan(high)
        else:
            assert 0 <= low <= estimates[name] <= high <= 1
