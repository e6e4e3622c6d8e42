from __future__ import annotations

import math

import numpy as np

from pairsim import evaluation
from pairsim.evaluation import PairScores


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
