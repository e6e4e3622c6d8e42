from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation.identification import Searches
from pairsim.evaluation.uncertainty.spread import interval_of, spread_of_groups


def searches(num: int, seed: int = 0, *, enrolled: int = 20) -> Searches:
    generator = np.random.default_rng(seed)
    own = np.where(generator.random(num) < 0.6, generator.normal(0.6, 0.2, num), math.nan)
    others = generator.normal(0.3, 0.2, num).round(2)
    ranks = np.where(np.isnan(own), 0, np.where(own > others, 1, generator.integers(2, enrolled, num)))
    queried = generator.integers(0, 12, num)
    return Searches(own, others, ranks, np.isnan(own), queried, queried // 2, enrolled)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 50), st.floats(-1, 1))
def test_rates_are_counts(num: int, seed: int, threshold: float) -> None:
    s = searches(num, seed)
    mated = [index for index in range(num) if not math.isnan(s.own[index])]
    others = [index for index in range(num) if index not in mated]
    found = sum(s.others[index] >= threshold for index in others)
    missed = sum(s.own[index] < threshold or s.ranks[index] != 1 for index in mated)
    assert (s.num_mated, s.num_non_mated, len(s)) == (len(mated), len(others), num)
    if others:
        assert s.fpir(threshold) == pytest.approx(found / len(others))
    else:
        assert math.isnan(s.fpir(threshold))
    if mated:
        assert s.fnir(threshold) == pytest.approx(missed / len(mated))
        cmc = s.cmc(25)
        assert cmc[0] == pytest.approx(1 - s.fnir(-math.inf))
        assert cmc.tolist() == pytest.approx([np.mean(s.ranks[mated] <= rank) for rank in range(1, 26)])
    else:
        assert math.isnan(s.fnir(threshold))
        assert np.isnan(s.cmc(3)).all()


@settings(deadline=None)
@given(st.integers(5, 200), st.integers(0, 50))
def test_curve_has_the_rates_of_each_threshold(num: int, seed: int) -> None:
    s = searches(num, seed)
    thresholds, fpir, fnir = s.curve()
    assert (np.diff(thresholds) < 0).all()
    for threshold, positive, negative in zip(thresholds.tolist(), fpir.tolist(), fnir.tolist(), strict=True):
        if s.num_non_mated:
            assert positive == pytest.approx(s.fpir(threshold))
        if s.num_mated:
            assert negative == pytest.approx(s.fnir(threshold))


@settings(deadline=None)
@given(st.integers(100, 300), st.integers(0, 50), st.floats(0.1, 0.9))
def test_threshold_is_the_lowest_with_that_rate(num: int, seed: int, target: float) -> None:
    s = searches(num, seed)
    threshold = s.threshold_for_fpir(target)
    assert s.fpir(threshold) <= target
    below = s.others[s.non_mated & (s.others < threshold)]
    assert s.fpir(float(below.max())) > target  # the next lower one has more
    assert s.fnir_at_fpir(target) == s.fnir(threshold)


def test_threshold_needs_searches() -> None:
    s = searches(40)
    with pytest.raises(ValueError, match=r"at least 3,000 searches for unknown identities .* \(rule of three\), got"):
        s.threshold_for_fpir(0.001)
    with pytest.raises(ValueError, match="target_fpir to be between 0 and 1, got 0"):
        s.threshold_for_fpir(0.0)


def test_intervals_are_of_groups() -> None:
    s = searches(200)
    errors = s.others[s.non_mated] >= 0.4
    queried = s.groups[s.non_mated]
    rate = errors.mean()
    sums = np.array([(errors[queried == one] - rate).sum() for one in np.unique(queried)]) / errors.size
    weights = np.array([(queried == one).sum() for one in np.unique(queried)]) / errors.size
    assert s.fpir_interval(0.4) == pytest.approx(interval_of(rate, spread_of_groups(sums, weights), 0.95))
    low, high = s.fnir_interval(0.4)
    assert 0 < low < s.fnir(0.4) < high < 1


def test_shapes_are_checked() -> None:
    four = np.zeros(4)
    with pytest.raises(ValueError, match="Expected one value of each kind for each search"):
        Searches(four, four, np.zeros(3, int), np.ones(4, bool), np.zeros(4, int), np.zeros(4, int), 5)
    with pytest.raises(ValueError, match="num_enrolled to be at least 1"):
        Searches(four, four, np.zeros(4, int), np.ones(4, bool), np.zeros(4, int), np.zeros(4, int), 0)
