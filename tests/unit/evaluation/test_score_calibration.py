"""Fits from score to probability, against scikit-learn and the equations that they solve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from pairsim.evaluation import PairScores, fit_isotonic, fit_platt, log_loss, shift_prior


def overlapping(seed: int, num_positive: int, num_negative: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0.6, 0.3, num_positive), rng.normal(0.1, 0.2, num_negative)])
    targets = np.repeat([1, 0], [num_positive, num_negative])
    order = rng.permutation(len(scores))
    return scores[order], targets[order]


@pytest.mark.parametrize(("seed", "num_positive", "num_negative"), [(0, 40, 400), (1, 3, 500), (2, 300, 20)])
@pytest.mark.parametrize("prior", [None, 0.5, 0.01])
def test_platt_solves_its_equations(seed: int, num_positive: int, num_negative: int, prior: float | None) -> None:
    scores, targets = overlapping(seed, num_positive, num_negative)
    fitted = fit_platt(PairScores.from_scores(scores, targets), prior=prior)
    share = num_positive / len(scores) if prior is None else prior
    wanted = np.where(targets == 1, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    weights = np.where(targets == 1, share / num_positive, (1 - share) / num_negative)
    residual = weights * (1 / (1 + np.exp(-(fitted.weight * scores + fitted.bias))) - wanted)
    assert abs(residual.sum()) < 1e-10
    assert abs((residual * scores).sum()) < 1e-10


def test_platt_agrees_with_logistic_regression() -> None:
    scores, targets = overlapping(3, 200, 800)
    fitted = fit_platt(PairScores.from_scores(scores, targets))
    soft = np.where(targets == 1, 201 / 202, 1 / 802)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(scores, 2)[:, None], np.repeat([1, 0], len(scores)), sample_weight=np.concatenate([soft, 1 - soft])
    )
    assert fitted.weight == pytest.approx(oracle.coef_.item(), rel=1e-4)
    assert fitted.bias == pytest.approx(oracle.intercept_.item(), rel=1e-4)


def test_platt_with_many_scores_is_that_of_all_of_them() -> None:
    scores, targets = overlapping(4, 150_000, 250_000)
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


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60).filter(
        lambda pairs: 0 < sum(target for _, target in pairs) < len(pairs)
    )
)
def test_isotonic_agrees_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    targets = np.array([target for _, target in pairs], dtype=np.float64)
    fitted = fit_isotonic(PairScores.from_scores(scores, targets))
    oracle = IsotonicRegression(out_of_bounds="clip").fit(scores, targets).predict(scores)
    inside = (oracle > 0) & (oracle < 1)
    found = fitted(scores)
    np.testing.assert_allclose(found[inside], oracle[inside], rtol=0, atol=1e-12)
    # the ends stay inside, and on the same side of everything else
    assert ((found > 0) & (found < 1)).all()
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found[order]) >= -1e-12).all()


def test_isotonic_ends_say_how_many_pairs_they_saw() -> None:
    found = fit_isotonic(PairScores.from_scores([0.1] * 9 + [0.9] * 4, [0] * 9 + [1] * 4))
    np.testing.assert_allclose(found(np.array([-1.0, 0.1, 0.9, 2.0])), [1 / 20, 1 / 20, 9 / 10, 9 / 10])


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_fitted_for_a_prior_beats_not_being_so(fit) -> None:  # type: ignore[no-untyped-def]
    pairs = PairScores.from_scores(*overlapping(5, 2_000, 2_000))
    scores, targets = overlapping(6, 200, 19_800)
    for_half, for_one_percent = fit(pairs), fit(pairs, prior=0.01)
    assert log_loss(for_one_percent(scores.copy()), targets) < log_loss(for_half(scores.copy()), targets)
    shifted = shift_prior(for_half(scores.copy()), fitted=0.5, prior=0.01)
    assert log_loss(shifted, targets) < log_loss(for_half(scores.copy()), targets)
    if fit is fit_isotonic:  # its evidence does not depend on the prior at all
        np.testing.assert_allclose(shifted, for_one_percent(scores.copy()), rtol=1e-9)


@given(st.floats(0, 1), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_shift_there_and_back(probability: float, fitted: float, prior: float) -> None:
    there = shift_prior([probability], fitted=fitted, prior=prior)
    back = shift_prior(there, fitted=prior, prior=fitted)
    assert back[0] == pytest.approx(probability, abs=1e-9)
    assert 0 <= there[0] <= 1


def test_messages() -> None:
    one_kind = PairScores.from_scores([0.5, 0.6], [1, 1])
    for fit in (fit_platt, fit_isotonic):
        with pytest.raises(ValueError, match=r"positive and negative pairs to calibrate on, got 2 and 0"):
            fit(one_kind)
        with pytest.raises(ValueError, match="prior to be between 0 and 1, got 1"):
            fit(PairScores.from_scores([0.5, 0.6], [1, 0]), prior=1.0)
    with pytest.raises(ValueError, match="finite scores"):
        fit_platt(PairScores.from_scores([0.5, np.inf], [1, 0]))
    with pytest.raises(ValueError, match="fitted to be between 0 and 1"):
        shift_prior([0.5], fitted=0.0, prior=0.5)
