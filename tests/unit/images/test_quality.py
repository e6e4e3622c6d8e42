"""What is measured of a picture, against loops and other formulas, and what counts as poor."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pairsim.data import ImageTensors
from pairsim.images import Fit, Preprocessing
from pairsim.images.quality import (
    MAX_ENLARGEMENT,
    MIN_CONTRAST,
    MIN_LIGHT,
    MIN_SHARPNESS,
    Flaw,
    PictureQuality,
    lightness_range,
    picture_quality,
    read_measured,
    sharpness,
)

AT_64 = Preprocessing(image_size=(64, 64), channels=3)


def scene(size: int = 64) -> Image.Image:
    """Rectangles of all sizes and greys, as edges of a photograph are."""
    generator = np.random.default_rng(3)
    pixels = np.full((size, size), 128, np.uint8)
    for _ in range(150):
        top, left = generator.integers(0, size, 2)
        height, width = generator.integers(1, size // 4, 2)
        pixels[top : top + height, left : left + width] = generator.integers(0, 256)
    return Image.fromarray(pixels)


def loops(pixels: Any) -> float:
    """Sharpness with the averages of five pixels written out, exactly."""
    shares = []
    for lines in (pixels.tolist(), pixels.T.tolist()):
        differences, averaged = [], []
        for line in lines:
            means = [Fraction(sum(line[start : start + 5]), 5) for start in range(len(line) - 4)]
            differences += [(b - a) ** 2 for a, b in itertools.pairwise(line)]
            averaged += [(b - a) ** 2 for a, b in itertools.pairwise(means)]
        shares.append(1 - sum(averaged) / len(averaged) / Fraction(sum(differences), len(differences)))
    return max(float(min(shares)), 0.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 14), st.integers(6, 14), st.integers(0, 2**31))
def test_sharpness_is_what_averages_take_away(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    assert sharpness(pixels) == pytest.approx(loops(pixels), abs=1e-5)
    assert sharpness(pixels.T) == pytest.approx(sharpness(pixels), abs=1e-6)


def test_known_sharpness() -> None:
    slope = np.add.outer(np.arange(20), 2 * np.arange(30)).astype(np.uint8)
    assert sharpness(slope) == pytest.approx(0.0, abs=1e-6)
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    assert sharpness(noise) == pytest.approx(1 - 1 / 25, abs=0.005)
    step = np.repeat(np.arange(40) >= 20, 40).reshape(40, 40).astype(np.uint8) * 200
    # of 39 differences one is 200, of 35 averaged ones five are 40; the other direction is stripes, and left out
    assert sharpness(step) == pytest.approx(1 - (5 * 40**2 / 35) / (200**2 / 39), abs=1e-6)
    assert math.isnan(sharpness(np.full((9, 9), 7, np.uint8)))
    assert math.isnan(sharpness(noise[:5, :5]))
    assert sharpness(noise[:5, :300]) > 0.9


def test_sharpness_does_not_depend_on_contrast() -> None:
    pixels = np.asarray(scene())
    assert sharpness(pixels // 2 + 60) == pytest.approx(sharpness(pixels), abs=0.005)
    assert sharpness(255 - pixels) == pytest.approx(sharpness(pixels), abs=1e-6)


@pytest.mark.parametrize("size", [64, 150, 1000])
def test_more_blur_is_less_sharp_whatever_the_size(size: int) -> None:
    picture = scene(size)
    found = [
        picture_quality(picture.filter(ImageFilter.GaussianBlur(sigma * size / 64)), AT_64).sharpness
        for sigma in (0, 1, 2, 3, 4)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * MIN_SHARPNESS
    assert found[3] < MIN_SHARPNESS


def test_motion_counts_as_blur() -> None:
    pixels = np.asarray(scene(80)).astype(np.float64)
    moved = (
        np.mean([np.roll(pixels, shift, axis=1) for shift in range(14)], axis=0)[:64, 14:78].round().astype(np.uint8)
    )
    assert sharpness(moved) < MIN_SHARPNESS
    assert sharpness(moved.T) == pytest.approx(sharpness(moved))
    still = np.diff(moved.astype(np.float64), axis=0)
    assert (still**2).mean() > 2 * (np.diff(moved.astype(np.float64), axis=1) ** 2).mean()  # along it, edges stay


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**31))
def test_lightness_range_is_of_quantiles(count: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (1, count), dtype=np.uint8)
    ordered = sorted(pixels[0].tolist())
    dark = next(value for value in ordered if sum(other <= value for other in ordered) >= count / 100)
    light = next(value for value in ordered if 100 * sum(other <= value for other in ordered) >= 99 * count)
    assert lightness_range(pixels) == (dark / 255, light / 255)


def test_less_light_is_darker() -> None:
    found = [picture_quality(scene().point(lambda x, by=by: round(x * by)), AT_64) for by in (1.0, 0.5, 0.25, 0.1)]
    assert [one.light for one in found] == sorted((one.light for one in found), reverse=True)
    assert [one.contrast for one in found] == sorted((one.contrast for one in found), reverse=True)
    assert [flaw.kind for one in found for flaw in one.flaws()] == ["too dark"]


@pytest.mark.parametrize(("fit", "factor"), [("stretch", 64 / 10), ("crop", 64 / 10), ("pad", 64 / 40)])
def test_enlargement_is_that_of_the_preprocessing(fit: Fit, factor: float) -> None:
    preprocessing = Preprocessing(image_size=(64, 64), channels=1, fit=fit)
    for size in ((10, 40), (40, 10)):
        assert picture_quality(Image.new("L", size), preprocessing).enlargement == pytest.approx(factor)
    reduced = picture_quality(Image.new("L", (640, 128)), preprocessing)
    assert reduced.enlargement == pytest.approx({"stretch": 0.5, "crop": 0.5, "pad": 0.1}[fit])


def test_flaws_at_their_limits() -> None:
    good = {"enlargement": MAX_ENLARGEMENT, "light": MIN_LIGHT, "contrast": MIN_CONTRAST, "sharpness": MIN_SHARPNESS}
    assert PictureQuality(**good).flaws() == ()
    worse = {"enlargement": 4.01, "light": 0.19, "contrast": 0.09, "sharpness": 0.29}
    kinds = {"enlargement": "too small", "light": "too dark", "contrast": "low contrast", "sharpness": "blurred"}
    for name, value in worse.items():
        (flaw,) = PictureQuality(**{**good, name: value}).flaws()
        assert (flaw.kind, flaw.value, flaw.limit) == (kinds[name], value, good[name])
        assert flaw.to_dict() == {"kind": kinds[name], "value": value, "limit": good[name]}
    # what is dark or flat has the sharpness of noise
    assert [flaw.kind for flaw in PictureQuality(**worse).flaws()] == ["too small", "too dark"]
    assert PictureQuality(**{**good, "sharpness": math.nan}).flaws() == ()


@pytest.mark.parametrize(
    ("flaw", "text"),
    [
        (
            Flaw("too small", 6.4, 4.0),
            "too small: is enlarged 6.4 times for the model, expected at most 4. Take a larger picture.",
        ),
        (
            Flaw("too dark", 0.1234, 0.2),
            "too dark: its lightest pixels have 0.123 of white, expected at least 0.2. Take it with more light.",
        ),
        (
            Flaw("low contrast", 0.05, 0.1),
            "low contrast: lightness spans 0.05 of black to white, expected at least 0.1. Take it with other light, or "
            "a clean lens.",
        ),
        (
            Flaw("blurred", 0.1234, 0.3),
            "blurred: sharpness 0.123, expected at least 0.3. Take it again, in focus and without motion.",
        ),
    ],
)
def test_messages_say_what_to_do(flaw: Flaw, text: str) -> None:
    assert str(flaw) == text


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_read_as_without_measuring(fit: Fit, channels: int, tmp_path: Path) -> None:
    preprocessing = Preprocessing(image_size=(20, 24), channels=channels, fit=fit, interpolation="bicubic", white=255)
    colours = np.random.default_rng(0).integers(0, 256, (40, 31, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    for one in (tmp_path / "a.png", Image.fromarray(colours), colours, torch.from_numpy(colours).permute(2, 0, 1)):
        pixels, quality = read_measured(one, preprocessing)
        assert torch.equal(pixels, preprocessing.read(one))
        assert quality == picture_quality(Image.fromarray(colours), preprocessing)


def test_drawings_are_not_poor(digits: ImageTensors) -> None:
    size = (digits.images.shape[2], digits.images.shape[3])
    preprocessing = Preprocessing(image_size=size, channels=1)
    poor = [bool(read_measured(image, preprocessing)[1].flaws()) for image in digits.images]
    assert sum(poor) <= 1
