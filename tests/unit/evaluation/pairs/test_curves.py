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


def test_partial_area_by_hand() -> None:
    scores, targets = [0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]
    # TMR is 1/2 up to FMR 1/2: the area is 1/4, of 1/8 (diagonal) to 1/2 (no error).
    assert evaluation.partial_roc_auc(scores, targets, 0.5) == pytest.approx(0.5 * (1 + (1 / 4 - 1 / 8) / (3 / 8)))
    assert evaluation.partial_roc_auc(scores, targets, 1.0) == evaluation.roc_auc(scores, targets)
    assert evaluation.partial_roc_auc([0.5] * 4, targets, 0.01) == pytest.approx(0.5, abs=1e-15)
    assert evaluation.partial_roc_auc([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.01) == 1.0
    assert evaluation.partial_roc_auc([np.inf, -np.inf], [1, 0], 0.5) == 1.0


def test_partial_area_of_one_class_and_its_messages() -> None:
    assert np.isnan([evaluation.partial_roc_auc([0.1], [mark], 0.1) for mark in (0, 1)]).all()
    with pytest.raises(ValueError, match=r"Expected max_fmr above 0, got 0.0: there is no area there"):
        evaluation.partial_roc_auc([0.1], [1], 0.0)
    with pytest.raises(ValueError, match=r"Expected max_fmr to be a rate from 0 to 1, got 1.5"):
        evaluation.partial_roc_auc([0.1], [1], 1.5)


def test_d_prime_by_hand_and_where_nothing_varies() -> None:
    assert evaluation.d_prime([4.0, 2.0, 1.0, -1.0], [1, 1, 0, 0]) == 3.0
    assert evaluation.d_prime([4.0, 2.0, 1.0, -1.0], [0, 0, 1, 1]) == -3.0
    assert evaluation.d_prime([0.3, 0.1, 0.1, 0.1], [1, 0, 0, 0]) == np.inf
    assert evaluation.d_prime([0.1, 0.1, 0.1, 0.3], [1, 1, 1, 0]) == -np.inf
    assert evaluation.d_prime([4e300, 2e300, 1e300, -1e300], [1, 1, 0, 0]) == pytest.approx(3.0)
    for scores, targets in (([0.1] * 4, [1, 1, 0, 0]), ([0.0] * 2, [1, 0]), ([0.1], [1]), ([0.1], [0]), ([], [])):
        assert np.isnan(evaluation.d_prime(scores, targets))
    assert np.isnan(evaluation.d_prime([np.inf, 1.0, 0.0], [1, 1, 0]))
