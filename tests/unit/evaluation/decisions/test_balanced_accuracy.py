from __future__ import annotations

import math

import pytest

from pairsim import evaluation


def test_by_hand() -> None:
    scores, targets = [0.9, 0.6, 0.8, 0.1, 0.2], [1, 1, 0, 0, 0]
    assert evaluation.balanced_accuracy(scores, targets, 0.7) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_one_kind_of_pair_is_nan() -> None:
    assert math.isnan(evaluation.balanced_accuracy([0.9], [1], 0.5))
    assert math.isnan(evaluation.balanced_accuracy([], [], 0.5))
