from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pairsim import evaluation
from pairsim.evaluation import PairScores


def test_accuracy_by_hand() -> None:
    scores, targets = [0.9, 0.6, 0.8, 0.1, 0.2], [1, 1, 0, 0, 0]
    assert evaluation.accuracy(scores, targets, 0.7) == pytest.approx(3 / 5)


def test_accuracy_of_one_kind_of_pair_and_no_pairs() -> None:
    assert evaluation.accuracy([0.9], [1], 0.5) == 1.0
    assert math.isnan(evaluation.accuracy([], [], 0.5))


def test_balanced_accuracy_by_hand() -> None:
    scores, targets = [0.9, 0.6, 0.8, 0.1, 0.2], [1, 1, 0, 0, 0]
    assert evaluation.balanced_accuracy(scores, targets, 0.7) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_balanced_accuracy_of_one_kind_of_pair_is_nan() -> None:
    assert math.isnan(evaluation.balanced_accuracy([0.9], [1], 0.5))
    assert math.isnan(evaluation.balanced_accuracy([], [], 0.5))


def test_a_score_at_the_threshold_is_a_match() -> None:
    assert evaluation.fmr_fnmr([0.5, 0.5], [1, 0], 0.5) == (1.0, 0.0)
    assert evaluation.fmr_fnmr([0.5, 0.5], [1, 0], math.nextafter(0.5, 1)) == (0.0, 1.0)


def test_float32_scores_compare_with_the_exact_threshold() -> None:
    # The float32 next to 0.1 is above 0.1; the one next to 0.3 x 3 is not the same as the float64.
    for value in (0.1, 0.7, 0.9, 1 / 3):
        score = np.float32(value)
        pairs = evaluation.PairScores(np.array([score]), np.zeros(0, dtype=np.float32))
        assert pairs.fmr_fnmr(value)[1] == float(float(score) < value)
    pairs = evaluation.PairScores(np.array([3e38], dtype=np.float32), np.zeros(0, dtype=np.float32))
    assert [pairs.fmr_fnmr(t)[1] for t in (-1e300, 1e300, -np.inf, np.inf)] == [0.0, 1.0, 0.0, 1.0]


def test_fmr_fnmr_by_hand() -> None:
    scores, targets = torch.tensor([0.9, 0.6, 0.8, 0.1, 0.2]), torch.tensor([1, 1, 0, 0, 0])
    assert evaluation.fmr_fnmr(scores, targets, 0.7) == pytest.approx((1 / 3, 1 / 2))


def test_one_kind_of_pair_has_one_rate() -> None:
    fmr, fnmr = evaluation.fmr_fnmr([0.9], [1], 0.5)
    assert math.isnan(fmr)
    assert fnmr == 0.0


def test_equal_error_rate_between_two_thresholds() -> None:
    # From (FMR 0, FNMR 1) straight to (1, 0): all scores tie.
    assert evaluation.equal_error_rate([0.5] * 4, [1, 1, 0, 0]) == 0.5
    # (0, 1/2) to (1/3, 0): the line meets FMR = FNMR at 1/5.
    assert evaluation.equal_error_rate([0.9, 0.5, 0.5, 0.2, 0.1], [1, 1, 0, 0, 0]) == pytest.approx(0.2, abs=1e-15)


def test_equal_error_of_separated_and_reversed_scores() -> None:
    scores = [0.1, 0.2, 0.8, 0.9]
    assert evaluation.equal_error_rate(scores, [0, 0, 1, 1]) == 0.0
    assert evaluation.equal_error_rate(scores, [1, 1, 0, 0]) == 1.0


def test_equal_error_threshold_has_the_nearest_rates() -> None:
    pairs = PairScores.from_scores([0.9, 0.7, 0.6, 0.3, 0.2], [1, 1, 0, 1, 0])
    # (FMR, FNMR) is (0, 1/3) at 0.7 and (1/2, 1/3) at 0.6.
    assert pairs.equal_error_threshold() == 0.6
    assert pairs.fmr_fnmr(0.6) == pytest.approx((1 / 2, 1 / 3))
    assert pairs.equal_error_rate() == pytest.approx(1 / 3)


def test_equal_error_of_one_kind_of_pair_is_nan() -> None:
    for target in (0, 1):
        pairs = PairScores.from_scores([0.5], [target])
        assert np.isnan([pairs.equal_error_rate(), pairs.equal_error_threshold()]).all()


def test_fnmr_at_fmr_does_not_interpolate() -> None:
    scores, targets = [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]
    assert [evaluation.fnmr_at_fmr(scores, targets, fmr) for fmr in (0, 0.49, 0.5, 1)] == [0.5, 0.5, 0.0, 0.0]


def test_separated_scores_have_no_error() -> None:
    assert evaluation.fnmr_at_fmr([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.0) == 0.0


def test_infinite_negative_leaves_only_rejecting_everything() -> None:
    assert evaluation.fnmr_at_fmr([np.inf, np.inf], [1, 0], 0.5) == 1.0
    assert np.isnan(evaluation.PairScores.from_scores([np.inf, np.inf], [1, 0]).threshold_at_fmr(0.5))


def test_threshold_at_fmr_is_a_score_where_there_is_one() -> None:
    pairs = PairScores.from_scores([0.9, 0.7, 0.8, 0.1], [1, 1, 0, 0])
    assert [pairs.threshold_at_fmr(fmr) for fmr in (0.0, 0.5, 1.0)] == [0.9, 0.7, 0.1]
    assert PairScores.from_scores([0.1, 0.9], [1, 0]).threshold_at_fmr(0.0) == math.nextafter(0.9, 1)
