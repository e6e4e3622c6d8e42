"""Every mode of Pillow's against values computed by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sample_files import tiff

from pairsim.errors import ImageReadError
from pairsim.images import read_image

ORANGE, ORANGE_LUMA = (200, 100, 30), 122  # 0.299 * 200 + 0.587 * 100 + 0.114 * 30 = 121.92


def palette(transparency: int | bytes | None = None) -> Image.Image:
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, *ORANGE])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def palette_with_alpha(alpha: int) -> Image.Image:
    image = palette().convert("PA")
    image.putalpha(alpha)
    return image


def with_info(image: Image.Image, transparency: Any) -> Image.Image:
    image.info["transparency"] = transparency
    return image


def sixteen(mode: str, value: int) -> Image.Image:
    order = ">u2" if mode.endswith("B") else "<u2"
    return Image.frombytes(mode, (3, 2), np.full((2, 3), value, order).tobytes())


WHITE = (255, 255, 255)
MODES: dict[str, tuple[Image.Image, tuple[int, int, int], int]] = {
    "1 black": (Image.new("1", (3, 2), 0), (0, 0, 0), 0),
    "1 white": (Image.new("1", (3, 2), 1), WHITE, 255),
    "L": (Image.new("L", (3, 2), 100), (100,) * 3, 100),
    "L with a transparent grey": (with_info(Image.new("L", (3, 2), 7), 7), WHITE, 255),
    "LA": (Image.new("LA", (3, 2), (0, 51)), (204,) * 3, 204),  # a fifth of black, four of white
    "La": (Image.new("LA", (3, 2), (0, 51)).convert("La"), (204,) * 3, 204),
    "P": (palette(), ORANGE, ORANGE_LUMA),
    "P with a transparent colour": (palette(1), WHITE, 255),
    "P with alpha for each colour": (palette(bytes([255, 0])), WHITE, 255),
    "PA": (palette_with_alpha(255), ORANGE, ORANGE_LUMA),
    "PA clear": (palette_with_alpha(0), WHITE, 255),
    "RGB": (Image.new("RGB", (3, 2), ORANGE), ORANGE, ORANGE_LUMA),
    "RGB with a transparent colour": (with_info(Image.new("RGB", (3, 2), ORANGE), ORANGE), WHITE, 255),
    "RGBX": (Image.new("RGBX", (3, 2), (*ORANGE, 0)), ORANGE, ORANGE_LUMA),
    "RGBA": (Image.new("RGBA", (3, 2), (200, 0, 0, 51)), (244, 204, 204), 216),
    "RGBA clear": (Image.new("RGBA", (3, 2), (9, 9, 9, 0)), WHITE, 255),
    "RGBa": (Image.new("RGBA", (3, 2), (200, 0, 0, 51)).convert("RGBa"), (244, 204, 204), 216),
    "CMYK": (Image.new("CMYK", (3, 2), (0, 255, 255, 0)), (255, 0, 0), 76),
    "YCbCr": (Image.new("YCbCr", (3, 2), (100, 128, 128)), (100,) * 3, 100),
    "HSV": (Image.new("HSV", (3, 2), (0, 255, 255)), (255, 0, 0), 76),
    "LAB white": (Image.new("LAB", (3, 2), (255, 128, 128)), WHITE, 255),
    "LAB grey": (Image.new("LAB", (3, 2), (128, 128, 128)), (119,) * 3, 119),  # L* = 50 is sRGB's 119
    "I": (Image.new("I", (3, 2), 0x7FFF), (0x7F,) * 3, 0x7F),
    **{
        mode: (sixteen(mode, 0x7F80), (0x7F,) * 3, 0x7F)
        for mode in ("I;16", "I;16L", "I;16B")
    },
    "I;16 with a transparent grey": (with_info(sixteen("I;16", 300), 300), WHITE, 255),
}  # fmt: skip


@pytest.mark.parametrize("name", MODES)
def test_modes(name: str) -> None:
    image, colour, grey = MODES[name]
    found = read_image(image, channels=3)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 2, 3))
    allowed = 1 if name.startswith(("LA", "La", "RGBa", "LAB", "YCbCr")) else 0
    assert (found[:, 0, 0].int() - torch.tensor(colour)).abs().max() <= allowed
    assert (found == found[:, :1, :1]).all()
    luma = read_image(image, channels=1)
    assert luma.shape == (1, 2, 3)
    assert (luma.int() - grey).abs().max() <= allowed


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[(mode, ".png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, ".tif") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "LAB", "I;16", "I;16B")],
        *[(mode, ".jpg") for mode in ("L", "RGB", "CMYK")],
    ],
)
def test_modes_of_files(tmp_path: Path, mode: str, suffix: str) -> None:
    if mode.startswith("I;16"):
        image = sixteen(mode, 0xFF01)
    elif mode == "LAB":
        image = Image.new("LAB", (3, 2), (255, 128, 128))
    else:
        image = Image.new("RGB", (3, 2), WHITE).convert(mode)
    path = tmp_path / f"x{suffix}"
    image.save(path)
    for channels in (1, 3):
        assert (read_image(path, channels=channels) >= 254).all()


def encoded(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])  # JPEG holds inverted inks, as Adobe's programs write them
@pytest.mark.parametrize(
    ("inks", "colour"), [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), WHITE)]
)
def test_inks(kind: str, inks: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    options = {"quality": 100} if kind == "JPEG" else {}
    found = read_image(Image.open(encoded(Image.new("CMYK", (16, 16), inks), kind, **options)))
    assert (found[:, 0, 0].int() - torch.tensor(colour)).abs().max() <= 2


def test_lab_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff([[[255, 0, 0], [138, 81, 70]]], 8, 8))  # L, and a and b as signed numbers
    white, red = read_image(tmp_path / "x.tif")[:, 0].T.int()
    assert (white - 255).abs().max() <= 1
    assert (red - torch.tensor([254, 0, 0])).abs().max() <= 8  # sRGB's red is (54.3, 80.8, 69.9) where white is D50


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_colours_of_files(kind: str, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, *ORANGE])
    if kind == "GIF" and isinstance(transparency, bytes):
        transparency = 1
    found = read_image(Image.open(encoded(image, kind, transparency=transparency)))
    assert found[:, 0].T.tolist() == [[0, 0, 0], list(WHITE)]


def test_sixteen_bit_pgm(tmp_path: Path) -> None:
    path = tmp_path / "x.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + bytes([0x7F, 0x80, 0xFF, 0xFF]))
    assert read_image(path, channels=1).tolist() == [[[0x7F, 0xFF]]]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.new("F", (3, 2), 0.5), "found mode F: floating point has no defined white. Convert it to 8-bit RGB."),
        (Image.new("I", (3, 2), 65536), "found mode I: whole numbers from 65536 to 65536 have no defined white."),
        (Image.new("I", (3, 2), -1), "found mode I: whole numbers from -1 to -1 have no defined white."),
    ],
)
def test_what_has_no_scale_is_refused(tmp_path: Path, image: Image.Image, said: str) -> None:
    path = tmp_path / "x.tif"
    image.save(path)
    for given, name in ((path, str(path)), (image, "the picture")):
        with pytest.raises(ImageReadError) as caught:
            read_image(given)
        assert str(caught.value).startswith(f"Expected {name} in grey or colour, {said}")


def test_a_picture_given_is_left_as_it_was() -> None:
    image = Image.new("RGBA", (3, 2), (1, 2, 3, 4))
    before = image.tobytes()
    read_image(image, channels=1)
    assert (image.mode, image.tobytes()) == ("RGBA", before)
