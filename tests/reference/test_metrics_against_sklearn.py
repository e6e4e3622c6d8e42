"""Every metric against scikit-learn and against a float64 brute force."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn import metrics

from pairsim import evaluation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Case = tuple[Floats, Bools]


def _random(seed: int, size: int, decimals: int | None) -> Case:
    generator = np.random.default_rng(seed)
    targets = generator.random(size) < 0.3
    scores = generator.normal(size=size) + targets
    return (scores if decimals is None else scores.round(decimals)), targets


def _float32_duplicates() -> Case:
    # Distinct in float64, equal in float32: the metric must see what was given, ties and all.
    scores, targets = _random(5, 400, None)
    near = np.float32(0.1) + np.arange(400) % 7 * 1e-10
    return np.concatenate([scores, near]).astype(np.float32).astype(np.float64), np.concatenate([targets, targets])


CASES: dict[str, Case] = {
    "random": _random(0, 500, None),
    "ties": _random(1, 500, 1),
    "many ties": _random(2, 500, 0),
    "one of each": (np.array([0.2, 0.7]), np.array([True, False])),
    "all equal": (np.full(20, 0.5), np.arange(20) % 3 == 0),
    "perfect": (np.linspace(-1, 1, 30), np.arange(30) >= 12),
    "reversed": (np.linspace(1, -1, 30), np.arange(30) >= 12),
    "infinite": (
        np.array([np.inf, -np.inf, 0.0, 1.0, -np.inf, np.inf, 0.5]),
        np.array([1, 0, 1, 0, 1, 0, 1], dtype=bool),
    ),
    "float32 duplicates": _float32_duplicates(),
    "signed zeros": (np.array([0.0, -0.0, 0.0, -0.0]), np.array([True, True, False, False])),
}


def _points(scores: Floats, targets: Bools) -> list[tuple[float, float]]:
    """Attainable (FMR, FNMR), 'nothing' first, by counting."""
    points = [(0.0, 1.0)]
    for threshold in sorted(set(scores.tolist()), reverse=True):
        match = scores >= threshold
        points.append((float(match[~targets].mean()), float((~match)[targets].mean())))
    return points


def _brute_auc(scores: Floats, targets: Bools) -> float:
    positive, negative = scores[targets][:, None], scores[~targets][None]
    return float(((positive > negative) + 0.5 * (positive == negative)).mean())


def _brute_eer(scores: Floats, targets: Bools) -> float:
    for (fmr0, fnmr0), (fmr1, fnmr1) in pairwise(_points(scores, targets)):
        if fmr1 >= fnmr1:
            share = (fnmr0 - fmr0) / ((fnmr0 - fmr0) + (fmr1 - fnmr1))
            return fmr0 + share * (fmr1 - fmr0)
    raise AssertionError


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def _finite(scores: Floats) -> Floats:
    """Ranks in place of scores, for references that refuse infinities."""
    return np.unique(scores, return_inverse=True)[1].astype(np.float64)


def test_roc_auc(case: Case) -> None:
    scores, targets = case
    assert evaluation.roc_auc(scores, targets) == pytest.approx(_brute_auc(scores, targets), abs=1e-12)
    assert evaluation.roc_auc(scores, targets) == pytest.approx(
        metrics.roc_auc_score(targets, _finite(scores)), abs=1e-12
    )


def test_average_precision(case: Case) -> None:
    scores, targets = case
    expected = metrics.average_precision_score(targets, _finite(scores))
    assert evaluation.average_precision(scores, targets) == pytest.approx(expected, abs=1e-12)


def test_roc_curve(case: Case) -> None:
    scores, targets = case
    curve = evaluation.roc_curve(scores, targets)
    fpr, tpr, thresholds = metrics.roc_curve(targets, _finite(scores), drop_intermediate=False)
    np.testing.assert_allclose(curve.fmr, fpr, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.tmr, tpr, rtol=0, atol=1e-12)
    assert len(curve.thresholds) == len(thresholds)
    np.testing.assert_array_equal(curve.thresholds[1:], np.unique(scores)[::-1])
    np.testing.assert_allclose(np.stack([curve.fmr, curve.fnmr], axis=1), _points(scores, targets), rtol=0, atol=1e-12)


def test_det_curve_holds_the_points_of_scikit_learn(case: Case) -> None:
    scores, targets = case
    curve = evaluation.det_curve(scores, targets)
    ours = set(zip(curve.fmr.round(12).tolist(), curve.fnmr.round(12).tolist(), strict=True))
    fpr, fnr, _ = metrics.det_curve(targets, _finite(scores))
    assert set(zip(fpr.round(12).tolist(), fnr.round(12).tolist(), strict=True)) <= ours


def test_equal_error_rate(case: Case) -> None:
    scores, targets = case
    assert evaluation.equal_error_rate(scores, targets) == pytest.approx(_brute_eer(scores, targets), abs=1e-12)


def test_equal_error_threshold_is_a_nearest_score(case: Case) -> None:
    scores, targets = case
    pairs = evaluation.PairScores.from_scores(scores, targets)
    fmr, fnmr = pairs.fmr_fnmr(pairs.equal_error_threshold())
    nearest = min(abs(a - b) for a, b in _points(scores, targets)[1:])
    assert abs(fmr - fnmr) == pytest.approx(nearest, abs=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.001, 0.01, 0.1, 1 / 3, 0.5, 0.7, 1.0])
def test_fnmr_at_fmr(case: Case, target: float) -> None:
    scores, targets = case
    expected = min(fnmr for fmr, fnmr in _points(scores, targets) if fmr <= target)
    assert evaluation.fnmr_at_fmr(scores, targets, target) == pytest.approx(expected, abs=1e-12)
    pairs = evaluation.PairScores.from_scores(scores, targets)
    threshold = pairs.threshold_at_fmr(target)
    if not math.isnan(threshold):
        fmr, fnmr = pairs.fmr_fnmr(threshold)
        assert fmr <= target
        assert fnmr == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("num_negative", [3, 7, 10, 49, 1000])
def test_fnmr_at_fmr_at_every_attained_rate(num_negative: int) -> None:
    scores = np.arange(2 * num_negative, dtype=np.float64)
    targets = np.arange(2 * num_negative) % 2 == 0
    for allowed in range(num_negative + 1):
        # No rounding of k / n may cost the k-th false match. Each negative scores just above the positive before it.
        expected = (num_negative - allowed) / num_negative
        assert evaluation.fnmr_at_fmr(scores, targets, allowed / num_negative) == expected


@pytest.mark.parametrize("threshold", [-np.inf, -0.3, 0.0, 0.1, 0.5, 0.7, np.inf])
def test_decisions(case: Case, threshold: float) -> None:
    scores, targets = case
    match = scores >= threshold
    assert evaluation.accuracy(scores, targets, threshold) == pytest.approx(
        metrics.accuracy_score(targets, match), abs=1e-12
    )
    assert evaluation.balanced_accuracy(scores, targets, threshold) == pytest.approx(
        metrics.balanced_accuracy_score(targets, match), abs=1e-12
    )
    fmr, fnmr = evaluation.fmr_fnmr(scores, targets, threshold)
    assert (fmr, fnmr) == pytest.approx((match[~targets].mean(), (~match)[targets].mean()), abs=1e-12)


def _probabilities(seed: int) -> Case:
    generator = np.random.default_rng(seed)
    targets = generator.random(700) < 0.2
    probabilities = generator.beta(0.4, 0.4, size=700)
    probabilities[:6] = [0.0, 1.0, 0.0, 1.0, 1 / 3, 0.2]
    return probabilities, targets


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_and_brier_score(seed: int) -> None:
    probabilities, targets = _probabilities(seed)
    assert evaluation.log_loss(probabilities, targets) == pytest.approx(
        metrics.log_loss(targets, probabilities), abs=1e-12
    )
    assert evaluation.brier_score(probabilities, targets) == pytest.approx(
        metrics.brier_score_loss(targets, probabilities), abs=1e-12
    )


@pytest.mark.parametrize("num_bins", [1, 2, 10, 15])
def test_expected_calibration_error(num_bins: int) -> None:
    probabilities, targets = _probabilities(9)
    expected = 0.0
    for number in range(num_bins):
        inside = (np.floor(probabilities * num_bins) == number) | ((number == num_bins - 1) & (probabilities == 1.0))
        if inside.any():
            expected += inside.mean() * abs(probabilities[inside].mean() - targets[inside].mean())
    found = evaluation.expected_calibration_error(probabilities, targets, num_bins)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("targets", [np.ones(5, dtype=bool), np.zeros(5, dtype=bool), np.zeros(0, dtype=bool)])
def test_one_class_and_empty(targets: Bools) -> None:
    scores = np.linspace(0.1, 0.9, targets.size)
    two_class: list[Callable[[Floats, Bools], float]] = [
        evaluation.roc_auc,
        evaluation.equal_error_rate,
        lambda s, t: evaluation.fnmr_at_fmr(s, t, 0.1),
        lambda s, t: evaluation.balanced_accuracy(s, t, 0.5),
    ]
    assert all(math.isnan(metric(scores, targets)) for metric in two_class)
    if targets.size:
        loss = metrics.log_loss(targets, scores, labels=[False, True])
        assert evaluation.log_loss(scores, targets) == pytest.approx(loss, abs=1e-12)
    else:
        assert math.isnan(evaluation.log_loss(scores, targets))
    if targets.any():
        assert evaluation.average_precision(scores, targets) == 1.0
    else:
        assert math.isnan(evaluation.average_precision(scores, targets))


@pytest.mark.parametrize("num_images", [2, 3, 40, 301])
def test_all_pair_scores_against_float64(num_images: int) -> None:
    generator = np.random.default_rng(num_images)
    labels = generator.integers(0, 5, num_images)
    embeddings = generator.normal(size=(num_images, 32)) + labels[:, None] * 0.2
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    first, second = np.triu_indices(num_images, 1)
    cosines = (embeddings[first] * embeddings[second]).sum(axis=1)
    same = labels[first] == labels[second]
    pairs = evaluation.all_pair_scores(torch.from_numpy(embeddings), labels)
    assert pairs.positive.dtype == pairs.negative.dtype == np.float32
    np.testing.assert_allclose(pairs.positive, np.sort(cosines[same]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(pairs.negative, np.sort(cosines[~same]), rtol=0, atol=1e-6)
    probability = evaluation.Logistic(6.0, -2.0)
    listed, marks = np.concatenate([pairs.positive, pairs.negative]), np.sort(same)[::-1]
    probabilities = 1 / (1 + np.exp(-(6.0 * listed.astype(np.float64) - 2.0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on a single class
        expected = metrics.log_loss(marks, probabilities, labels=[False, True])
    assert pairs.log_loss(probability) == pytest.approx(expected, abs=1e-12)
    assert pairs.brier_score(probability) == pytest.approx(np.square(probabilities - marks).mean(), abs=1e-12)
    if same.any() and not same.all():
        assert pairs.roc_auc() == pytest.approx(metrics.roc_auc_score(marks, listed), abs=1e-12)
        assert pairs.average_precision() == pytest.approx(metrics.average_precision_score(marks, listed), abs=1e-12)
