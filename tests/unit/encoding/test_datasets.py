"""Datasets are embedded as `encode` embeds their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from pairsim import SimilarityModel, encode_dataset
from pairsim.data import ImageTensors
from pairsim.data.image_sets import ImageFiles
from pairsim.errors import ImageReadError


def test_in_memory(model: SimilarityModel, digits: ImageTensors) -> None:
    model.train()
    expected = model.encode(digits.images)
    settings: dict[str, Any]
    for settings in ({}, {"batch_size": 7}, {"progress": False}, {"workers": 2}):
        found = encode_dataset(model, digits, **settings)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert not found.requires_grad
        assert not found.is_inference()
    assert model.training
    indices = np.array([5, 3, 99, 3])
    torch.testing.assert_close(encode_dataset(model, digits, indices=indices), expected[indices], rtol=0, atol=1e-6)


def test_files(model: SimilarityModel, digits: ImageTensors, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for path, image in zip(paths, digits.images, strict=False):
        Image.fromarray(image[0].numpy()).save(path)
    files = ImageFiles(paths, range(10), channels=1)
    expected = model.encode(digits.images[:10])
    for workers in (0, 2):
        found = encode_dataset(model, files, batch_size=3, workers=workers)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    paths[4].unlink()
    with pytest.raises(ImageReadError, match=r"4\.png, found none"):
        encode_dataset(model, files, workers=0)


def test_preprocessed_images_and_precisions(model: SimilarityModel, digits: ImageTensors) -> None:
    exact = encode_dataset(model, digits)
    preprocessed = TensorDataset(model.preprocessing(digits.images), torch.zeros(120, dtype=torch.int64))
    torch.testing.assert_close(encode_dataset(model, preprocessed), exact, rtol=0, atol=1e-6)
    found: Any = encode_dataset(model, digits, precision="bf16")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found @ found.T, exact @ exact.T, rtol=0, atol=0.02)
    assert not torch.equal(found, exact)


def test_bad_arguments(model: SimilarityModel, digits: ImageTensors) -> None:
    with pytest.raises(ValueError, match="Expected images to embed, found none"):
        encode_dataset(model, digits, indices=np.arange(0))
    with pytest.raises(ValueError, match="Expected precision to be one of auto, fp32, bf16, fp16, got 'int8'"):
        encode_dataset(model, digits, precision="int8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected images with 1 channel"):
        encode_dataset(model, ImageTensors(torch.zeros(2, 2, 8, 8, dtype=torch.uint8), [0, 1]))
