from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pairsim.visual.page.values import check_finite_threshold, read_predictions, read_values


@pytest.mark.parametrize(
    "values", [[0.25, -0.5], np.array([0.25, -0.5], dtype=np.float16), torch.tensor([0.25, -0.5], dtype=torch.bfloat16)]
)
def test_values_of_any_kind_become_doubles(values: Any) -> None:
    array = read_values("similarity", values, 2, "pair")
    assert array.dtype == np.float64
    assert array.tolist() == [0.25, -0.5]


def test_one_number_is_enough_for_one_item_and_rounding_is_clipped() -> None:
    assert read_values("probability", 1.0005, 1, "pair").tolist() == [1.0]
    assert read_values("score", 7.5, 1, "image").tolist() == [7.5]
    assert read_values("similarity", [], 0, "pair").tolist() == []


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("similarity", [0.1, 1.1], r"Expected similarity in \[-1, 1\], found 0.1 to 1.1. Pass cosines"),
        ("probability", [-0.1, 0.1], r"Expected probability in \[0, 1\], found -0.1 to 0.1. Turn logits"),
        ("score", [0.1, np.inf], "Expected score to be finite, found inf at index 1. Leave that pair out"),
        ("score", [0.1], r"Expected score to have shape \[2\], one for each pair, got \[1\]"),
    ],
)
def test_values_that_do_not_fit_are_rejected(name: str, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_values(name, values, 2, "pair")


def test_predictions_are_matches_from_the_threshold_on() -> None:
    _, probability, matches = read_predictions(3, [0.5, 0.4, 0.6], None, 0.5)
    assert matches is not None
    assert matches.tolist() == [True, False, True]
    assert probability is None
    assert read_predictions(3, None, None, None) == (None, None, None)


def test_values_of_all_pairs_are_cut_to_those_of_the_figure() -> None:
    similarity, probability, _ = read_predictions(2, [0.1, 0.2, 0.3], [0.4, 0.5], None, total=3)
    assert similarity is not None
    assert probability is not None
    assert (similarity.tolist(), probability.tolist()) == ([0.1, 0.2], [0.4, 0.5])
    with pytest.raises(ValueError, match=r"similarity in \[-1, 1\]"):  # also of pairs that are not drawn
        read_predictions(2, [0.1, 0.2, 3.0], None, None, total=3)


def test_thresholds_must_be_finite_and_have_similarities() -> None:
    for threshold in (1, None):
        check_finite_threshold(threshold)
    with pytest.raises(ValueError, match="Expected threshold to be finite, got inf"):
        check_finite_threshold(float("inf"))
    with pytest.raises(ValueError, match="Expected similarity along with threshold, got none"):
        read_predictions(1, None, [0.5], 0.5)
