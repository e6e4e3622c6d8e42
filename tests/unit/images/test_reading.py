from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim.errors import ImageReadError
from pairsim.images import read_image


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def grey(value: int = 100) -> Image.Image:
    return Image.fromarray(np.full((4, 6), value, np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "CMYK", "1", "LA", "RGBA"])
def test_modes(tmp_path: Path, mode: str) -> None:
    image = grey(255).convert(mode)
    path = save(tmp_path / ("x.tif" if mode == "CMYK" else "x.png"), image)
    for channels in (1, 3):
        pixels = read_image(path, channels=channels)
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (channels, 4, 6)
        assert bool((pixels >= 254).all())


def test_transparent_parts_are_white() -> None:
    clear = Image.new("RGBA", (3, 3), (0, 0, 0, 0))
    assert bool((read_image(clear, channels=1) == 255).all())
    half = Image.new("LA", (3, 3), (0, 128))
    assert 125 <= int(read_image(half, channels=1)[0, 0, 0]) <= 129


def test_sixteen_bit_keeps_the_high_byte(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.fromarray(np.full((4, 4), 0x7F10, np.uint16)))
    assert bool((read_image(path, channels=1) == 0x7F).all())


def test_rotation_of_the_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    path = save(tmp_path / "x.jpg", Image.new("L", (6, 4)), exif=exif)
    assert read_image(path, channels=1).shape == (1, 6, 4)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    path = save(tmp_path / "x.gif", grey(30), save_all=True, append_images=[grey(200)])
    assert abs(int(read_image(path, channels=1)[0, 0, 0]) - 30) <= 2


@pytest.mark.parametrize(
    "image", [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 1), np.uint8)]
)
def test_arrays(image: Any) -> None:
    assert read_image(image, channels=3, image_size=(8, 9)).shape == (3, 8, 9)


def test_tensor_and_array_are_the_same_picture() -> None:
    pixels = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    assert torch.equal(read_image(pixels, channels=3), pixels)
    assert torch.equal(read_image(pixels.permute(1, 2, 0).numpy(), channels=3), pixels)
    assert torch.equal(read_image(pixels[0], channels=1), pixels[:1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Expected an image file at .*x.png, found none"),
        (b"", "is not of any known image format"),
        (b"once upon a time", "Convert it to PNG or JPEG"),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageReadError, match=said):
        read_image(path)


def test_truncated_picture_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageReadError, match=r"x.png to be a readable image, but decoding failed"):
        read_image(path)


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png", grey())
    monkeypatch.setattr("pairsim.images.reading.MAX_PIXELS", 20)
    with pytest.raises(ImageReadError, match=r"at most 20 pixels, found 6 x 4"):
        read_image(path)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match=r"Expected an image as a path, PIL image.*got int"):
        read_image(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got float64 \[4, 4\]"):
        read_image(np.zeros((4, 4)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Expected channels to be 1 \(grey\) or 3 \(colour\), got 4"):
        read_image(grey(), channels=4)
