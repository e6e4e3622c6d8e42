"""Evidence from pixels at full size: which picture others were made from, and which was enlarged or made noisy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import Pixels, photograph
from PIL import Image, ImageFilter

from pairsim.audits.duplicates.choice.full_size import enlarged, noise_added, support

PICTURE = photograph(0, 240, 320)


def noisy(pixels: Pixels, strength: float, seed: int) -> Pixels:
    noise = np.random.default_rng(seed).normal(0, strength, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def blurred(pixels: Pixels, radius: float) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def sharpened(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(2, 150, 0)))


def resized(pixels: Pixels, share: float) -> Pixels:
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((round(width * share), round(height * share)), 1))


# --- support ---


def test_support_is_that_of_a_comparison_pair_by_pair() -> None:
    copies = [PICTURE, *(noisy(PICTURE, strength, seed) for seed, strength in enumerate((3, 6, 9, 12)))]
    found = support(copies)
    vectors = [copy.astype(np.float64).ravel() for copy in copies]
    for a, first in enumerate(vectors):
        for b, second in enumerate(vectors):
            if a != b:
                way = first - second
                others = [vectors[j] for j in range(len(vectors)) if j not in (a, b)]
                expected = np.mean([(other - second) @ way / (way @ way) > 0.75 for other in others])
                assert found[a, b] == pytest.approx(expected)
    assert (found[0, 1:] == 1).all()
    assert (found[1:, 0] == 0).all()


def test_parts_of_large_pictures_are_compared() -> None:
    large = np.tile(PICTURE, (3, 3, 1))
    found = support([large, *(noisy(large, 8, seed) for seed in range(3))])
    assert (found[0, 1:] == 1).all()


def test_equal_pictures_and_few_have_no_support() -> None:
    assert support([PICTURE] * 4).tolist() == [[0.0] * 4] * 4
    assert support([PICTURE, noisy(PICTURE, 9, 0), noisy(PICTURE, 9, 1)]).tolist() == [[0.0] * 3] * 3


def test_pictures_that_cannot_be_compared_have_no_support(tmp_path: Path) -> None:
    copies = [PICTURE, *(noisy(PICTURE, 9, seed) for seed in range(3))]
    assert not support([*copies, str(tmp_path / "gone.jpg")]).any()
    assert not support([*copies, PICTURE[1:]]).any()


# --- enlarged ---


@pytest.mark.parametrize("share", [0.5, 0.67, 0.8])
def test_an_enlarged_picture(share: float) -> None:
    small = resized(PICTURE, share)
    large = resized(small, 1 / share)
    assert enlarged(large, small, share)
    assert not enlarged(PICTURE, small, share)


def test_a_small_or_missing_picture_is_not_enlarged(tmp_path: Path) -> None:
    assert not enlarged(PICTURE[:9, :9], PICTURE[:5, :5], 0.5)
    assert not enlarged(str(tmp_path / "gone.png"), PICTURE, 0.5)


# --- noise_added ---


@pytest.mark.parametrize("strength", [6.0, 12.0, 20.0])
def test_noise(strength: float) -> None:
    copy = noisy(PICTURE, strength, 3)
    assert noise_added(copy, PICTURE)
    assert not noise_added(PICTURE, copy)


def test_detail_and_light_are_no_noise() -> None:
    others = [blurred(PICTURE, 2), sharpened(PICTURE), resized(resized(PICTURE, 0.3), 1 / 0.3), PICTURE // 2, PICTURE]
    for other in others:
        assert not noise_added(PICTURE, other)
        assert not noise_added(other, PICTURE)


def test_noise_in_a_part_is_none_that_was_added() -> None:
    copy = PICTURE.copy()
    copy[:80] = noisy(PICTURE, 12, 0)[:80]
    assert not noise_added(copy, PICTURE)


def test_pictures_that_cannot_be_compared_have_no_noise(tmp_path: Path) -> None:
    assert not noise_added(noisy(PICTURE, 12, 0), PICTURE[1:])
    assert not noise_added(noisy(PICTURE, 12, 0)[:20, :20], PICTURE[:20, :20])
    assert not noise_added(str(tmp_path / "gone.png"), PICTURE)
