from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pairsim import evaluation
from pairsim.evaluation import retrieval_scores


def _at(*degrees: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_by_hand() -> None:
    # Seen from 0: 10, 30, 60, 100 degrees, of classes 1, 0, 0, 1.
    embeddings, labels = _at(0, 10, 30, 60, 100), [0, 1, 0, 0, 1]
    scores = retrieval_scores(embeddings, labels)
    assert scores.queries.tolist() == [0, 1, 2, 3, 4]
    assert scores.num_relevant.tolist() == [2, 1, 2, 2, 1]
    # Neighbours of 10: 0, 30, 60, 100. Of 30: 10, then 0 and 60, then 100. Of 60: 30, 100, 10, 0. Of 100: 60, 30, ...
    assert scores.first_ranks.tolist() == [2, 4, 2, 1, 3]
    assert scores.r_precisions.tolist() == [0.5, 0.0, 0.5, 0.5, 0.0]
    assert scores.average_precisions.tolist() == [0.25, 0.0, 0.25, 0.5, 0.0]
    assert [evaluation.recall_at_k(embeddings, labels, k) for k in (1, 2, 3, 4, 9)] == [0.2, 0.6, 0.8, 1.0, 1.0]
    assert evaluation.precision_at_1(embeddings, labels) == 0.2
    assert evaluation.r_precision(embeddings, labels) == pytest.approx(0.3)
    assert evaluation.map_at_r(embeddings, labels) == pytest.approx(0.2)
    assert evaluation.mean_reciprocal_rank(embeddings, labels) == pytest.approx((1 / 2 + 1 / 4 + 1 / 2 + 1 + 1 / 3) / 5)


def test_map_at_r_example_of_the_paper() -> None:
    # The cases of its Table 1 with 10 relevant: at place 1 alone, at 1 and 10, at 1 and 2.
    gallery = _at(*range(40))
    for relevant, r_precision, map_at_r in (({0}, 0.1, 0.1), ({0, 9}, 0.2, 0.12), ({0, 1}, 0.2, 0.2)):
        places = relevant | set(range(20, 30 - len(relevant)))
        labels = [1 if place in places else 0 for place in range(40)]
        scores = retrieval_scores(gallery, labels, query=(_at(-1), [1]))
        assert scores.num_relevant.tolist() == [10]
        assert scores.r_precision() == pytest.approx(r_precision)
        assert scores.map_at_r() == pytest.approx(map_at_r)


def test_perfect_is_exactly_one() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 7, 60)
    scores = retrieval_scores(np.eye(7)[labels], labels)
    figures = [scores.recall_at_k(1), scores.r_precision(), scores.map_at_r(), scores.mean_reciprocal_rank()]
    assert figures == [1.0] * 4


def test_ties_go_to_the_lower_image_number() -> None:
    equal = np.ones((4, 1))
    assert retrieval_scores(equal, [0, 1, 0, 1]).first_ranks.tolist() == [2, 3, 1, 2]
    assert retrieval_scores(equal, [0, 0, 1, 1]).first_ranks.tolist() == [1, 1, 3, 3]
    assert retrieval_scores(equal, [0, 0, 1, 1]).r_precisions.tolist() == [1.0, 1.0, 0.0, 0.0]
    gallery = retrieval_scores(equal, [0, 1, 0, 1], query=(np.ones((2, 1)), [0, 1]))
    assert gallery.first_ranks.tolist() == [1, 2]
    assert gallery.average_precisions.tolist() == [0.5, 0.25]


def test_an_image_is_not_its_own_neighbour_but_a_copy_of_it_is() -> None:
    embeddings = _at(0, 0, 90)
    assert retrieval_scores(embeddings, [0, 1, 0]).first_ranks.tolist() == [2, 1]
    # In a gallery nothing is left out, itself included.
    assert retrieval_scores(embeddings, [0, 1, 0], query=(embeddings, [0, 1, 0])).first_ranks.tolist() == [1, 2, 1]


def test_an_image_alone_in_its_class_asks_nothing_and_still_is_a_neighbour() -> None:
    scores = retrieval_scores(_at(0, 5, 20), [0, 9, 0])
    assert scores.queries.tolist() == [0, 2]
    assert (scores.num_queries, scores.num_left_out) == (2, 1)
    assert scores.first_ranks.tolist() == [2, 2]


def test_a_query_of_a_class_that_the_gallery_lacks_is_left_out() -> None:
    scores = retrieval_scores(_at(0, 50), [0, 1], query=(_at(1, 2, 49), [5, 0, 1]))
    assert scores.queries.tolist() == [1, 2]
    assert scores.num_left_out == 1


@pytest.mark.parametrize(
    ("embeddings", "labels", "query"),
    [
        (np.zeros((0, 3)), [], None),
        (np.eye(3), [0, 1, 2], None),
        (np.ones((1, 1)), [0], None),
        (np.eye(3), [0, 1, 2], (np.zeros((0, 3)), [])),
        (np.zeros((0, 3)), [], (np.eye(3), [0, 1, 2])),
    ],
)
def test_no_query_that_counts_gives_nan(embeddings: Any, labels: Any, query: Any) -> None:
    scores = retrieval_scores(embeddings, labels, query=query)
    assert scores.num_queries == 0
    figures = [scores.recall_at_k(5), scores.precision_at_1(), scores.r_precision()]
    assert np.isnan([*figures, scores.map_at_r(), scores.mean_reciprocal_rank()]).all()
    assert math.isnan(evaluation.recall_at_k(embeddings, labels, 1, query=query))


def test_single_functions_take_query_and_block_size() -> None:
    arguments: dict[str, Any] = {"query": (_at(2, 80), [0, 1]), "block_size": 1}
    embeddings, labels = _at(0, 10, 70), [1, 0, 1]
    # From 2 degrees: not relevant, relevant (R = 1). From 80: relevant, not, relevant (R = 2).
    assert evaluation.recall_at_k(embeddings, labels, 1, **arguments) == 0.5
    assert evaluation.precision_at_1(embeddings, labels, **arguments) == 0.5
    assert evaluation.r_precision(embeddings, labels, **arguments) == 0.25
    assert evaluation.mean_reciprocal_rank(embeddings, labels, **arguments) == 0.75
    assert evaluation.map_at_r(embeddings, labels, **arguments) == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tensors_of_any_dtype_that_ask_for_gradients(dtype: torch.dtype) -> None:
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]).to(dtype).requires_grad_()
    assert retrieval_scores(embeddings, torch.tensor([0, 1, 1])).first_ranks.tolist() == [1, 1]


def test_labels_of_two_integer_types_stay_apart() -> None:
    large = 2**63
    gallery = np.array([large, large + 1], dtype=np.uint64)
    scores = retrieval_scores(_at(0, 50), gallery, query=(_at(49), np.array([5], dtype=np.int64)))
    assert scores.num_left_out == 1
    assert retrieval_scores(_at(0, 50, 2, 52), np.tile(gallery, 2)).first_ranks.tolist() == [1, 1, 1, 1]
    mixed = retrieval_scores(_at(0, 50), gallery, query=(_at(49, 49), np.array([large, large + 1], dtype=np.uint64)))
    assert mixed.first_ranks.tolist() == [2, 1]


@pytest.mark.parametrize("k", [0, -1, 1.0, True, None, "1"])
def test_k_message(k: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected k to be a whole number of at least 1, got .*Use 10, say"):
        evaluation.recall_at_k(np.eye(2), [0, 0], k)


def test_numpy_k() -> None:
    assert evaluation.recall_at_k(np.eye(2), [0, 0], np.int64(1)) == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"block_size": 0}, ValueError, "Expected block_size to be a whole number of at least 1, got 0. Use 256, say"),
        ({"labels": [0]}, ValueError, r"Expected one label per embedding, shape \[2\], got shape \[1\]"),
        ({"embeddings": np.eye(2) * 2}, ValueError, "Expected embeddings of length 1, got length 2 at index 0"),
        ({"embeddings": np.eye(2, dtype=int)}, TypeError, "Expected embeddings of a float dtype, got int64"),
        ({"query": np.eye(2)}, TypeError, r"Expected query to be a pair \(embeddings, labels\), got ndarray. Give"),
        ({"query": (np.eye(2),)}, TypeError, r"Expected query to be a pair \(embeddings, labels\), got tuple"),
        ({"query": (np.eye(2), [0])}, ValueError, "Expected one query label per query embedding"),
        ({"query": (np.eye(2), [0.5, 1])}, TypeError, "Expected query labels to be whole numbers, got dtype float64"),
        ({"query": (np.ones(2), [0, 1])}, ValueError, r"Expected query embeddings to have shape \[N, D\], got \[2\]"),
        (
            {"query": (np.eye(3), [0, 1, 2])},
            ValueError,
            r"Expected query embeddings of the gallery's size, \[Q, 2\], got \[3, 3\]. Embed both with the same model",
        ),
    ],
)
def test_messages(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        retrieval_scores(**{"embeddings": np.eye(2), "labels": [0, 1], **arguments})
