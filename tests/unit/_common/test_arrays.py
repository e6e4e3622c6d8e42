from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pairsim import evaluation
from pairsim._common.arrays import (
    as_array,
    check_count,
    check_fraction,
    check_probabilities,
    check_share,
    image_codes,
    labelled_embeddings,
    query_embeddings,
    scores_and_targets,
    vector,
)

SCORES = [0.75, 0.25, 0.5]
TARGETS = [1, 0, 1]


@pytest.mark.parametrize(
    "scores",
    [
        SCORES,
        tuple(SCORES),
        np.array(SCORES),
        np.array(SCORES, dtype=np.float16),
        torch.tensor(SCORES),
        torch.tensor(SCORES, dtype=torch.bfloat16),
        torch.tensor(SCORES, dtype=torch.float16),
        torch.tensor(SCORES, dtype=torch.float64, requires_grad=True) * 1,
        torch.tensor([SCORES, SCORES]).T[:, 1],
    ],
)
@pytest.mark.parametrize(
    "targets",
    [TARGETS, np.array(TARGETS, dtype=bool), np.array(TARGETS, dtype=np.uint8), torch.tensor(TARGETS).float()],
)
def test_every_kind_of_input_becomes_float64_and_bool(scores: Any, targets: Any) -> None:
    values, same = scores_and_targets(scores, targets)
    assert values.dtype == np.float64
    assert same.dtype == np.bool_
    assert values.tolist() == SCORES
    assert same.tolist() == [True, False, True]


def test_whole_numbers_are_scores() -> None:
    assert scores_and_targets([3, 1], [1, 0])[0].tolist() == [3.0, 1.0]


def test_empty_input() -> None:
    values, same = scores_and_targets([], torch.zeros(0))
    assert values.shape == same.shape == (0,)
    assert vector(np.array([], dtype=object), "targets").size == 0


def test_float32_keeps_order_and_ties() -> None:
    scores = np.nextafter(np.float32(0.5), np.float32(1), dtype=np.float32).repeat(2)
    values, _ = scores_and_targets(np.append(scores, np.float32(0.5)), [1, 0, 1])
    assert values[0] == values[1] > values[2]


def test_the_input_is_not_changed() -> None:
    scores = np.array([0.9, 0.1, 0.5])
    evaluation.roc_auc(scores, [1, 0, 1])
    assert scores.tolist() == [0.9, 0.1, 0.5]
    assert scores.flags.writeable


@pytest.mark.parametrize(
    ("scores", "targets", "error", "message"),
    [
        (
            [[0.1, 0.2]],
            [[0, 1]],
            ValueError,
            r"Expected scores to be one-dimensional, \[P\], got shape \[1, 2\]. Give one",
        ),
        (torch.tensor(0.5), [1], ValueError, r"Expected scores to be one-dimensional, \[P\], got shape \[\]"),
        ([0.1, 0.2], [1], ValueError, "Expected as many targets as scores, got 2 scores and 1 targets"),
        ([0.1, 0.2], [1, -1], ValueError, r"Expected targets of 0 .* and 1 .*, got -1 at index 1. Give booleans"),
        ([0.1, 0.2], [0.5, 1], ValueError, "got 0.5 at index 0"),
        ([0.1, 0.2], [1, float("nan")], ValueError, "got nan at index 1"),
        (
            [0.1, float("nan"), float("nan")],
            [1, 0, 1],
            ValueError,
            "Expected scores without NaN, got 2 NaN among 3, the first at index 1. Fix",
        ),
        (["a", "b"], [1, 0], TypeError, "Expected scores to be real numbers, got dtype <U1"),
        ([1j, 0], [1, 0], TypeError, "Expected scores to be real numbers, got dtype complex128"),
        ([None, 1.0], [1, 0], TypeError, "Expected scores to be real numbers, got dtype object"),
        ([0.1, 0.2], ["yes", "no"], TypeError, "Expected targets to be real numbers"),
        (
            [torch.rand(2), torch.rand(3)],
            [1, 0],
            TypeError,
            "Expected scores to be an array, a tensor or a flat sequence of numbers, got list .* Join .* torch.cat",
        ),
    ],
)
def test_messages(scores: Any, targets: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluation.roc_auc(scores, targets)


def test_probability_messages() -> None:
    for metric in (evaluation.log_loss, evaluation.brier_score, evaluation.expected_calibration_error):
        with pytest.raises(
            ValueError,
            match=r"Expected probabilities in \[0, 1\], got -0.2 at index 1: looks like similarities or logits; "
            r"pass model.predict_proba\(\.\.\.\) instead.",
        ):
            metric([0.5, -0.2, 3.0], [1, 0, 1])
        with pytest.raises(ValueError, match=r"Expected probabilities without NaN, got 1 NaN among 2"):
            metric([0.5, float("nan")], [1, 0])
    with pytest.raises(ValueError, match=r"got nan at index 12"):
        check_probabilities(np.array([0.1, 0.2, np.nan]), offset=10)


def test_rates_and_thresholds() -> None:
    with pytest.raises(ValueError, match=r"Expected fmr to be a rate from 0 to 1, got 1.5. Give a fraction"):
        evaluation.fnmr_at_fmr(SCORES, TARGETS, 1.5)
    with pytest.raises(ValueError, match=r"Expected fmr to be a rate"):
        check_fraction(float("nan"), "fmr")
    for metric in (evaluation.accuracy, evaluation.balanced_accuracy, evaluation.fmr_fnmr):
        with pytest.raises(ValueError, match=r"Expected threshold to be a number, got NaN. Choose a threshold"):
            metric(SCORES, TARGETS, float("nan"))


def test_as_array_keeps_whole_numbers() -> None:
    assert as_array(torch.tensor([2**62 + 1]), "labels").tolist() == [2**62 + 1]


def test_counts() -> None:
    assert check_count(np.int64(3), "k", 1, 10) == 3  # type: ignore[arg-type]
    for wrong in (0, 2.0, True, np.True_, "3"):
        with pytest.raises(ValueError, match=r"Expected k to be a whole number of at least 1, got .*\. Use 10, say"):
            check_count(wrong, "k", 1, 10)  # type: ignore[arg-type]


def test_shares() -> None:
    assert check_share(0.25, "prior") == 0.25
    for name in ("prior", "target_fpir"):
        for wrong in (0.0, 1.0, -0.5, float("nan")):
            with pytest.raises(ValueError, match=f"Expected {name} to be between 0 and 1, got") as caught:
                check_share(wrong, name)
            assert str(caught.value).endswith(". Give a share above 0, below 1, such as 0.01 for 1 %.")


def test_embeddings_keep_their_dtype_and_labels_become_whole_numbers() -> None:
    vectors, labels = labelled_embeddings(np.array([[0.6, 0.8], [0.0, 0.0]], dtype=np.float16), [True, False])
    assert vectors.dtype == np.float16
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0]


def test_queries_fit_the_gallery() -> None:
    vectors, labels = query_embeddings(([[0.6, 0.8]], [7]), 2)
    assert (vectors.tolist(), labels.tolist()) == ([[0.6, 0.8]], [7])
    with pytest.raises(TypeError, match=r"Expected query to be a pair \(embeddings, labels\), got int"):
        query_embeddings(3, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected query embeddings of the gallery's size, \[Q, 3\], got \[1, 2\]"):
        query_embeddings(([[0.6, 0.8]], [7]), 3)
    with pytest.raises(ValueError, match="Expected one query label per query embedding"):
        query_embeddings(([[0.6, 0.8]], []), 2)


def test_images_are_numbered_in_the_order_of_their_names() -> None:
    lower, higher, num_images = image_codes([30, 10, 20], [10, 20, 20], 3)
    assert (lower.tolist(), higher.tolist(), num_images) == ([0, 0, 1], [2, 1, 1], 3)
    assert image_codes([], [], 0)[2] == 0
    with pytest.raises(ValueError, match=r"Expected second to name one image per pair, shape \[1\], got shape \[2\]"):
        image_codes([1], [1, 2], 1)
    with pytest.raises(TypeError, match="Expected first to be whole numbers or strings, got dtype float64"):
        image_codes([0.5], [1], 1)


@pytest.mark.parametrize(
    ("scores", "targets", "error", "said"),
    [
        ([1, 0], [0.9, 0.2], ValueError, "got 0.9 at index 0. Give the scores first, then the targets"),
        ([True, False], [0.9, 0.2], TypeError, "Expected scores to be numbers, got bool"),
        ([True, False], [1, 0], TypeError, "as of targets or decisions. Give the scores first"),
        (["0.9", "0.1"], [1, 0], TypeError, "Expected scores to be real numbers, got dtype <U3"),
        ([0.9, 0.1], ["True", "False"], TypeError, "Expected targets to be real numbers, got dtype <U5"),
        ([0.9, 0.1], [1, -1], ValueError, "got -1 at index 1. Give booleans or 0 and 1"),
    ],
)
def test_scores_and_targets_that_are_mixed_up(scores: Any, targets: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        scores_and_targets(scores, targets)
