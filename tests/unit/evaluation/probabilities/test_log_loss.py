from __future__ import annotations

import math

import pytest
import torch

from pairsim import evaluation
from pairsim.evaluation import PairScores


def test_by_hand() -> None:
    assert evaluation.log_loss([0.5, 0.5], [1, 0]) == pytest.approx(math.log(2), abs=1e-15)


def test_certain_and_wrong_is_clipped_in_float64_whatever_came_in() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert evaluation.log_loss(torch.tensor([0.0], dtype=dtype), [1]) == pytest.approx(36.0436533, abs=1e-6)
        assert evaluation.log_loss(torch.tensor([1.0], dtype=dtype), [0]) == pytest.approx(36.0436533, abs=1e-6)


def test_by_target() -> None:
    pairs = PairScores.from_scores([0.25, 0.5, 0.5], [1, 0, 0])
    assert pairs.log_loss_by_target(lambda p: p) == pytest.approx((-math.log(0.25), -math.log(0.5)))
    missing, zero = PairScores.from_scores([0.0], [0]).log_loss_by_target(lambda p: p)
    assert math.isnan(missing)
    assert zero == pytest.approx(0.0, abs=1e-15)


def test_nothing_gives_nan() -> None:
    assert math.isnan(evaluation.log_loss([], []))
