from __future__ import annotations

import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation import Logistic, PairCounts, PairScores, all_pair_scores
from pairsim.evaluation.pairs import ranked
from pairsim.evaluation.pairs.ranked import (
    Ranked,
    SplitScores,
    ratio,
    round_up,
    sort,
    sort_by_target,
    weighted_sum,
)


def _forms() -> list[Ranked]:
    """The scores 1, 2, 2, 4, one by one and counted."""
    counted = Ranked.counted(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 2, 0, 1]))
    return [Ranked(np.array([1.0, 2.0, 2.0, 4.0])), counted]


@pytest.mark.parametrize("scores", _forms())
def test_both_forms_give_the_same(scores: Ranked) -> None:
    assert scores.size == 4
    assert scores.below(np.array([0.0, 2.0, 3.0, 5.0])).tolist() == [0, 1, 3, 4]
    assert scores.below(np.array([0.0, 2.0, 3.0, 5.0]), or_equal=True).tolist() == [0, 3, 3, 4]
    assert scores.at(np.arange(4)).tolist() == [1.0, 2.0, 2.0, 4.0]
    assert [scores.above(score).size for score in (0.0, 1.0, 2.0, 4.0)] == [4, 3, 1, 0]
    assert scores.above(1.0).at(np.arange(3)).tolist() == [2.0, 2.0, 4.0]
    mean, variance = scores.moments(2.0)
    assert (mean, variance) == pytest.approx((9 / 8, np.var([0.5, 1, 1, 2])))
    assert scores.matches(np.array([1.5, 4.0, 9.0])).tolist() == [3, 1, 0]


def test_equal_scores_do_not_vary() -> None:
    assert Ranked(np.full(3, 0.1)).moments(1.0) == (0.1, 0.0)


def test_scores_are_sorted_by_target() -> None:
    positive, negative = sort_by_target(np.array([0.9, 0.1, 0.4, 0.3]), np.array([True, False, True, False]))
    assert positive.values.tolist() == [0.4, 0.9]
    assert negative.values.tolist() == [0.1, 0.3]


def test_scores_that_float32_does_not_hold_keep_their_order() -> None:
    scores = np.array([1 + 2**-40, 1.0, 1 + 2**-41, -math.inf, 1e300])
    positive, negative = sort_by_target(scores, np.array([True, True, True, False, False]))
    assert positive.values.tolist() == [1.0, 1 + 2**-41, 1 + 2**-40]
    assert negative.values.tolist() == [-math.inf, 1e300]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@given(st.lists(st.floats(-1, 1, width=16) | st.sampled_from([0.0, -math.inf, math.inf]), max_size=60), st.data())
@settings(max_examples=30)
def test_sorted_in_threads(dtype: Any, threads: int, scores: list[float], data: st.DataObject) -> None:
    same = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))), dtype=bool)
    values = np.array(scores, dtype=dtype)
    with mock.patch.object(ranked, "CHUNK", 2), mock.patch.object(torch, "get_num_threads", return_value=threads):
        in_place = values.copy()
        assert sort(in_place) is in_place
        positive, negative = sort_by_target(values.astype(np.float64), same)
    assert in_place.tolist() == sorted(scores)
    for found, wanted in ((positive, same), (negative, ~same)):
        assert found.values.dtype == np.float64
        assert found.values.tolist() == sorted(values[wanted].tolist())


def test_thresholds_are_rounded_up_to_the_dtype() -> None:
    exact = np.array([0.1, 0.7, 1 / 3, 0.5, -0.1, 1e300, -1e300, math.inf, -math.inf])
    rounded = round_up(exact, np.dtype(np.float32))
    assert rounded.dtype == np.float32
    assert np.all(rounded.astype(np.float64) >= exact)
    with np.errstate(over="ignore"):
        below = np.nextafter(rounded, np.float32(-np.inf))
    assert np.all((below.astype(np.float64) < exact) | (exact == -math.inf))
    assert round_up(exact, np.dtype(np.float64)).tolist() == exact.tolist()


def test_errors_at_a_threshold_and_the_next_score() -> None:
    pairs = sort_by_target(np.array([0.9, 0.4, 0.6, 0.1]), np.array([True, True, False, False]))
    assert [pairs.error_counts(threshold) for threshold in (0.0, 0.4, 0.6, 1.0)] == [(2, 0), (1, 0), (1, 1), (0, 2)]
    assert [pairs.lowest_above(score) for score in (0.0, 0.4, 0.9)] == [0.1, 0.6, None]


def test_sums_and_ratios() -> None:
    assert weighted_sum(np.array([1.0, 2.0]), None) == 3.0
    assert weighted_sum(np.array([1.0, 2.0]), np.array([3, 4])) == 11.0
    assert ratio(1, 4) == 0.25
    assert math.isnan(ratio(0, 0))
    assert SplitScores(*_forms()).negative.size == 4


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = all_pair_scores(
        torch.nn.functional.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)), dim=1),
        torch.arange(60) % 5,
    )

    def figures() -> list[float]:
        chance = Logistic(3.0, 0.0)
        return [
            pairs.roc_auc(),
            pairs.average_precision(),
            pairs.log_loss(chance),
            pairs.brier_score(chance),
            pairs.expected_calibration_error(chance),
        ]

    whole = figures()
    monkeypatch.setattr("pairsim.evaluation.pairs.ranked.CHUNK", 7)
    np.testing.assert_allclose(figures(), whole, rtol=0, atol=1e-12)


def test_probability_function_is_checked() -> None:
    pairs = PairScores.from_scores([0.5, -0.5], [1, 0])
    with pytest.raises(ValueError, match=r"got -0.5 at index 0: looks like similarities or logits"):
        pairs.brier_score(lambda scores: scores)
    with pytest.raises(ValueError, match=r"Expected one probability per score, shape \[1\], got \[\]. Give a function"):
        pairs.log_loss(lambda scores: scores.mean())


def test_distinct_scores_come_with_their_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.evaluation.pairs.ranked.CHUNK", 2)
    positive = PairCounts.from_scores([0.5, 0.25, 0.25, 1.0], [1, 1, 1, 1]).ranked.positive
    chunks = list(positive.probability_chunks(lambda scores: scores / 2))
    assert [values.tolist() for values, _ in chunks] == [[0.125, 0.25], [0.5]]
    assert [counts.tolist() for _, counts in chunks if counts is not None] == [[2, 1], [1]]


def test_index_of_a_wrong_probability_is_that_among_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.evaluation.pairs.ranked.CHUNK", 2)
    scores = PairScores.from_scores([0.1, 0.2, 0.3], [1, 1, 1]).ranked.positive
    with pytest.raises(ValueError, match=r"got 2 at index 2"):
        list(scores.probability_chunks(lambda values: np.where(values > 0.25, 2.0, values)))


def test_highest_score_with_a_difference_of_the_rates() -> None:
    pairs = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]).ranked
    # FMR - FNMR is -1/2 at 0.9, 0 at 0.6, 1/2 at 0.4 and 1 at 0.1.
    assert [pairs.highest_reaching(difference) for difference in (-1, 0, 0.1, 1)] == [0.9, 0.6, 0.4, 0.1]
    assert pairs.highest_reaching(1.1) == -math.inf


def test_lower_scores_count_twice_and_ties_once() -> None:
    positive, negative = PairScores.from_scores([3.0, 2.0, 2.0, 1.0], [1, 1, 0, 0]).ranked
    assert (positive.twice_above(negative), negative.twice_above(positive)) == (7, 1)
    for scores in _forms():
        assert scores.twice_above(scores) == 16
