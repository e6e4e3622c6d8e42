from __future__ import annotations

import math

import pytest

from pairsim import evaluation


def test_by_hand() -> None:
    scores, targets = [0.9, 0.6, 0.8, 0.1, 0.2], [1, 1, 0, 0, 0]
    assert evaluation.accuracy(scores, targets, 0.7) == pytest.approx(3 / 5)


def test_one_kind_of_pair_and_no_pairs() -> None:
    assert evaluation.accuracy([0.9], [1], 0.5) == 1.0
    assert math.isnan(evaluation.accuracy([], [], 0.5))
