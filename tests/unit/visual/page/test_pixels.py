from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figure_parts import model_images
from torch import Tensor, nn

from pairsim import SimilarityModel
from pairsim.images import Preprocessing
from pairsim.visual import to_pixels
from pairsim.visual.page.pixels import embed

MNIST = Preprocessing(image_size=(16, 16), channels=1, mean=(0.1307,), std=(0.3081,))
COLOUR = Preprocessing(image_size=(16, 16), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def every_grey_level(channels: int = 1) -> Tensor:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    return torch.cat([levels.roll(k, dims=-1) for k in range(channels)], dim=1)


@pytest.mark.parametrize("preprocessing", [MNIST, COLOUR])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_denormalised_pixels_are_the_original_ones(preprocessing: Preprocessing, dtype: torch.dtype) -> None:
    original = every_grey_level(preprocessing.channels)
    pixels = to_pixels(preprocessing(original).to(dtype), preprocessing)[0].astype(int)
    expected = original[0].permute(1, 2, 0).squeeze(-1).numpy().astype(int)
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 1


def test_values_beyond_the_range_are_clipped_and_not_wrapped() -> None:
    beyond = MNIST(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)) + torch.tensor([-0.5, 0.5])
    assert to_pixels(beyond, MNIST)[0].tolist() == [[0, 255]]


def test_uint8_is_passed_on_with_and_without_preprocessing() -> None:
    original = every_grey_level()
    for preprocessing in (None, MNIST):
        assert np.array_equal(to_pixels(original, preprocessing)[0], original[0, 0].numpy())


def test_floats_in_the_unit_interval_are_scaled() -> None:
    image = torch.tensor([[0.0, 0.5, 1.0005]])
    assert to_pixels(image)[0].tolist() == [[0, 128, 255]]
    plain = Preprocessing(image_size=(1, 3), channels=1)
    assert to_pixels(image, plain)[0].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(
    ("images", "shapes"),
    [
        (torch.zeros(2, 1, 4, 5), [(4, 5), (4, 5)]),
        (torch.zeros(2, 3, 4, 5), [(4, 5, 3), (4, 5, 3)]),
        (torch.zeros(1, 4, 5), [(4, 5)]),
        (torch.zeros(4, 5), [(4, 5)]),
        ([torch.zeros(1, 4, 5), torch.zeros(3, 2, 2)], [(4, 5), (2, 2, 3)]),
        (torch.zeros(0, 1, 4, 5), []),
        ([], []),
    ],
)
def test_shapes(images: Any, shapes: list[tuple[int, ...]]) -> None:
    pixels = to_pixels(images)
    assert [image.shape for image in pixels] == shapes
    assert all(image.dtype == np.uint8 for image in pixels)


def test_gradients_do_not_get_in_the_way() -> None:
    assert to_pixels(torch.zeros(1, 1, 2, 2, requires_grad=True))[0].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("images", "preprocessing", "message"),
    [
        (MNIST(every_grey_level()), None, r"in \[0, 1\], without mean and std, found values from -0.4242 to 2.821"),
        (MNIST(every_grey_level()), None, r"Pass preprocessing=model.preprocessing"),
        (torch.full((1, 2, 2), 200.0), None, r"x.to\(torch.uint8\) if they are pixels 0 to 255"),
        (
            torch.full((1, 2, 2), -1.0),
            Preprocessing(image_size=(2, 2), channels=1),
            "as preprocessing has no mean and std",
        ),
        (torch.zeros(1, 3, 2, 2), MNIST, r"the 1 channels of preprocessing, got \[3, 2, 2\]"),
        (torch.zeros(2, 2, dtype=torch.int64), None, r"uint8 pixels or floating point, got torch.int64"),
        (torch.zeros(1, 4, 2, 2), None, r"1 \(grey\) or 3 \(colour\) channels \[C, H, W\], got \[4, 2, 2\]"),
        (torch.zeros(1, 1, 1, 2, 2), None, r"got an image of shape \[1, 1, 1, 2, 2\]"),
        (torch.zeros(1, 1, 0, 2), None, r"got an image of shape \[1, 0, 2\]"),
        (torch.full((2, 2), float("nan")), None, "Expected finite images"),
        (torch.full((2, 2), float("inf")), MNIST, "Expected finite images"),
    ],
)
def test_what_cannot_be_shown_is_said(images: Tensor, preprocessing: Preprocessing | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_pixels(images, preprocessing)


@pytest.mark.parametrize("images", [np.zeros((2, 2), dtype=np.uint8), "a.png", Path("a.png"), [Path("a.png")]])
def test_other_kinds_are_refused(images: Any) -> None:
    with pytest.raises(TypeError, match=r"Read pictures with pairsim.images.read_image"):
        to_pixels(images)


def test_embeddings_are_those_of_the_model() -> None:
    model, images = SimilarityModel().eval(), model_images(3)
    expected = model.encode(images)
    assert torch.allclose(embed(model, images, "images"), expected, atol=1e-6)
    assert torch.allclose(embed(model, model.preprocessing(images), "images"), expected, atol=1e-6)
    assert torch.allclose(embed(model, list(images), "images"), expected, atol=1e-6)
    assert embed(model, images[0], "images").shape == (1, 128)


def test_pixels_of_any_size_are_resized_and_preprocessed_images_are_not() -> None:
    model = SimilarityModel()
    pixels = [torch.zeros(1, 20, 30, dtype=torch.uint8), torch.zeros(1, 28, 28, dtype=torch.uint8)]
    assert embed(model, pixels, "images").shape == (2, 128)
    with pytest.raises(ValueError, match="Expected queries as uint8, or preprocessed to one size, got 2 shapes"):
        embed(model, [image.float() for image in pixels], "queries")
    with pytest.raises(ValueError, match="got 1 shapes and both dtypes"):
        embed(model, [pixels[1], pixels[1].float()], "queries")


def test_other_models_are_rejected() -> None:
    with pytest.raises(TypeError, match="Expected model to be a SimilarityModel, got Linear"):
        embed(nn.Linear(1, 1), model_images(1), "images")  # type: ignore[arg-type]
