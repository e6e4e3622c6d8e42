from __future__ import annotations

import math

import numpy as np

from pairsim import evaluation
from pairsim.evaluation import PairScores


def test_separated_and_reversed() -> None:
    scores = [0.1, 0.2, 0.8, 0.9]
    assert evaluation.roc_auc(scores, [0, 0, 1, 1]) == 1.0
    assert evaluation.roc_auc(scores, [1, 1, 0, 0]) == 0.0


def test_ties_count_half() -> None:
    assert evaluation.roc_auc([0.5, 0.5, 0.5], [1, 0, 0]) == 0.5
    assert evaluation.roc_auc([0.5, 0.5, 0.4], [1, 0, 0]) == 0.75


def test_one_kind_of_pair_is_nan() -> None:
    assert np.isnan([evaluation.roc_auc([0.5], [target]) for target in (0, 1)]).all()
    assert np.isnan(evaluation.roc_auc([], []))


def test_scores_are_not_squashed() -> None:
    # A sigmoid in float32 would tie these two.
    assert evaluation.roc_auc(np.array([40.0, 39.0], dtype=np.float32), [1, 0]) == 1.0


def test_float64_scores_are_not_rounded() -> None:
    scores = [0.5, math.nextafter(0.5, 1)]
    assert PairScores.from_scores(scores, [0, 1]).roc_auc() == 1.0
