"""Pictures of one shape made to fit another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pairsim.images import Fit, Preprocessing, read_image


def noise(height: int, width: int, channels: int = 1) -> Any:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_stretch_is_pillows_resize() -> None:
    pixels = noise(31, 17, 3)
    for name, method in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        expected = np.asarray(Image.fromarray(pixels).resize((9, 12), method))
        found = read_image(pixels, image_size=(12, 9), interpolation=name)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_crop_keeps_the_middle() -> None:
    pixels = noise(4, 10)
    assert read_image(pixels, channels=1, image_size=(4, 4), fit="crop")[0].tolist() == pixels[:, 3:7].tolist()
    assert read_image(pixels.T, channels=1, image_size=(4, 4), fit="crop")[0].tolist() == pixels.T[3:7].tolist()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crop_is_torchvisions_away_from_the_edge(interpolation: Any) -> None:
    from torchvision.transforms import v2

    image = Image.fromarray(noise(40, 60, 3))
    resize = v2.Resize(20, interpolation=v2.InterpolationMode(interpolation), antialias=True)
    expected = v2.Compose([resize, v2.CenterCrop(20), v2.PILToTensor()])(image)
    found = read_image(image, image_size=(20, 20), fit="crop", interpolation=interpolation)
    assert (found[:, :, 2:-2].int() - expected[:, :, 2:-2].int()).abs().max() <= 1


def test_pad_keeps_the_whole_picture_on_white() -> None:
    pixels = noise(4, 8)
    found = read_image(pixels, channels=1, image_size=(8, 8), fit="pad")[0]
    assert found[2:6].tolist() == pixels.tolist()
    assert (found[[0, 1, 6, 7]] == 255).all()
    half = read_image(noise(8, 16, 3), image_size=(8, 8), fit="pad")
    assert torch.equal(half[:, 2:6], read_image(noise(8, 16, 3), image_size=(4, 8)))
    assert (half[:, [0, 1, 6, 7]] == 255).all()


def test_a_cut_out_has_no_edge_on_the_padding() -> None:
    assert (read_image(Image.new("RGBA", (5, 20), (0, 0, 0, 0)), image_size=(9, 9), fit="pad") == 255).all()


SIZES = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, SIZES, SIZES, st.sampled_from(["stretch", "crop", "pad"]), st.sampled_from([1, 3]))
def test_any_size_becomes_any_other(a: int, b: int, height: int, width: int, fit: Fit, channels: int) -> None:
    pixels = np.full((a, b), 90, np.uint8)
    found = read_image(pixels, channels=channels, image_size=(height, width), fit=fit)
    assert found.shape == (channels, height, width)
    assert set(found.unique().tolist()) <= ({90, 255} if fit == "pad" else {90})
    assert (found == 90).any()
    same = read_image(pixels, channels=channels, image_size=(a, b), fit=fit)
    assert (same == 90).all()


def test_very_long_pictures() -> None:
    for fit in ("stretch", "crop", "pad"):
        assert read_image(noise(1, 3000), channels=1, image_size=(8, 8), fit=fit).shape == (1, 8, 8)


def test_preprocessing_reads_so() -> None:
    for fit in ("stretch", "crop", "pad"):
        for interpolation in ("bilinear", "bicubic"):
            preprocessing = Preprocessing(
                image_size=(6, 7),
                channels=3,
                fit=fit,
                interpolation=interpolation,
            )
            expected = read_image(noise(30, 20), image_size=(6, 7), fit=fit, interpolation=interpolation)
            assert torch.equal(preprocessing.read(noise(30, 20)), expected)
            assert Preprocessing.from_dict(preprocessing.to_dict()) == preprocessing


def test_there_are_no_others() -> None:
    with pytest.raises(ValueError, match="Expected fit to be one of stretch, crop, pad, got 'squash'"):
        read_image(noise(2, 2), fit="squash")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected interpolation to be one of bilinear, bicubic, got 'nearest'"):
        Preprocessing(image_size=(2, 2), channels=1, interpolation="nearest")  # type: ignore[arg-type]
