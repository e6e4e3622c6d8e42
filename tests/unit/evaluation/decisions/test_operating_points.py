"""Thresholds by FMR and by cost, against trying all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim.evaluation import PairScores, negatives_needed, threshold_for_cost, threshold_for_fmr

scored = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: 0 < sum(target for _, target in pairs) < len(pairs)
)


@given(scored, st.floats(0, 20), st.floats(0.1, 20), st.sampled_from([None, 0.5, 0.01]))
def test_cost_is_the_lowest_of_all_thresholds(
    pairs: list[tuple[int, bool]], false_match: float, false_non_match: float, prior: float | None
) -> None:
    scores = np.array([score for score, _ in pairs], dtype=np.float64)
    targets = np.array([target for _, target in pairs])
    share = targets.mean() if prior is None else prior

    def cost(threshold: float) -> float:
        fnmr, fmr = (scores[targets] < threshold).mean(), (scores[~targets] >= threshold).mean()
        return float(share * false_non_match * fnmr + (1 - share) * false_match * fmr)

    found = threshold_for_cost(
        PairScores.from_scores(scores, targets), false_match=false_match, false_non_match=false_non_match, prior=prior
    )
    assert cost(found) == pytest.approx(min(cost(t) for t in [-math.inf, *scores, math.inf]), abs=1e-12)


@given(st.floats(1e-6, 1))
def test_rule_of_three(rate: float) -> None:
    needed = negatives_needed(rate)
    assert 3 / needed <= rate
    assert needed <= 3 or 3 / (needed - 1) > rate


def test_threshold_keeps_the_rate_and_is_the_lowest_that_does() -> None:
    rng = np.random.default_rng(0)
    negative, positive = rng.normal(0, 1, 5000), rng.normal(3, 1, 300)
    pairs = PairScores.from_scores(np.concatenate([negative, positive]), np.repeat([0, 1], [5000, 300]))
    threshold = threshold_for_fmr(pairs, 0.001)
    assert (negative >= threshold).mean() <= 0.001
    below = np.concatenate([negative, positive])
    below = below[below < threshold].max()
    assert (negative >= below).mean() > 0.001


def test_too_few_negative_pairs_are_refused() -> None:
    pairs = PairScores.from_scores(np.linspace(0, 1, 510), [1] * 10 + [0] * 500)
    with pytest.raises(
        ValueError, match=r"at least 3,000 negative pairs .* 0\.001 \(rule of three\), got 500"
    ) as error:
        threshold_for_fmr(pairs, 0.001)
    assert "a rate of 0.006 or more" in str(error.value)
    assert math.isfinite(threshold_for_fmr(pairs, 0.006))
    with pytest.raises(ValueError, match="no number of pairs can show it"):
        threshold_for_fmr(pairs, 0.0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        threshold_for_fmr(pairs, 1.5)
    with pytest.raises(ValueError, match=r"got 0\. Use more pairs\."):
        threshold_for_fmr(PairScores.from_scores([0.5], [1]), 0.1)


def test_costs_that_mean_nothing_are_refused() -> None:
    pairs = PairScores.from_scores([0.5, 0.6], [1, 0])
    with pytest.raises(ValueError, match="false_match to be a number of at least 0, got -1"):
        threshold_for_cost(pairs, false_match=-1, false_non_match=1)
    with pytest.raises(ValueError, match="one cost above 0"):
        threshold_for_cost(pairs, false_match=0, false_non_match=0)
    with pytest.raises(ValueError, match="prior to be between"):
        threshold_for_cost(pairs, false_match=1, false_non_match=1, prior=0)
    assert math.isnan(threshold_for_cost(PairScores.from_scores([0.5], [1]), false_match=1, false_non_match=1))
