from __future__ import annotations

import pytest
import torch
from figure_parts import model_images
from torch import nn

from pairsim import SimilarityModel
from pairsim.visual.pictures.embedding import embed_shown


def test_embeddings_are_those_of_the_model() -> None:
    model, images = SimilarityModel().eval(), model_images(3)
    expected = model.encode(images)
    assert torch.allclose(embed_shown(model, images, "images"), expected, atol=1e-6)
    assert torch.allclose(embed_shown(model, model.preprocessing(images), "images"), expected, atol=1e-6)
    assert torch.allclose(embed_shown(model, list(images), "images"), expected, atol=1e-6)
    assert embed_shown(model, images[0], "images").shape == (1, 128)


def test_pixels_of_any_size_are_resized_and_preprocessed_images_are_not() -> None:
    model = SimilarityModel()
    pixels = [torch.zeros(1, 20, 30, dtype=torch.uint8), torch.zeros(1, 28, 28, dtype=torch.uint8)]
    assert embed_shown(model, pixels, "images").shape == (2, 128)
    with pytest.raises(ValueError, match="Expected queries as uint8, or preprocessed to one size, got 2 shapes"):
        embed_shown(model, [image.float() for image in pixels], "queries")
    with pytest.raises(ValueError, match="got 1 shapes and both dtypes"):
        embed_shown(model, [pixels[1], pixels[1].float()], "queries")


def test_other_models_are_rejected() -> None:
    with pytest.raises(TypeError, match="Expected model to be a SimilarityModel, got Linear"):
        embed_shown(nn.Linear(1, 1), model_images(1), "images")  # type: ignore[arg-type]
