from __future__ import annotations

import math

import numpy as np
import pytest

from pairsim import evaluation
from pairsim.evaluation import PairScores
from pairsim.evaluation.decisions.equal_error import highest_reaching


def test_equal_error_rate_between_two_thresholds() -> None:
    # From (FMR 0, FNMR 1) straight to (1, 0): all scores tie.
    assert evaluation.equal_error_rate([0.5] * 4, [1, 1, 0, 0]) == 0.5
    # (0, 1/2) to (1/3, 0): the line meets FMR = FNMR at 1/5.
    assert evaluation.equal_error_rate([0.9, 0.5, 0.5, 0.2, 0.1], [1, 1, 0, 0, 0]) == pytest.approx(0.2, abs=1e-15)


def test_separated_and_reversed() -> None:
    scores = [0.1, 0.2, 0.8, 0.9]
    assert evaluation.equal_error_rate(scores, [0, 0, 1, 1]) == 0.0
    assert evaluation.equal_error_rate(scores, [1, 1, 0, 0]) == 1.0


def test_threshold_has_the_nearest_rates() -> None:
    pairs = PairScores.from_scores([0.9, 0.7, 0.6, 0.3, 0.2], [1, 1, 0, 1, 0])
    # (FMR, FNMR) is (0, 1/3) at 0.7 and (1/2, 1/3) at 0.6.
    assert pairs.equal_error_threshold() == 0.6
    assert pairs.fmr_fnmr(0.6) == pytest.approx((1 / 2, 1 / 3))
    assert pairs.equal_error_rate() == pytest.approx(1 / 3)


def test_one_kind_of_pair_is_nan() -> None:
    for target in (0, 1):
        pairs = PairScores.from_scores([0.5], [target])
        assert np.isnan([pairs.equal_error_rate(), pairs.equal_error_threshold()]).all()


def test_highest_score_with_a_difference_of_the_rates() -> None:
    pairs = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]).ranked
    # FMR - FNMR is -1/2 at 0.9, 0 at 0.6, 1/2 at 0.4 and 1 at 0.1.
    assert [highest_reaching(pairs, difference) for difference in (-1, 0, 0.1, 1)] == [0.9, 0.6, 0.4, 0.1]
    assert highest_reaching(pairs, 1.1) == -math.inf
