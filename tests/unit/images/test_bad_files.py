"""Files that cannot be read: each is named, with what is wrong and what to do."""

from __future__ import annotations

import builtins
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sample_files import tiff

from pairsim.errors import ImageReadError
from pairsim.images import read_image
from pairsim.images.limits import limited_to


def encoded(kind: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    file = io.BytesIO()
    (image.quantize(16) if kind == "GIF" else image).save(file, kind, **options)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of which there is only the beginning, which says how large it is."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def message(path: Path, **options: Any) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_image(path, **options)
    return str(caught.value)


NAME = "odd name é.png"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Expected {} to be an image, but it is empty (0 bytes). Replace or remove it."),
        (
            b"once upon a time",
            "Expected {} to be an image, but its content is not of any known image format. "
            "Convert it to PNG or JPEG, or remove it.",
        ),
        *((text, "Expected {} to be an image, but its content is not of any known") for text in (b"n", b"no", b"<x>")),
        (encoded("PNG")[:3000], "Expected {} to be a readable image, but decoding failed: image file is truncated"),
        (encoded("JPEG")[:1500], "Expected {} to be a readable image, but decoding failed: image file is truncated"),
        (
            encoded("JPEG", progressive=True)[:1500],
            "Expected {} to be a readable image, but decoding failed: image file is truncated",
        ),
        (
            bomb(50_000),
            "Expected {} to have at most 67,108,864 pixels, found far more (Image size (2500000000 pixels)",
        ),
    ],
)
def test_bad_content(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    found = message(path)
    assert found.startswith(said.format(path))
    assert found.endswith(
        (". Replace or remove it.", "or remove it.", "or allow more with --max-pixels or PAIRSIM_MAX_PIXELS.")
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *[(kind, {}) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "AVIF", "JPEG2000", "TGA")],
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_file_that_is_cut_off_is_not_read_in_part(
    tmp_path: Path, kind: str, options: dict[str, Any], share: float
) -> None:
    whole = encoded(kind, **options)
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert str(path) in message(path)


@pytest.mark.slow
def test_nothing_is_printed_nor_warned(tmp_path: Path) -> None:
    """Pillow logs an error for the first file, and warns of the metadata of the second."""
    many, cut = tmp_path / "many.tif", tmp_path / "cut.jpg"
    many.write_bytes(tiff([[1] * 9], 8, 1, tags={277: [300]}))
    cut.write_bytes(encoded("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03"))
    code = "import sys; from pairsim.images import read_image; read_image(sys.argv[1])"
    first, second = (
        subprocess.run([sys.executable, "-W", "error", "-c", code, path], capture_output=True, text=True)
        for path in (many, cut)
    )
    assert "ImageReadError: Expected" in first.stderr
    assert not [line for line in first.stderr.splitlines() if line.startswith("More samples")]
    assert (second.returncode, second.stderr) == (0, "")
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(cut).close()


def test_a_large_picture_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()
    assert read_image(path).shape == (3, 48, 40)


def test_postscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "x.eps"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n")
    said = f"Expected {path} to hold pixels, found a PostScript program. Convert it to PNG."
    assert message(path) == said


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert message(tmp_path / NAME) == f"Expected an image file at {tmp_path / NAME}, found none. Check the path."
    (tmp_path / "file").write_bytes(b"")
    assert "found none. Check the path." in message(tmp_path / "file" / "below.png")
    assert message(tmp_path) == (
        f"Expected an image file at {tmp_path}, found a folder. Give the pictures in it: "
        "pairsim.images.pictures_below lists them."
    )


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(builtins, "open", refuse)  # file modes do not stop root
    assert message(path) == (
        f"Expected to be allowed to read {path}, but permission was denied. Change its permissions."
    )


def test_pixels_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(bomb(5_000))  # decoding it would fail
    said = f"Expected {path} to have at most 24,999,999 pixels, found 5000 x 5000. Resize it first"
    assert message(path, max_pixels=24_999_999) == f"{said}."  # the caller's own limit
    with limited_to(24_999_999):
        assert message(path) == f"{said}, or allow more with --max-pixels or PAIRSIM_MAX_PIXELS."
    with Image.open(path) as image, pytest.raises(ImageReadError, match=r"x\.png to have at most 24,999,999 pixels"):
        read_image(image, max_pixels=24_999_999)
    path.write_bytes(encoded("PNG"))
    assert read_image(path, max_pixels=48 * 40).shape == (3, 48, 40)
    assert "found 40 x 48" in message(path, max_pixels=48 * 40 - 1)


def test_a_picture_that_pillow_has_only_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG")[:3000])
    with Image.open(path) as image, pytest.raises(ImageReadError, match=r"Expected .*x\.png to be a readable image"):
        read_image(image)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_is_damaged_is_read_or_named(tmp_path: Path, kind: str) -> None:
    whole = encoded(kind)
    generator = np.random.default_rng(1)
    path = tmp_path / "damaged"
    messages = []
    for _ in range(60):
        content = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        for index in generator.integers(0, min(len(content), 400), 3):
            content[index] = generator.integers(256)
        path.write_bytes(content)
        try:
            # damaged heads may claim to be huge
            assert read_image(path, image_size=(4, 4), max_pixels=10**6).shape == (3, 4, 4)
        except ImageReadError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert all(str(path) in said for said in messages)
