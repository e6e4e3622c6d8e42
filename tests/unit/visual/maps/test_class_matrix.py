from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from number_data import Floats, Ints, labelled_embeddings, off_place, panels

from pairsim.visual import class_similarity, draw_class_similarity
from pairsim.visual.maps.class_matrix import MAX_NUMBERED


def brute_force(vectors: Floats, labels: Ints) -> Floats:
    classes = np.unique(labels)
    means = np.full((len(classes), len(classes)), np.nan)
    for row, one in enumerate(classes):
        for column, other in enumerate(classes):
            cosines = [
                float(vectors[i] @ vectors[j])
                for i in np.flatnonzero(labels == one)
                for j in np.flatnonzero(labels == other)
                if i != j
            ]
            if cosines:
                means[row, column] = np.mean(cosines)
    return means


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-2, 3), min_size=1, max_size=14), st.integers(1, 5), st.integers(0, 99))
def test_means_are_those_of_all_pairs(labels: list[int], dim: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(labels), dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes, means = class_similarity(vectors, labels)
    assert classes.tolist() == sorted(set(labels))
    assert means == pytest.approx(brute_force(vectors, np.array(labels)), nan_ok=True, abs=1e-12)


def test_half_precision_and_tensors_are_taken() -> None:
    vectors, labels = labelled_embeddings(3)
    _, means = class_similarity(torch.from_numpy(vectors).bfloat16(), torch.from_numpy(labels))
    assert means == pytest.approx(brute_force(vectors, labels), abs=0.02)


def test_the_matrix_is_drawn_with_names_numbers_and_a_scale() -> None:
    vectors, labels = labelled_embeddings(4)
    figure = draw_class_similarity(vectors, labels, names=["cat", "dog", "$5 owl"])
    axes, scale = panels(figure)
    means = brute_force(vectors, labels)
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(means)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog", "$5 owl", "3"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["cat", "dog", "$5 owl", "3"]
    numbers = {
        tuple(map(int, text.get_position()[::-1])): text.get_text()
        for text in axes.texts
        if text.get_text()[-1:].isdigit()
    }
    assert len(numbers) == 16
    assert numbers[1, 2] == f"{means[1, 2]:.2f}".replace("-", "−")
    assert scale.get_ylabel() == "mean similarity (cosine)"
    low, high = axes.images[0].get_clim()
    assert low <= means.min()
    assert high == 1.0
    assert not off_place(figure)


def test_a_class_of_one_image_has_no_similarity_within() -> None:
    axes = panels(draw_class_similarity([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [0, 0, 1]))[0]
    assert "–" in [text.get_text() for text in axes.texts]


def test_numbers_are_left_out_where_they_have_no_room() -> None:
    vectors, labels = labelled_embeddings(MAX_NUMBERED + 1)
    figure = draw_class_similarity(vectors, labels)
    assert len(panels(figure)[0].texts) == 1
    assert not off_place(figure)


def test_of_many_classes_the_most_alike_are_drawn_and_the_subtitle_says_so() -> None:
    vectors, labels = labelled_embeddings(30, dim=16)
    figure = draw_class_similarity(vectors, labels, max_classes=5)
    axes = panels(figure)[0]
    shown = [int(text.get_text()) for text in axes.get_yticklabels()]
    between = brute_force(vectors, labels)
    np.fill_diagonal(between, -1)
    highest = between.max(axis=1)
    assert shown == sorted(set(shown))
    assert len(shown) == 5
    assert highest[shown].min() >= np.delete(highest, shown).max() - 1e-12
    assert any(
        "the 5 of 30 classes with the highest similarity to another one" in text.get_text() for text in axes.texts
    )
    assert not off_place(figure)


def test_long_names_stay_on_the_page() -> None:
    vectors, labels = labelled_embeddings(24)
    names = {k: f"a class with quite a long name, no. {k}" for k in range(24)}
    assert not off_place(draw_class_similarity(vectors, labels, names=names))


@pytest.mark.parametrize(
    ("vectors", "labels", "options", "kind", "message"),
    [
        ([[1.0, 0.0]], [0], {}, ValueError, "Expected at least two classes, got 1"),
        (np.zeros((0, 3)), [], {}, ValueError, "Expected at least two classes, got 0"),
        ([[1.0, 0.0]], [0, 1], {}, ValueError, "Expected one label per embedding"),
        ([[2.0, 0.0], [0.0, 1.0]], [0, 1], {}, ValueError, "Expected embeddings of length 1, got length 2"),
        ([[float("nan"), 0.0], [0.0, 1.0]], [0, 1], {}, ValueError, "Expected embeddings of length 1, got length nan"),
        ([[1.0, 0.0], [0.0, 1.0]], ["a", "b"], {}, TypeError, "Expected labels to be whole numbers"),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1], {"max_classes": 1}, ValueError, "Expected max_classes to be a whole number"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    vectors: Any, labels: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        draw_class_similarity(vectors, labels, **options)
    assert "\n" not in str(caught.value)


def test_names_of_many_classes_are_thinned_out() -> None:
    vectors, labels = labelled_embeddings(120, each=2)
    figure = draw_class_similarity(vectors, labels, max_classes=120, names=[f"class number {k}" for k in range(120)])
    assert not off_place(figure)
    axes = panels(figure)[0]
    for ticks, start, end in ((axes.get_xticklabels(), "x0", "x1"), (axes.get_yticklabels(), "y0", "y1")):
        boxes = sorted((getattr(box, start), getattr(box, end)) for box in (text.get_window_extent() for text in ticks))
        assert len(boxes) >= 20
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(boxes))
        assert [text.get_text() for text in ticks] == [f"class number {tick}" for tick in axes.get_xticks()]
    assert any("one of 3 classes has its name" in text.get_text() for text in axes.texts)
