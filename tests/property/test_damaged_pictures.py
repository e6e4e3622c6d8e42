"""Whatever a picture file holds, it is read or named; nothing else escapes, and reading ends."""

from __future__ import annotations

import functools
import io
import os
import signal
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_files import png, tiff

from pairsim.errors import ImageReadError
from pairsim.images import read_image
from pairsim.images.plug_ins import register_plug_ins

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "I;16B", "F")
NUMBERS = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
MAX_PIXELS = 10**5
LIMIT_S = 60
"""Many times what any file here needs: a reader that hangs is stopped."""


def noise(mode: str) -> Image.Image:
    if mode in ("I;16", "I;16B"):
        return Image.frombytes(mode, (20, 24), np.random.default_rng(0).bytes(2 * 20 * 24))
    colours = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image = Image.fromarray(colours).convert("RGBA" if mode == "PA" else "RGB")
    if mode == "LAB":
        return Image.frombytes(mode, image.size, image.tobytes())
    return image.convert("P").convert("PA") if mode == "PA" else image.convert(mode)


@functools.cache
def whole_files() -> dict[str, bytes]:
    """A file of each format and mode that Pillow can write and open, and some that it cannot write."""
    register_plug_ins()
    Image.init()
    note = Image.Exif()
    note[0x0112], note[0x010F] = 6, "a camera"
    found = {}
    ways: list[tuple[str, dict[str, Any]]]
    ways = [("", {}), (" exif", {"exif": note}), (" frames", {"save_all": True})]
    for kind in sorted(set(Image.SAVE) & set(Image.OPEN)):
        for mode in MODES:
            for name, options in ways:
                file = io.BytesIO()
                image = noise(mode)
                if name == " frames":
                    if kind not in Image.SAVE_ALL:
                        continue
                    options["append_images"] = [image.transpose(Image.Transpose.ROTATE_180)]
                with suppress(Exception):  # not every format has every mode
                    image.save(file, kind, **options)
                    found[f"{kind} {mode}{name}"] = file.getvalue()
    samples = np.random.default_rng(0).integers(0, 2**12, (24, 20, 3))
    for bits in (1, 2, 4, 8, 12, 16, 32):
        for photometric in (0, 1):
            found[f"TIFF {bits} {photometric}"] = tiff(samples[..., 0] % 2**bits, bits, photometric)
    for order in "<>":
        for planes in (False, True):
            found[f"TIFF colour {order} {planes}"] = tiff(samples, 16, 2, order=order, planes=planes)
    for colour, channels in ((0, 1), (2, 3), (4, 2)):
        clear = samples[0, 0].astype(">u2").tobytes()
        found[f"PNG 16 {colour}"] = png(samples[..., :channels], 16, colour, {b"tRNS": clear})
    return found


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file with some bytes, numbers or parts changed, most of them near its beginning; or none; or noise."""
    files = whole_files()
    content = bytearray(files[draw(st.sampled_from(sorted(files)))])
    for _ in range(draw(st.integers(0, 4))):
        end = len(content) if draw(st.booleans()) else min(len(content), 200)
        at = draw(st.integers(0, end))
        match draw(st.sampled_from(["byte", "number", "cut", "drop", "repeat", "noise"])):
            case "byte":
                content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                number = draw(st.sampled_from(NUMBERS))
                content[at : at + 4] = struct.pack(draw(st.sampled_from("<>")) + "I", number)
            case "cut":
                del content[at:]
            case "drop":
                del content[at : at + draw(st.integers(1, 40))]
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 40))]
            case "noise":
                content[at : at + 40] = draw(st.binary(max_size=40))
    return bytes(content)


@contextmanager
def ends(within_s: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        os.abort()  # an exception would be taken for one of the decoder's

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(within_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def is_read(path: Path, white: int | None = None) -> bool:
    """Read a file; return whether that was possible. Nothing but an error with one line and our own warning comes."""
    said, found = f"{path}", None
    with ends(LIMIT_S), warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            found = read_image(path, image_size=(4, 4), max_pixels=MAX_PIXELS, white=white)
        except ImageReadError as error:
            said = str(error)
    assert all("16-bit samples" in str(one.message) for one in noted)
    assert str(path) in said
    assert "\n" not in said
    assert found is None or found.shape == (3, 4, 4)
    with warnings.catch_warnings(), suppress(ImageReadError), ends(LIMIT_S):
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path)
        except Exception:  # Pillow's own, before our reader is called
            return found is not None
        with image:
            assert read_image(image, image_size=(4, 4), max_pixels=MAX_PIXELS, white=white).shape == (3, 4, 4)
    return found is not None


@pytest.mark.slow
def test_whole_files_are_read(tmp_path: Path) -> None:
    path, unread = tmp_path / "whole", set()
    for name, content in whole_files().items():
        path.write_bytes(content)
        if not is_read(path):
            unread.add(name)
    assert len(whole_files()) > 300
    others = {tuple(name.split()[:2]) for name in unread if not name.startswith(("EPS", "ICNS", "SPIDER"))}
    # files do not state the white of 32 bits, nor of floating point; Pillow before 13 does not read the last
    assert others <= {
        ("PPM", "F"),
        ("IM", "F"),
        ("TIFF", "F"),
        ("TIFF", "I"),
        ("TIFF", "32"),
        ("IM", "I"),
        ("TIFF", "YCbCr"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("white", [None, 4095])
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=damaged() | st.binary(max_size=300))
def test_a_damaged_file_is_read_or_named(
    tmp_path_factory: pytest.TempPathFactory, white: int | None, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    is_read(path, white)
