from __future__ import annotations

import numpy as np
import pytest
import torch
from overlapping_scores import overlapping_scores
from sklearn.linear_model import LogisticRegression

from pairsim.evaluation.probabilities.logistic_fit import WeightedScores, fit_logistic


def _weighted(scores: np.ndarray, targets: np.ndarray) -> WeightedScores:
    weights = torch.full((len(scores),), 1 / len(scores), dtype=torch.float64)
    return WeightedScores(torch.from_numpy(scores), weights, weights * torch.from_numpy(targets))


def test_ridge_regression_is_that_of_scikit_learn() -> None:
    scores, targets = overlapping_scores(0, 100, 300)
    weight, bias = fit_logistic(lambda: [_weighted(scores, targets)], (0.0, 0.0), ridge=1e-3, tolerance=1e-9)
    # Its penalty leaves out the intercept, which a constant feature does not.
    features = np.stack([scores, np.ones_like(scores)], axis=1)
    oracle = LogisticRegression(C=1 / (1e-3 * len(scores)), fit_intercept=False, tol=1e-12, max_iter=10_000)
    assert (weight, bias) == pytest.approx(oracle.fit(features, targets).coef_[0], rel=1e-5)


def test_parts_add_up() -> None:
    scores, targets = overlapping_scores(1, 50, 150)
    whole = _weighted(scores, targets)
    parts = [WeightedScores(*(column[rows] for column in whole)) for rows in (slice(70), slice(70, None))]
    fits = [fit_logistic(lambda: data, (0.0, 0.0), ridge=1e-6, tolerance=1e-9) for data in ([whole], parts)]  # noqa: B023
    assert fits[0] == pytest.approx(fits[1], rel=1e-10)


def test_steps_that_overshoot_are_halved() -> None:
    # Newton's step from here is a hundred times as long as the way to the minimum.
    data = WeightedScores(*(torch.tensor(column, dtype=torch.float64) for column in ([0.0], [1.0], [0.5])))
    weight, bias = fit_logistic(lambda: [data], (0.0, -8.0), ridge=1e-12, tolerance=1e-9)
    assert (weight, bias) == pytest.approx((0.0, 0.0), abs=1e-8)


def test_steps_are_bounded() -> None:
    scores, targets = overlapping_scores(2, 100, 300)
    data = [_weighted(scores, targets)]
    bounded = fit_logistic(lambda: data, (0.0, 0.0), ridge=1e-6, tolerance=1e-9, max_change=0.5)
    free = fit_logistic(lambda: data, (0.0, 0.0), ridge=1e-6, tolerance=1e-9)
    assert bounded == pytest.approx(free, rel=1e-8)
    # Fifty steps of one tenth cannot reach it.
    short = fit_logistic(lambda: data, (0.0, 0.0), ridge=1e-6, tolerance=1e-9, max_change=0.1)
    assert short[0] == pytest.approx(5.0)


def test_separated_scores_stay_finite_by_the_ridge() -> None:
    data = [_weighted(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]))]
    weak, strong = (fit_logistic(lambda: data, (10.0, -5.0), ridge=ridge, tolerance=1e-9) for ridge in (1e-6, 1e-2))
    assert 0 < strong[0] < weak[0] < 1e3
