from __future__ import annotations

import numpy as np
import pytest
import torch
from overlapping_scores import overlapping_scores
from sklearn.linear_model import LogisticRegression

from pairsim.evaluation import Logistic, PairScores, fit_platt


@pytest.mark.parametrize(("seed", "num_positive", "num_negative"), [(0, 40, 400), (1, 3, 500), (2, 300, 20)])
@pytest.mark.parametrize("prior", [None, 0.5, 0.01])
def test_platt_solves_its_equations(seed: int, num_positive: int, num_negative: int, prior: float | None) -> None:
    scores, targets = overlapping_scores(seed, num_positive, num_negative)
    fitted = fit_platt(PairScores.from_scores(scores, targets), prior=prior)
    share = num_positive / len(scores) if prior is None else prior
    wanted = np.where(targets == 1, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    weights = np.where(targets == 1, share / num_positive, (1 - share) / num_negative)
    residual = weights * (1 / (1 + np.exp(-(fitted.weight * scores + fitted.bias))) - wanted)
    assert abs(residual.sum()) < 1e-10
    assert abs((residual * scores).sum()) < 1e-10


def test_platt_agrees_with_logistic_regression() -> None:
    scores, targets = overlapping_scores(3, 200, 800)
    fitted = fit_platt(PairScores.from_scores(scores, targets))
    soft = np.where(targets == 1, 201 / 202, 1 / 802)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(scores, 2)[:, None], np.repeat([1, 0], len(scores)), sample_weight=np.concatenate([soft, 1 - soft])
    )
    assert fitted.weight == pytest.approx(oracle.coef_.item(), rel=1e-4)
    assert fitted.bias == pytest.approx(oracle.intercept_.item(), rel=1e-4)


def test_platt_with_many_scores_is_that_of_all_of_them() -> None:
    scores, targets = overlapping_scores(4, 150_000, 250_000)
    pairs = PairScores.from_scores(scores, targets)
    fitted = fit_platt(pairs)
    probabilities = fitted(scores.copy())
    # with so many pairs the smoothing is nothing: the mean probability is the share of positive pairs
    assert probabilities.mean() == pytest.approx(150_000 / 400_000, abs=1e-5)


def test_platt_is_finite_where_scores_separate_or_say_nothing() -> None:
    apart = fit_platt(PairScores.from_scores([0.9, 0.8, 0.1, 0.2], [1, 1, 0, 0]))
    assert np.isfinite([apart.weight, apart.bias]).all()
    assert apart.weight > 0
    level = fit_platt(PairScores.from_scores([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]))
    assert level.weight == 0
    assert float(level(np.array([0.5]))[0]) == pytest.approx(0.25)


def test_platt_falls_where_the_score_is_reversed() -> None:
    assert fit_platt(PairScores.from_scores([0.1, 0.2, 0.6, 0.9, 0.8, 0.3], [1, 1, 1, 0, 0, 0])).weight < 0


def test_platt_does_not_depend_on_scale_and_offset_of_the_scores() -> None:
    scores, targets = overlapping_scores(7, 100, 400)
    fitted = fit_platt(PairScores.from_scores(scores, targets))
    moved = fit_platt(PairScores.from_scores(scores * 1e150 - 3e150, targets))
    np.testing.assert_allclose(moved(scores * 1e150 - 3e150), fitted(scores.copy()), rtol=1e-9)


def test_platt_with_a_far_outlier_still_solves_its_equations() -> None:
    scores, targets = overlapping_scores(8, 200, 800)
    scores[0] = 1e5
    fitted = fit_platt(PairScores.from_scores(scores, targets))
    wanted = np.where(targets == 1, 201 / 202, 1 / 802)
    residual = (fitted(scores.copy()) - wanted) / len(scores)
    assert abs(residual.sum()) < 1e-10
    assert abs((residual * scores).sum()) < 1e-7


def test_platt_messages() -> None:
    with pytest.raises(ValueError, match=r"positive and negative pairs to calibrate on, got 2 and 0"):
        fit_platt(PairScores.from_scores([0.5, 0.6], [1, 1]))
    with pytest.raises(ValueError, match="finite scores"):
        fit_platt(PairScores.from_scores([0.5, np.inf], [1, 0]))


def test_logistic() -> None:
    probability = Logistic(10.0, -5.0)
    scores = np.linspace(-1, 1, 101)
    np.testing.assert_allclose(probability(scores), torch.sigmoid(torch.from_numpy(10 * scores - 5)), rtol=1e-14)
    assert scores[0] == -1.0
    assert np.isfinite(Logistic(1e6, 0.0)(np.array([-1.0, 1.0]))).all()
