from __future__ import annotations

import numpy as np
import pytest

from pairsim import evaluation
from pairsim.evaluation import PairScores


def test_curve_by_hand() -> None:
    curve = evaluation.roc_curve([0.9, 0.4, 0.6, 0.4], [1, 1, 0, 0])
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.6, 0.4]
    assert curve.fmr.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert curve.fnmr.tolist() == [1.0, 0.5, 0.5, 0.0]
    assert curve.tmr.tolist() == [0.0, 0.5, 0.5, 1.0]


def test_det_curve_has_the_same_points() -> None:
    roc, det = evaluation.roc_curve([0.9, 0.4, 0.6], [1, 1, 0]), evaluation.det_curve([0.9, 0.4, 0.6], [1, 1, 0])
    assert (roc.fmr.tolist(), roc.fnmr.tolist()) == (det.fmr.tolist(), det.fnmr.tolist())


def test_curve_of_one_class_and_of_nothing() -> None:
    curve = evaluation.roc_curve([0.1, 0.2], [1, 1])
    assert np.isnan(curve.fmr).all()
    assert curve.fnmr.tolist() == [1.0, 0.5, 0.0]
    curve = evaluation.roc_curve([], [])
    assert curve.thresholds.tolist() == [np.inf]
    assert np.isnan([curve.fmr, curve.fnmr]).all()


def test_max_points_message() -> None:
    with pytest.raises(ValueError, match=r"Expected max_points to be a whole number of at least 5, got 4. Use 1000"):
        PairScores.from_scores([0.5], [1]).roc_curve(4)
