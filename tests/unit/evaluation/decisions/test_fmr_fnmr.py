from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pairsim import evaluation


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


def test_by_hand() -> None:
    scores, targets = torch.tensor([0.9, 0.6, 0.8, 0.1, 0.2]), torch.tensor([1, 1, 0, 0, 0])
    assert evaluation.fmr_fnmr(scores, targets, 0.7) == pytest.approx((1 / 3, 1 / 2))


def test_one_kind_of_pair_has_one_rate() -> None:
    fmr, fnmr = evaluation.fmr_fnmr([0.9], [1], 0.5)
    assert math.isnan(fmr)
    assert fnmr == 0.0
