from __future__ import annotations

import math

import numpy as np
import pytest

from pairsim import evaluation
from pairsim.evaluation import PairScores


def test_roc_auc_of_separated_and_reversed_scores() -> None:
    scores = [0.1, 0.2, 0.8, 0.9]
    assert evaluation.roc_auc(scores, [0, 0, 1, 1]) == 1.0
    assert evaluation.roc_auc(scores, [1, 1, 0, 0]) == 0.0


def test_roc_auc_counts_ties_half() -> None:
    assert evaluation.roc_auc([0.5, 0.5, 0.5], [1, 0, 0]) == 0.5
    assert evaluation.roc_auc([0.5, 0.5, 0.4], [1, 0, 0]) == 0.75


def test_roc_auc_of_one_kind_of_pair_is_nan() -> None:
    assert np.isnan([evaluation.roc_auc([0.5], [target]) for target in (0, 1)]).all()
    assert np.isnan(evaluation.roc_auc([], []))


def test_scores_are_not_squashed() -> None:
    # A sigmoid in float32 would tie these two.
    assert evaluation.roc_auc(np.array([40.0, 39.0], dtype=np.float32), [1, 0]) == 1.0


def test_float64_scores_are_not_rounded() -> None:
    scores = [0.5, math.nextafter(0.5, 1)]
    assert PairScores.from_scores(scores, [0, 1]).roc_auc() == 1.0


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


def test_average_precision_by_hand() -> None:
    # Precision 1 at the first positive pair, 2/3 at the second.
    assert evaluation.average_precision([0.9, 0.6, 0.4], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    # Tied scores share a threshold: precision 2/3 at both positive pairs.
    assert evaluation.average_precision([0.5, 0.5, 0.5], [1, 1, 0]) == pytest.approx(2 / 3)


def test_average_precision_of_one_kind_of_pair() -> None:
    assert evaluation.average_precision([0.5, 0.2], [1, 1]) == 1.0
    assert np.isnan(evaluation.average_precision([0.5], [0]))
    assert np.isnan(evaluation.average_precision([], []))


def test_d_prime_by_hand_and_where_nothing_varies() -> None:
    assert evaluation.d_prime([4.0, 2.0, 1.0, -1.0], [1, 1, 0, 0]) == 3.0
    assert evaluation.d_prime([4.0, 2.0, 1.0, -1.0], [0, 0, 1, 1]) == -3.0
    assert evaluation.d_prime([0.3, 0.1, 0.1, 0.1], [1, 0, 0, 0]) == np.inf
    assert evaluation.d_prime([0.1, 0.1, 0.1, 0.3], [1, 1, 1, 0]) == -np.inf
    assert evaluation.d_prime([4e300, 2e300, 1e300, -1e300], [1, 1, 0, 0]) == pytest.approx(3.0)
    for scores, targets in (([0.1] * 4, [1, 1, 0, 0]), ([0.0] * 2, [1, 0]), ([0.1], [1]), ([0.1], [0]), ([], [])):
        assert np.isnan(evaluation.d_prime(scores, targets))
    assert np.isnan(evaluation.d_prime([np.inf, 1.0, 0.0], [1, 1, 0]))
