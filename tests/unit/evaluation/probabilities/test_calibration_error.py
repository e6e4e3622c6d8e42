from __future__ import annotations

import math
from typing import Any

import pytest

from pairsim import evaluation


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
    assert math.isnan(evaluation.expected_calibration_error([], []))


@pytest.mark.parametrize("num_bins", [0, -1, 2.0, True, "15"])
def test_num_bins_message(num_bins: Any) -> None:
    with pytest.raises(ValueError, match="Expected num_bins to be a whole number of at least 1, got"):
        evaluation.expected_calibration_error([0.5], [1], num_bins)
