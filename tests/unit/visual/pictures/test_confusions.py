from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from figure_parts import MNIST, misplaced, model_images, picture, random_images, title

from pairsim.data import ImageTensors
from pairsim.visual import draw_confusing_pairs


def test_confusing_pairs_are_counted() -> None:
    images = model_images(4)
    figure = draw_confusing_pairs(ImageTensors(images, [0, 0, 1, 1]), torch.eye(2)[[0, 1, 0, 1]], 0.5)
    assert title(figure).replace("- ", "-").endswith("2 of 2 false matches and 2 of 2 false non-matches")
    assert np.array_equal(picture(figure, "second 0"), images[2, 0].numpy())
    assert not misplaced(figure)


def test_preprocessed_images_do_not_wrap() -> None:
    dark_and_light = MNIST(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 12, 12)) * 1.5
    figure = draw_confusing_pairs(ImageTensors(dark_and_light, [0, 0]), torch.eye(2), 0.5, preprocessing=MNIST)
    assert picture(figure, "first 0").max() == 0
    assert picture(figure, "second 0").min() == 255


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 1]), torch.eye(2), 0.5),
        ValueError,
        "Expected an error at threshold 0.5, found none: all 1 pairs",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 0]), torch.eye(2), 0.5, count=13),
        ValueError,
        "Expected count to be at most 12, got 13",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 0]), torch.eye(2), float("inf")),
        ValueError,
        "Expected threshold to be finite, got inf",
    ),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_is_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
