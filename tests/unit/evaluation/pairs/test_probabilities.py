from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pairsim import evaluation


def test_by_hand() -> None:
    assert evaluation.log_loss([0.5, 0.5], [1, 0]) == pytest.approx(math.log(2), abs=1e-15)
    assert evaluation.brier_score([0.5, 1.0], [1, 1]) == 0.125


def test_certain_and_wrong_is_clipped_in_float64_whatever_came_in() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert evaluation.log_loss(torch.tensor([0.0], dtype=dtype), [1]) == pytest.approx(36.0436533, abs=1e-6)
        assert evaluation.log_loss(torch.tensor([1.0], dtype=dtype), [0]) == pytest.approx(36.0436533, abs=1e-6)


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


@pytest.mark.parametrize("num_bins", [0, -1, 2.0, True, "15"])
def test_num_bins_message(num_bins: Any) -> None:
    with pytest.raises(ValueError, match="Expected num_bins to be a whole number of at least 1, got"):
        evaluation.expected_calibration_error([0.5], [1], num_bins)
