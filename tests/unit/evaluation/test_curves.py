from __future__ import annotations

import numpy as np
import pytest

from pairsim import evaluation


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


def test_equal_error_rate_between_two_thresholds() -> None:
    # From (FMR 0, FNMR 1) straight to (1, 0): all scores tie.
    assert evaluation.equal_error_rate([0.5] * 4, [1, 1, 0, 0]) == 0.5
    # (0, 1/2) to (1/3, 0): the line meets FMR = FNMR at 1/5.
    assert evaluation.equal_error_rate([0.9, 0.5, 0.5, 0.2, 0.1], [1, 1, 0, 0, 0]) == pytest.approx(0.2, abs=1e-15)


def test_separated_and_reversed() -> None:
    scores, targets = [0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]
    assert evaluation.roc_auc(scores, targets) == 1.0
    assert evaluation.equal_error_rate(scores, targets) == 0.0
    assert evaluation.fnmr_at_fmr(scores, targets, 0.0) == 0.0
    assert evaluation.roc_auc(scores, [1, 1, 0, 0]) == 0.0
    assert evaluation.equal_error_rate(scores, [1, 1, 0, 0]) == 1.0


def test_fnmr_at_fmr_does_not_interpolate() -> None:
    scores, targets = [0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]
    assert [evaluation.fnmr_at_fmr(scores, targets, fmr) for fmr in (0, 0.49, 0.5, 1)] == [0.5, 0.5, 0.0, 0.0]


def test_infinite_negative_leaves_only_refusing_everything() -> None:
    assert evaluation.fnmr_at_fmr([np.inf, np.inf], [1, 0], 0.5) == 1.0
    assert np.isnan(evaluation.PairScores.from_scores([np.inf, np.inf], [1, 0]).threshold_at_fmr(0.5))


def test_scores_are_not_squashed() -> None:
    # A sigmoid in float32 would tie these two.
    assert evaluation.roc_auc(np.array([40.0, 39.0], dtype=np.float32), [1, 0]) == 1.0
