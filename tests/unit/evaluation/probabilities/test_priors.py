from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlapping_scores import overlapping_scores

from pairsim.evaluation import PairScores, fit_isotonic, fit_platt, log_loss, shift_prior


@pytest.mark.parametrize("fit", [fit_platt, fit_isotonic])
def test_fitted_for_a_prior_beats_not_being_so(fit) -> None:  # type: ignore[no-untyped-def]
    pairs = PairScores.from_scores(*overlapping_scores(5, 2_000, 2_000))
    scores, targets = overlapping_scores(6, 200, 19_800)
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
    with pytest.raises(ValueError, match="fitted to be between 0 and 1"):
        shift_prior([0.5], fitted=0.0, prior=0.5)
