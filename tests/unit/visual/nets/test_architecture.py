from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from figure_parts import axes_of, misplaced, texts, title
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.images import Preprocessing
from pairsim.visual import draw_embedding_net
from pairsim.visual.nets.architecture import size_text


def test_blocks_are_drawn_with_sizes_and_parameters() -> None:
    figure = draw_embedding_net(EmbeddingNet())
    assert [axes.get_label() for axes in figure.axes] == ["image", "block 0", "block 1", "block 2"]
    assert title(figure) == "EmbeddingNet: 454,080 parameters"
    assert {"1 × 28 × 28", "32 × 14 × 14", "64 × 7 × 7", "128", "unit length", "401,792"} <= set(texts(figure))
    assert not misplaced(figure)


def test_a_similarity_model_is_drawn_with_its_own_image_size() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = SimilarityModel(net, preprocessing=Preprocessing(image_size=(20, 30), channels=3))
    assert "3 × 20 × 30" in texts(draw_embedding_net(model))


def test_larger_outputs_have_larger_boxes() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.Conv2d(8, 64, 3, stride=2))
    figure = draw_embedding_net(net, image_size=64)
    image, first, second = (axes_of(figure, label) for label in ("image", "block 0", "block 1"))
    heights = [axes.get_position().height for axes in (image, first, second)]
    assert heights == sorted(heights, reverse=True)
    fronts = [axes.patches[0].get_extents().width for axes in (image, first, second)]
    assert fronts == sorted(fronts)


def test_many_blocks_are_in_several_rows_and_parameters_outside_are_counted() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*(nn.Conv2d(1 if k == 0 else k, k + 1, 1) for k in range(14)))
            self.bias = nn.Parameter(torch.zeros(7))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            values: torch.Tensor = self.layers(images).mean((2, 3))
            return values

    figure = draw_embedding_net(Biased(), image_size=8, depth=2, title="Mine")
    assert title(figure) == "Mine"
    assert len(figure.axes) == 15
    assert len({round(axes.get_position().y1, 3) for axes in figure.axes}) > 1
    assert any("7 parameters belong to no block" in text for text in texts(figure))
    assert not misplaced(figure)


def test_shapes_as_text() -> None:
    assert [size_text(shape) for shape in ((3, 4, 5), (8, 1, 1), (8,), ())] == ["3 × 4 × 5", "8", "8", "no tensor"]


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: draw_embedding_net(EmbeddingNet), TypeError, "Expected net to be a torch.nn.Module, got type"),  # type: ignore[arg-type]
    (
        lambda: draw_embedding_net(nn.Conv2d(1, 2, 3)),
        ValueError,
        "Expected image_size, because Conv2d has no image_size",
    ),
    (
        lambda: draw_embedding_net(nn.Flatten(), image_size=4),
        ValueError,
        "Expected in_channels, because Flatten has none",
    ),
    (lambda: draw_embedding_net(EmbeddingNet(), depth=0), ValueError, "Expected depth to be at least 1, got 0"),
    (lambda: draw_embedding_net(EmbeddingNet(), image_size=0), ValueError, "of at least 1, got 0 and 1"),
    (lambda: draw_embedding_net(nn.Linear(3, 1), image_size=5, in_channels=1), ValueError, "to take images of shape"),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_is_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
