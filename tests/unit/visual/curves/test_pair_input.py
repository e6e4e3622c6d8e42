from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from number_data import scored_pairs

from pairsim.evaluation import PairCounts, PairScores
from pairsim.visual.curves.pair_input import read_models, read_pairs


def test_arrays_and_tensors_become_pair_scores() -> None:
    for scores in ([0.9, 0.1, 0.4], torch.tensor([0.9, 0.1, 0.4], dtype=torch.float64)):
        pairs = read_pairs(scores, [1, 0, 1])
        positive, negative = pairs.ranked
        assert (positive.values.tolist(), negative.values.tolist()) == ([0.4, 0.9], [0.1])


def test_counted_pairs_are_passed_on() -> None:
    counted = PairCounts.from_scores([0.9, 0.1], [1, 0])
    assert read_pairs(counted, None) is counted
    assert read_models({"a": counted, "b": ([0.9, 0.1], [1, 0])}, None)[0].pairs is counted


def test_a_single_model_has_no_name() -> None:
    assert [model.name for model in read_models([0.9, 0.1], np.array([1, 0]))] == [""]
    assert [model.name for model in read_models({1: ([0.9, 0.1], [1, 0])}, None)] == ["1"]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([0.1, 0.2], None, "Expected targets with scores, got none"),
        ([0.1, np.inf], [0, 1], "Expected scores to be finite, found infinity"),
        ([0.1, np.nan], [0, 1], "without NaN"),
        ([], [], "got none at all"),
        ([0.1, 0.2], [0, 0], "got 0 positive and 2 negative"),
        (PairScores.from_scores([0.1, 0.2], [0, 1]), [0, 1], "Expected no targets with PairScores"),
    ],
)
def test_pairs_that_cannot_be_drawn_are_rejected(scores: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(scores, targets)


def test_one_threshold_is_for_all_models_and_several_are_by_name() -> None:
    scores = {"a": scored_pairs(), "b": scored_pairs(seed=1)}
    assert [model.threshold for model in read_models(scores, None, 0.25)] == [0.25, 0.25]
    assert [model.threshold for model in read_models(scores, None, {"b": 0.5})] == [None, 0.5]
    assert [model.intervals for model in read_models(scores, None, None, {"a": {"eer": (0.0, 0.1)}})] == [
        {"eer": (0.0, 0.1)}, {}
    ]  # fmt: skip
