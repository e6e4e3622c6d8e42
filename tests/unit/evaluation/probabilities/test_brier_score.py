from __future__ import annotations

import math

from pairsim import evaluation


def test_by_hand() -> None:
    assert evaluation.brier_score([0.5, 1.0], [1, 1]) == 0.125
    assert evaluation.brier_score([0.5, 1.0], [0, 0]) == 0.625


def test_nothing_gives_nan() -> None:
    assert math.isnan(evaluation.brier_score([], []))
