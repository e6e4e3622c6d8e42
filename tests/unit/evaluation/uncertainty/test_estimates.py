from __future__ import annotations

import math

import pytest

from pairsim.evaluation import PairScores
from pairsim.evaluation.uncertainty.estimates import fnmr_name, image_pairs, point_estimates


def test_estimates_are_the_figures_of_the_pairs() -> None:
    pairs = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    assert point_estimates(pairs, 0.5, (0.5, 0.001)) == {
        "accuracy": 0.5, "balanced_accuracy": 0.5, "eer": 0.5, "fmr": 0.5, "fnmr": 0.5, "roc_auc": 0.75,
        "fnmr_at_fmr_0.5": 0.0, "fnmr_at_fmr_0.001": 0.5,
    }  # fmt: skip
    assert fnmr_name(1e-4) == "fnmr_at_fmr_0.0001"


def test_thresholds_and_targets_are_checked() -> None:
    pairs = PairScores.from_scores([0.9, 0.4], [1, 0])
    with pytest.raises(ValueError, match="Expected threshold to be a number, got NaN"):
        point_estimates(pairs, math.nan, ())
    with pytest.raises(ValueError, match="Expected fmr to be a rate from 0 to 1, got 10"):
        point_estimates(pairs, 0.5, (10,))


def test_images_are_numbered_and_scores_keep_their_order() -> None:
    given = image_pairs([0.9, 0.1, 0.5], [1, 0, 1], ["b", "c", "a"], ["a", "a", "b"])
    assert given.scores.tolist() == [0.9, 0.1, 0.5]
    assert given.same.tolist() == [True, False, True]
    assert (given.first.tolist(), given.second.tolist(), given.num_images) == ([0, 0, 0], [1, 2, 1], 3)
    assert given.pairs.positive.tolist() == [0.5, 0.9]
