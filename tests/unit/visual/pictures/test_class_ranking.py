from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from figure_parts import misplaced, model_images, picture, random_images, texts, title

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.images import Preprocessing
from pairsim.visual import draw_class_ranking


def test_classes_are_ranked_by_the_models_similarity() -> None:
    model, images = SimilarityModel().eval(), model_images(5)
    figure = draw_class_ranking(model, images[0], ImageTensors(images[1:], ["a", "b", "c", "c"]), true_label="b")
    order = model.similarity_matrix(images[:1], images[1:4])[0].argsort(descending=True).tolist()
    assert [text for text in texts(figure) if text in {"a", "b", "c"}] == ["abc"[k] for k in order]
    assert np.array_equal(picture(figure, "example 0"), images[1 + order[0], 0].numpy())
    assert not misplaced(figure)


def test_the_nearest_of_many_classes_are_drawn() -> None:
    model, images = SimilarityModel().eval(), model_images(24)
    names = [f"class {k}" for k in range(23)]
    figure = draw_class_ranking(model, images[0], images[1:], names=names)
    order = model.similarity_matrix(images[:1], images[1:])[0]
    nearest = [names[k] for k in order.argsort(descending=True).tolist()[:20]]
    assert [text for text in texts(figure) if text in names] == nearest
    assert "20 of 23" in title(figure)
    assert not misplaced(figure)


def test_classes_in_colour_and_of_unequal_size() -> None:
    model = SimilarityModel(EmbeddingNet(in_channels=3))
    examples = [torch.zeros(3, 10, 40, dtype=torch.uint8), torch.full((3, 60, 20), 200, dtype=torch.uint8)]
    figure = draw_class_ranking(model, random_images(1, channels=3), examples)
    assert {picture(figure, f"example {k}").shape for k in range(2)} == {(10, 40, 3), (60, 20, 3)}
    assert not misplaced(figure)


def test_preprocessed_images_do_not_wrap() -> None:
    size_28 = Preprocessing(image_size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))
    model = SimilarityModel(preprocessing=size_28)
    values = model.preprocessing(torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)) * 1.5
    assert picture(draw_class_ranking(model, values[0], values), "example 1").min() == 255


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: draw_class_ranking(SimilarityModel(), random_images(2), random_images(2)),
        ValueError,
        "Expected one image as query, got 2",
    ),
    (lambda: draw_class_ranking(SimilarityModel(), random_images(1), []), ValueError, "at least one class, got none"),
    (
        lambda: draw_class_ranking(SimilarityModel(), random_images(1), random_images(2), true_label=5),
        ValueError,
        "Expected true_label to be the label of an example, got 5",
    ),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_is_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
