"""Borders are trimmed to the pixel, digests are of pixels and shape, and detail is that of brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph, photograph_tensor
from PIL import Image

from pairsim.audits.duplicates.matching.fingerprints import CANVAS, GREY_SIDE, Fingerprint, fingerprint

HEIGHT, WIDTH = 100, 140


def of(pixels: object) -> Fingerprint:
    return fingerprint(torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous())


def framed(top: int, left: int, bottom: int, right: int, colour: int = 255) -> Fingerprint:
    """Put a border around a picture, so that the whole is 100 x 140."""
    inner = photograph(1, HEIGHT - top - bottom, WIDTH - left - right)
    return of(np.pad(inner, ((top, bottom), (left, right), (0, 0)), constant_values=colour))


@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize(
    "border", [(10, 10, 10, 10), (20, 0, 20, 0), (0, 15, 0, 25), (0, 0, 12, 0), (5, 0, 0, 0), (3, 6, 9, 12)]
)
def test_a_border_of_one_colour_is_outside(border: tuple[int, int, int, int], colour: int) -> None:
    top, left, bottom, right = border
    # the line beside a border mixes both, so one more is left out
    exact = [side + (side > 0) for side in border]
    expected = (exact[0] / HEIGHT, exact[1] / WIDTH, 1 - exact[2] / HEIGHT, 1 - exact[3] / WIDTH)
    assert framed(top, left, bottom, right, colour).content == pytest.approx(expected, abs=1e-9)


def test_a_border_that_was_compressed_or_is_noisy() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH, 3))
    pixels = np.pad(photograph(2, 80, 120), ((10, 10), (10, 10), (0, 0)), constant_values=235)
    noisy = of((pixels + noise).clip(0, 255).astype(np.uint8))
    assert noisy.content == pytest.approx((0.11, 11 / 140, 0.89, 129 / 140))


def test_pictures_without_a_border() -> None:
    assert of(photograph(3, HEIGHT, WIDTH)).content == (0, 0, 1, 1)
    for value in (0, 90, 255):
        assert of(np.full((HEIGHT, WIDTH, 3), value, np.uint8)).content == (0, 0, 1, 1)
    ramp = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8)[None, :, None], (HEIGHT, WIDTH, 3))
    assert of(ramp).content[::2] == (0, 1)  # lines differ along the ramp: its rows are no border


def test_what_is_mostly_border_stays_whole() -> None:
    assert framed(35, 45, 35, 45).content == (0, 0, 1, 1)
    assert framed(20, 30, 20, 30).content != (0, 0, 1, 1)


def test_copies_show_what_is_inside_the_border() -> None:
    bordered, plain = framed(10, 10, 10, 10, 0), of(photograph(1, HEIGHT - 20, WIDTH - 20)[1:-1, 1:-1])
    assert (bordered.size, plain.size) == ((100, 140), (78, 118))
    for name in ("grey", "canvas", "chroma"):
        one, other = (getattr(picture, name).astype(float) for picture in (bordered, plain))
        assert np.abs(one - other).mean() < 1.0, name


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (1000, 700), (64, 96)])
def test_sizes_of_the_copies(size: tuple[int, int]) -> None:
    found = of(photograph(4, *size))
    longest = max(size)
    for name, side in (("grey", GREY_SIDE), ("canvas", CANVAS)):
        expected = tuple(round(one * min(1.0, side / longest)) for one in size)
        assert getattr(found, name).shape == pytest.approx(expected, abs=1), name
    assert (found.size, found.chroma.shape) == (size, (2, 16, 16))


def test_values_of_the_copies() -> None:
    pixels = photograph(5, 32, 48)
    luma = pixels.astype(float) @ (0.299, 0.587, 0.114)
    found = of(pixels)
    assert np.abs(found.grey - luma).max() <= 1.0  # small enough to stay as it is
    assert np.array_equal(found.canvas, found.grey)
    blue = 128 + (pixels[:, :, 2] - luma) / 1.772
    red = 128 + (pixels[:, :, 0] - luma) / 1.402
    averaged = [np.asarray(Image.fromarray(one).resize((16, 16), Image.Resampling.BILINEAR)) for one in (blue, red)]
    assert np.abs(found.chroma - np.stack(averaged)).max() < 2.0
    assert (of(np.repeat(pixels[:, :, :1], 3, axis=2)).chroma == 128).all()


def test_digests_are_of_pixels_and_shape() -> None:
    image = photograph_tensor(6, 40, 60)
    changed = image.clone()
    changed[2, 39, 59] ^= 1
    assert fingerprint(image).digest == fingerprint(image.clone()).digest
    assert fingerprint(image).digest == fingerprint(image.permute(1, 2, 0).contiguous().permute(2, 0, 1)).digest
    assert fingerprint(image).digest != fingerprint(changed).digest
    plain = [torch.zeros(3, *size, dtype=torch.uint8) for size in ((4, 6), (6, 4), (3, 8), (2, 12))]
    assert len({fingerprint(one).digest for one in plain}) == 4


def by_brute_force(pixels: Pixels) -> tuple[float, float]:
    """Mean absolute Laplacian of the middle 128 x 128, and what a fifth of its 8 x 8 blocks is below."""
    height, width = pixels.shape[:2]
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
    top, left = max(0, height - 130) // 2, max(0, width - 130) // 2
    grey = grey[top : top + 130, left : left + 130]
    means = []
    for row in range(1, grey.shape[0] - 8, 8):
        for column in range(1, grey.shape[1] - 8, 8):
            total = 0.0
            for y in range(row, row + 8):
                for x in range(column, column + 8):
                    around = grey[y - 1, x] + grey[y + 1, x] + grey[y, x - 1] + grey[y, x + 1]
                    total += abs(4 * grey[y, x] - around)
            means.append(total / 64)
    return float(np.mean(means)), float(np.quantile(means, 0.2))


@pytest.mark.parametrize("size", [(130, 130), (200, 151), (10, 10), (40, 300), (31, 57)])
def test_detail_and_noise_are_those_of_brute_force(size: tuple[int, int]) -> None:
    pixels = photograph(7, *size)
    found = of(pixels)
    assert (found.detail, found.noise) == pytest.approx(by_brute_force(pixels), rel=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 2), (9, 30), (1, 5000), (3, 2000)])
def test_tiny_and_narrow_pictures(size: tuple[int, int]) -> None:
    found = of(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    assert found.size == size
    assert min(found.grey.shape) >= 1
    assert max(found.grey.shape) <= GREY_SIDE
    assert max(found.canvas.shape) <= CANVAS
    assert found.content[2] > found.content[0]
    assert found.content[3] > found.content[1]
    assert (found.detail, found.noise) == (0.0, 0.0)
