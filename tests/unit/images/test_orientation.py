"""Pictures with a note that says how they are turned: each is turned once."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.Image import Transpose
from PIL.PngImagePlugin import PngInfo
from sample_files import png, tiff

from pairsim.images import read_image

TURNED: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}
# blocks of 8 x 8, which JPEG keeps
PIXELS = np.kron(np.array([[10, 60, 110], [160, 210, 250]], np.uint8), np.ones((8, 8), np.uint8))
XMP = '<x:xmpmeta><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


def exif(orientation: int) -> Image.Exif:
    note = Image.Exif()
    note[0x0112] = orientation
    return note


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    exact: dict[str, Any] = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}
    Image.fromarray(PIXELS).save(file, kind, **exact.get(kind, {}), **options)
    return file.getvalue()


def png_with_text(key: str, text: str) -> bytes:
    info = PngInfo()
    info.add_itxt(key, text)
    return encoded("PNG", pnginfo=info)


def png_of_image_magick(orientation: int) -> bytes:
    note, info = exif(orientation).tobytes(), PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(note):8}\n{note.hex()}\n")
    return encoded("PNG", pnginfo=info)


FILES: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda o: encoded("JPEG", exif=exif(o)),
    "PNG": lambda o: encoded("PNG", exif=exif(o)),
    "TIFF": lambda o: encoded("TIFF", exif=exif(o)),
    "TIFF, LZW": lambda o: encoded("TIFF", exif=exif(o), compression="tiff_lzw"),
    "WebP": lambda o: encoded("WEBP", exif=exif(o)),
    "JPEG, XMP": lambda o: encoded("JPEG", xmp=XMP.format(o).encode()),
    "PNG, text": png_of_image_magick,
    "PNG, XMP": lambda o: png_with_text("XML:com.adobe.xmp", XMP.format(o)),
    "TIFF, XMP": lambda o: encoded("TIFF", tiffinfo={700: XMP.format(o).encode()}),
    "TIFF, both": lambda o: encoded("TIFF", tiffinfo={700: XMP.format(o).encode(), 274: o}),
    "JPEG, both": lambda o: encoded("JPEG", xmp=XMP.format(o).encode(), exif=exif(o)),
    "WebP, both": lambda o: encoded("WEBP", xmp=XMP.format(o).encode(), exif=exif(o)),
}


def is_turned(image: Any, orientation: int) -> bool:
    found, expected = read_image(image, channels=1)[0].numpy(), TURNED[orientation](PIXELS)
    return found.shape == expected.shape and bool((np.abs(found.astype(int) - expected) <= 1).all())


def transposed_in_place(image: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(image, in_place=True)
    return image


def saved_again(image: Image.Image) -> Image.Image:
    file, upright = io.BytesIO(), ImageOps.exif_transpose(image)
    upright.save(file, "PNG", exif=upright.getexif())
    return Image.open(file)


def read_before(image: Image.Image) -> Image.Image:
    read_image(image)
    return image


IN_MEMORY: dict[str, Callable[[Image.Image], Image.Image]] = {
    "opened": lambda image: image,
    "read before": read_before,
    "copied": lambda image: image.copy(),
    "converted": lambda image: image.convert("RGB"),
    "transposed": ImageOps.exif_transpose,
    "transposed twice": lambda image: ImageOps.exif_transpose(ImageOps.exif_transpose(image)),
    "transposed in place": transposed_in_place,
    "transposed, copied": lambda image: ImageOps.exif_transpose(image).copy(),
    "transposed in place, copied": lambda image: copy.copy(transposed_in_place(image)),
    "transposed, converted": lambda image: ImageOps.exif_transpose(image).convert("RGB"),
    "transposed, pickled": lambda image: pickle.loads(pickle.dumps(ImageOps.exif_transpose(image))),
    "converted, transposed": lambda image: ImageOps.exif_transpose(image.convert("RGB")),
    "transposed, saved": saved_again,
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_turned_once(tmp_path: Path, name: str, orientation: int) -> None:
    content = FILES[name](orientation)
    path = tmp_path / "x"
    path.write_bytes(content)
    assert is_turned(path, orientation)
    for way, made in IN_MEMORY.items():
        assert is_turned(made(Image.open(io.BytesIO(content))), orientation), way


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [0, 1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_samples_of_16_bits_are_turned_too(
    tmp_path: Path, orientation: int, bits: int, photometric: int, order: str
) -> None:
    samples: Any = PIXELS if photometric else 255 - PIXELS
    samples = samples.astype(np.uint16) * 257 if bits == 16 else samples
    samples = np.repeat(samples[..., None], 3, axis=-1) if photometric == 2 else samples
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(samples, bits, photometric, order=order, tags={274: [orientation]}))
    assert is_turned(path, orientation)
    if bits == 16 and photometric:
        note = exif(orientation).tobytes()[6:]
        path.write_bytes(png(samples, 16, 0 if photometric == 1 else 2, {b"eXIf": note}))
        assert is_turned(path, orientation)


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_a_note_that_was_kept_is_followed_as_viewers_do(tmp_path: Path, orientation: int) -> None:
    """Whether a file was turned by a program that kept the note cannot be seen in the file."""
    by_hand = {2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 6: Transpose.ROTATE_270}[orientation]
    with Image.open(io.BytesIO(FILES["PNG"](orientation))) as image:
        note, turned = image.info["exif"], image.transpose(by_hand)
        ImageOps.exif_transpose(image).save(tmp_path / "x.png", exif=note)
    for given in (tmp_path / "x.png", turned):
        found = read_image(given, channels=1)[0].numpy()
        np.testing.assert_array_equal(found, TURNED[orientation](TURNED[orientation](PIXELS)))
