from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pairsim import EmbeddingNet, Gallery, find_leaks
from pairsim._common.numbers import counted, real_number, similarity_threshold, truth_value, whole_number
from pairsim.data import PairList
from pairsim.hub import push_to_hub, write_card
from pairsim.visual import draw_roc, draw_score_histogram


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5), torch.tensor([0.5])])
def test_numbers_of_all_kinds(value: Any) -> None:
    assert (real_number(value, "prior"), similarity_threshold(value)) == (0.5, 0.5)


@pytest.mark.parametrize("value", ["0.5", b"1", True, None, [0.5, 0.6], torch.zeros(2), np.zeros(2), object(), 1j])
@pytest.mark.parametrize("check", [lambda value: real_number(value, "threshold"), similarity_threshold])
def test_what_is_no_number(check: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="Expected threshold to be a number, got"):
        check(value)


@pytest.mark.parametrize("value", [50, 1.01, -1.5, math.nan, math.inf])
def test_thresholds_are_similarities(value: float) -> None:
    said = rf"Expected threshold to be a similarity in \[-1, 1\], got {float(value)}\. Give a cosine such as"
    with pytest.raises(ValueError, match=said):
        similarity_threshold(value)


def test_whole_numbers() -> None:
    assert [whole_number(value, "k", 0) for value in (0, np.int64(7), torch.tensor(3))] == [0, 7, 3]
    for value in ("32", 2.0, True, None, [4]):
        with pytest.raises(TypeError, match="Expected k to be a whole number of at least 1, got"):
            whole_number(value, "k", 1)
    assert whole_number(-3, "seed") == -3
    with pytest.raises(TypeError, match=r"Expected seed to be a whole number, got 0\.5"):
        whole_number(0.5, "seed")
    with pytest.raises(ValueError, match=r"Expected k to be at least 1, got 0\."):
        whole_number(0, "k", 1)
    assert whole_number(2**63 - 1, "k", 1) == 2**63 - 1
    for value in (2**63, 10**30):
        with pytest.raises(ValueError, match=f"Expected k to be below 2.*63, got {value}. Choose a smaller one"):
            whole_number(value, "k", 1)
    assert whole_number(2**64, "seed") == 2**64  # seeds are hashed


def test_a_number_with_its_noun() -> None:
    assert [counted(number, "pair") for number in (0, 1, 2, 1000)] == ["0 pairs", "1 pair", "2 pairs", "1,000 pairs"]
    assert counted(3, "class", "classes") == "3 classes"


def test_truth_values() -> None:
    assert [truth_value(value, "log") for value in (True, False, np.bool_(True))] == [True, False, True]
    given: tuple[Any, ...] = ("no", 1, 0.0, None, [], torch.tensor(True))
    for value in given:
        with pytest.raises(TypeError, match="Expected log to be True or False, got"):
            truth_value(value, "log")


@pytest.mark.parametrize(
    ("function", "num_others", "name"),
    [
        (EmbeddingNet, 0, "normalize"),
        (Gallery.save, 2, "replace"),
        (PairList.of, 1, "separate_images"),
        (PairList.load, 1, "require_hash"),
        (find_leaks, 2, "unseen_classes"),
        (push_to_hub, 2, "card"),
        (write_card, 1, "overwrite"),
        (draw_roc, 1, "log_fmr"),
        (draw_score_histogram, 1, "log"),
    ],
)
def test_text_is_no_truth_value(function: Any, num_others: int, name: str) -> None:
    with pytest.raises(TypeError, match=f"Expected {name} to be True or False, got 'yes'"):
        function(*[None] * num_others, **{name: "yes"})
