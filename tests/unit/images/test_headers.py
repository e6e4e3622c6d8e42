"""What a header says is checked before anything is decoded; most files here have nothing but the header."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_files import png, tiff, written

from pairsim.errors import ImageReadError
from pairsim.images import read_image
from pairsim.images.plug_ins import register_plug_ins


def encoded(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: object) -> bytes:
    register_plug_ins()
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    file = io.BytesIO()
    Image.new(mode, size, "white").save(file, kind, **options)
    return file.getvalue()


def claim(side: int, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG whose pixels are missing."""
    head = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    )


def icon(content: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def apple_icon(content: bytes) -> bytes:
    return b"icns" + struct.pack(">I", 16 + len(content)) + b"ic09" + struct.pack(">I", 8 + len(content)) + content


def said_of(tmp_path: Path, content: bytes, max_pixels: int | None = None) -> str:
    path = written(tmp_path / "x", content)
    with pytest.raises(ImageReadError) as caught:
        read_image(path, max_pixels=max_pixels)
    assert str(caught.value).startswith(f"Expected {path} to ")
    return str(caught.value)


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "HEIF", "BMP", "TGA", "PPM", "JPEG2000", "DDS", "SGI"]
)
def test_every_format_is_judged_by_its_header(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(kind)
    assert read_image(written(tmp_path / "x", content), max_pixels=64 * 48).shape == (3, 48, 64)
    monkeypatch.setattr("pairsim.images.reading._upright", lambda _: pytest.fail("it was decoded"))
    assert "at most 3,071 pixels, found 64 x 48. Resize it" in said_of(tmp_path, content, 64 * 48 - 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (claim(8193), "at most 67,108,864 pixels, found 8193 x 8193. Resize it first"),
        (claim(5793, 16), "found 5793 x 5793 of 16-bit colour, which counts twice. Resize it first"),
        (icon(claim(8193)), "found 8193 x 8193 in an icon. Resize it first"),
        (apple_icon(claim(8193)), "found 8193 x 8193 in an icon. Resize it first"),
        (
            tiff([[1] * 9], 8, 1, tags={322: [30000], 323: [30000]}),
            "at most 67,108,864 pixels, found 30000 x 30000 in a tile",
        ),
    ],
)
def test_pictures_that_ask_for_too_much(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in said_of(tmp_path, content)


def test_what_is_not_too_much(tmp_path: Path) -> None:
    samples = np.full((6, 6, 3), 40000)
    assert read_image(written(tmp_path / "x", png(samples, 16, 2)), max_pixels=72).shape == (3, 6, 6)
    assert "counts twice" in said_of(tmp_path, png(samples, 16, 2), 71)
    assert read_image(written(tmp_path / "x", png(samples[..., 0], 16, 0)), max_pixels=36).shape == (3, 6, 6)
    assert read_image(written(tmp_path / "x", icon(png(samples[..., :3] // 256, 8, 2)))).shape[1:] == (6, 6)


def test_frames_of_an_animation_do_not_count(tmp_path: Path) -> None:
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        frames = [Image.new("L", (8, 8), level) for level in range(0, 200, 2)]
        content = encoded(kind, (8, 8), "L", save_all=True, append_images=frames)
        assert read_image(written(tmp_path / "x", content), max_pixels=64).shape == (3, 8, 8)


def test_passes_of_a_progressive_jpeg_are_limited(tmp_path: Path) -> None:
    content = encoded("JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    many = content[:scan] + content[scan:-2] * 200 + content[-2:]
    assert "decoded in at most 32 passes over 3,072 pixels, found 2" in said_of(tmp_path, many, 64 * 48)
    assert read_image(written(tmp_path / "x", content), max_pixels=64 * 48).shape == (3, 48, 64)
    assert read_image(written(tmp_path / "x", many)).shape == (3, 48, 64)  # it is small
