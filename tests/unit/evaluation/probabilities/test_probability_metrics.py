from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pairsim import evaluation
from pairsim.evaluation import PairScores


def test_log_loss_by_hand() -> None:
    assert evaluation.log_loss([0.5, 0.5], [1, 0]) == pytest.approx(math.log(2), abs=1e-15)


def test_certain_and_wrong_is_clipped_in_float64_whatever_came_in() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert evaluation.log_loss(torch.tensor([0.0], dtype=dtype), [1]) == pytest.approx(36.0436533, abs=1e-6)
        assert evaluation.log_loss(torch.tensor([1.0], dtype=dtype), [0]) == pytest.approx(36.0436533, abs=1e-6)


def test_log_loss_by_target() -> None:
    pairs = PairScores.from_scores([0.25, 0.5, 0.5], [1, 0, 0])
    assert pairs.log_loss_by_target(lambda p: p) == pytest.approx((-math.log(0.25), -math.log(0.5)))
    missing, zero = PairScores.from_scores([0.0], [0]).log_loss_by_target(lambda p: p)
    assert math.isnan(missing)
    assert zero == pytest.approx(0.0, abs=1e-15)


def test_brier_score_by_hand() -> None:
    assert evaluation.brier_score([0.5, 1.0], [1, 1]) == 0.125
    assert evaluation.brier_score([0.5, 1.0], [0, 0]) == 0.625


def test_calibration_bins_are_half_open_and_the_last_is_closed() -> None:
    pairs = evaluation.PairScores.from_scores([0.0, 0.49, 0.5, 1.0], [0, 1, 1, 1])
    mean, rate, counts = pairs.calibration_bins(lambda p: p, num_bins=2)
    assert counts.tolist() == [2, 2]
    assert mean.tolist() == [0.245, 0.75]
    assert rate.tolist() == [0.5, 1.0]
    assert evaluation.expected_calibration_error([0.0, 0.49, 0.5, 1.0], [0, 1, 1, 1], num_bins=2) == pytest.approx(
        (0.255 + 0.25) / 2
    )


def test_empty_bins_are_nan() -> None:
    mean, rate, counts = evaluation.PairScores.from_scores([0.1], [1]).calibration_bins(lambda p: p, num_bins=2)
    assert math.isnan(mean[1])
    assert math.isnan(rate[1])
    assert counts.tolist() == [1, 0]


def test_nothing_gives_nan() -> None:
    for metric in (evaluation.log_loss, evaluation.brier_score, evaluation.expected_calibration_error):
        assert math.isnan(metric([], []))


def test_values_that_are_no_probabilities_message() -> None:
    for metric in (evaluation.log_loss, evaluation.brier_score, evaluation.expected_calibration_error):
        with pytest.raises(ValueError, match=r"got -0.2 at index 1: looks like similarities"):
            metric([0.5, -0.2], [1, 0])
        with pytest.raises(ValueError, match="Expected as many targets as probabilities"):
            metric([0.5], [1, 0])


@pytest.mark.parametrize("num_bins", [0, -1, 2.0, True, "15"])
def test_num_bins_message(num_bins: Any) -> None:
    with pytest.raises(ValueError, match="Expected num_bins to be a whole number of at least 1, got"):
        evaluation.expected_calibration_error([0.5], [1], num_bins)
