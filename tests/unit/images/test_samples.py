"""Samples of more than 8 bits, and files in which Pillow gives samples another meaning than a viewer."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sample_files import pixels, png, tiff, written

from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing, read_image
from pairsim.images.samples import scaled

Samples = npt.NDArray[np.uint16]


def test_the_highest_bits_are_kept() -> None:
    for bits in range(8, 17):
        values = np.arange(2**bits)
        assert (scaled(values, 2**bits - 1) == values >> (bits - 8)).all()
    assert scaled(np.array([-5, 0, 50, 100, 900]), 100).tolist() == [0, 0, 128, 255, 255]
    assert scaled(np.array([0, 1, 2]), 1).tolist() == [0, 255, 255]


def fits(bits: int) -> bytes:
    cards = {"SIMPLE": "T", "BITPIX": str(bits), "NAXIS": "2", "NAXIS1": "2", "NAXIS2": "1"}
    head = "".join(f"{name:8}= {value:>20}".ljust(80) for name, value in cards.items()) + "END".ljust(80)
    return head.ljust(2880).encode() + bytes([7] * 2880)


def test_fits_is_named(tmp_path: Path) -> None:
    assert pixels(written(tmp_path / "x.fits", fits(8))) == [[7, 7]]
    path = written(tmp_path / "x.fits", fits(16))
    with pytest.raises(ImageReadError, match=r"Expected .*x\.fits with samples from black to white, found FITS"):
        read_image(path, white=4095)


# 12-bit samples in files of 16 bits


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_alpha(samples: Samples) -> Samples:
    return np.concatenate([samples, np.full_like(samples[..., :1], 65535)], axis=-1)


def jpeg_2000(samples: Samples, bits: int = 16) -> bytes:
    """Encode grey samples; with fewer bits, the file states this precision."""
    top = 2**15 - 2 ** (bits - 1)  # the encoder subtracts half the range, the decoder adds it
    content = encoded(Image.fromarray(samples + np.uint16(top)), "JPEG2000")
    at = content.index(b"\xff\x4f\xff\x51") + 42
    assert content[at] == 15
    return content[:at] + bytes([bits - 1]) + content[at + 1 :]


def netpbm(samples: Samples, largest: int = 65535) -> bytes:
    kind = "P6" if samples.ndim == 3 else "P5"
    return f"{kind} {samples.shape[1]} {samples.shape[0]} {largest}\n".encode() + samples.astype(">u2").tobytes()


def plain_netpbm(samples: Samples, largest: int = 65535) -> bytes:
    head = f"P2 {samples.shape[1]} {samples.shape[0]} {largest}\n"
    return (head + " ".join(map(str, samples.ravel().tolist()))).encode()


GREY: dict[str, Callable[[Samples], bytes]] = {
    "PNG": lambda a: png(a, 16, 0),
    "PNG with alpha": lambda a: png(with_alpha(a[..., None]), 16, 4),
    "TIFF": lambda a: tiff(a, 16, 1),
    "TIFF, big endian": lambda a: tiff(a, 16, 1, order=">"),
    "TIFF, LZW": lambda a: encoded(Image.fromarray(a), "TIFF", compression="tiff_lzw"),
    "PGM": netpbm,
    "plain PGM": plain_netpbm,
    "JPEG 2000": jpeg_2000,
}
COLOUR: dict[str, Callable[[Samples], bytes]] = {
    "PNG": lambda a: png(a, 16, 2),
    "PNG with alpha": lambda a: png(with_alpha(a), 16, 6),
    "TIFF": lambda a: tiff(a, 16, 2),
    "TIFF, big endian": lambda a: tiff(a, 16, 2, order=">"),
    "TIFF, planes": lambda a: tiff(a, 16, 2, planes=True),
    "TIFF, planes, big endian": lambda a: tiff(a, 16, 2, planes=True, order=">"),
    "TIFF, planes, with alpha": lambda a: tiff(with_alpha(a), 16, 2, tags={338: [2]}, planes=True),
    "TIFF with alpha": lambda a: tiff(with_alpha(a), 16, 2, tags={338: [2]}),
    "PPM": netpbm,
}
FILES = [*(("grey", name) for name in GREY), *(("colour", name) for name in COLOUR)]


def twelve_bits(colours: str, largest: int = 4095) -> Samples:
    shape = (6, 5) if colours == "grey" else (6, 5, 3)
    values = np.random.default_rng(0).integers(0, largest, shape, dtype=np.uint16, endpoint=True)
    values.flat[0] = largest
    return values


@pytest.mark.parametrize(("colours", "name"), FILES)
def test_unused_bits_are_noted_and_white_uses_them(tmp_path: Path, colours: str, name: str) -> None:
    values = twelve_bits(colours)
    path = written(tmp_path / "x", (GREY if colours == "grey" else COLOUR)[name](values))
    channels = 1 if colours == "grey" else 3
    with pytest.warns(UserWarning, match=f"samples of {path} to be up to 65535, found none above 4095") as caught:
        dark = read_image(path, channels=channels)
    assert "If its white is 4095, it is read much too dark: give white=4095 to read_image" in str(caught[0].message)
    assert dark.max() <= 16
    assert pixels(path, channels, white=4095) == (values >> 4).tolist()
    assert pixels(path, channels, white=65535) == (values >> 8).tolist()
    with Image.open(path) as image:
        assert pixels(image, channels, white=4095) == (values >> 4).tolist()
        image.load()  # it was left as it was


@pytest.mark.parametrize(("colours", "name"), FILES)
def test_samples_that_use_their_bits_are_not_noted(tmp_path: Path, colours: str, name: str) -> None:
    values = twelve_bits(colours, 65535)
    path = written(tmp_path / "x", (GREY if colours == "grey" else COLOUR)[name](values))
    found = np.array(pixels(path, 1 if colours == "grey" else 3))
    assert np.abs(found - (values >> 8)).max() <= (1 if name == "PPM" else 0)


def test_colour_of_jpeg_2000_has_8_bits(tmp_path: Path) -> None:
    content = encoded(Image.new("RGB", (8, 8), (15, 7, 0)), "JPEG2000")
    assert pixels(written(tmp_path / "x.jp2", content), 3)[0][0] == [15, 7, 0]  # not noted
    at = content.index(b"\xff\x4f\xff\x51") + 42  # precision of the three channels, three bytes apart
    deep = content[:at] + b"\x0f" + content[at + 1 : at + 3] + b"\x0f" + content[at + 4 : at + 6] + b"\x0f"
    path = written(tmp_path / "x.jp2", deep + content[at + 7 :])
    assert pixels(path, 3)[0][0] == [128, 128, 128]  # the decoder adds half the range, and Pillow rounds
    assert pixels(path, 3, white=40_000)[0][0] == [210, 210, 210]


STATING: dict[str, Callable[[Samples, int], bytes]] = {
    "PGM": lambda a, bits: netpbm(a, 2**bits - 1),
    "PPM": lambda a, bits: netpbm(np.repeat(a[..., None], 3, axis=-1), 2**bits - 1),
    "plain PGM": lambda a, bits: plain_netpbm(a, 2**bits - 1),
    "JPEG 2000": jpeg_2000,
    "TIFF": lambda a, bits: tiff(a, bits, 1),
}


@pytest.mark.parametrize(
    ("name", "bits"), [(name, bits) for name in STATING for bits in (10, 12, 14) if name != "TIFF" or bits == 12]
)
def test_a_file_that_states_its_white(tmp_path: Path, name: str, bits: int) -> None:
    values = twelve_bits("grey", 2**bits - 1) // 8  # a dark picture that is meant to be dark
    path = written(tmp_path / "x", STATING[name](values, bits))
    for white in (None, 4095):
        found = np.array(pixels(path, white=white))
        assert np.abs(found - (values >> (bits - 8))).max() <= 1
    if bits == 12:
        with Image.open(path) as image:
            assert pixels(image) == found.tolist()


# The note


@pytest.mark.parametrize(
    ("largest", "hint"), [(1, 1023), (1023, 1023), (1024, 4095), (4095, 4095), (4096, 16383), (16383, 16383)]
)
def test_where_the_note_begins(largest: int, hint: int) -> None:
    with pytest.warns(UserWarning, match=f"of the picture to be up .* above {largest}. If its white is {hint}, "):
        read_image(Image.fromarray(np.array([[0, largest]], np.uint16)))


@pytest.mark.parametrize("largest", [0, 16384, 65535])
def test_where_it_ends(largest: int) -> None:
    assert pixels(Image.fromarray(np.array([[0, largest]], np.uint16))) == [[0, largest >> 8]]


@pytest.mark.parametrize(
    "content", [png([[0, 4095]], 16, 0, {b"sBIT": bytes([12])}), tiff([[0, 4095]], 16, 1, tags={281: [4095]})]
)
def test_statistics_in_a_file_are_not_its_white(tmp_path: Path, content: bytes) -> None:
    """PNG holds samples that were scaled up; MaxSampleValue "is not to be used to affect the visual appearance"."""
    with pytest.warns(UserWarning, match="none above 4095"):
        assert pixels(written(tmp_path / "x", content)) == [[0, 15]]


def test_it_is_said_once_in_all_threads(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{k}.png", png([[0, 4095]], 16, 0)) for k in range(300)]
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as threads:
            warnings.simplefilter("always")
            list(threads.map(read_image, paths))
        assert len(caught) == 1
        assert any(str(path) in str(caught[0].message) for path in paths)


def test_it_can_be_an_error(tmp_path: Path) -> None:
    for _ in range(2):  # warnings are errors in this test
        with pytest.raises(UserWarning, match="found none above 4095"):
            read_image(written(tmp_path / "x.png", png([[0, 4095]], 16, 0)))


# Transparency


def test_a_transparent_colour_of_16_bits(tmp_path: Path) -> None:
    values = np.array([[[0x1234, 0x5678, 0x9ABC], [0x1234, 0x5678, 0x9ABD], [0xFFFF, 0, 0]]])
    path = written(tmp_path / "x.png", png(values, 16, 2, {b"tRNS": bytes.fromhex("123456789abc")}))
    assert pixels(path, 3) == [[[255, 255, 255], [0x12, 0x56, 0x9A], [255, 0, 0]]]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    clear = max(top // 4, 1)
    path = written(tmp_path / "x.png", png([[0, clear, top]], bits, 0, {b"tRNS": clear.to_bytes(2)}))
    assert pixels(path) == [[0, 255, 255]]
    with Image.open(path) as image:
        assert pixels(image) == pixels(image) == [[0, 255, 255]]


def test_alpha_of_16_bits(tmp_path: Path) -> None:
    values = np.array([[[0xFF00, 0], [0x2000, 0xFFFF]]])
    assert pixels(written(tmp_path / "x.png", png(values, 16, 4))) == [[255, 0x20]]


# Pictures in memory


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int16", "int32", "uint32", "int64"])
def test_arrays_with_white(dtype: str) -> None:
    values = twelve_bits("grey").astype(dtype)
    assert pixels(values, white=4095) == (values >> 4).tolist()
    colour = np.repeat(values[..., None], 3, axis=-1)
    assert pixels(colour, 3, white=4095) == (colour >> 4).tolist()
    if ">" not in dtype:
        tensor = torch.from_numpy(colour.transpose(2, 0, 1))
        assert pixels(tensor, 3, white=4095) == (colour >> 4).tolist()
    with pytest.raises(ValueError, match=r"got [>a-z0-9]+ \[6, 5\].*Give the value of white, such as white=4095"):
        read_image(values)


def test_white_is_not_of_8_bits_nor_of_floating_point() -> None:
    eight = np.array([[0, 100, 255]], np.uint8)
    assert pixels(eight, white=4095) == pixels(Image.fromarray(eight), white=4095) == eight.tolist()
    with pytest.raises(ValueError, match=r"got float32 .*Scale to 0"):
        read_image(np.zeros((2, 2), np.float32), white=4095)


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B", "I;16L"])
def test_pillow_images_with_white(mode: str) -> None:
    order = {"I": "i4", "I;16B": ">u2"}.get(mode, "<u2")
    image = Image.frombytes(mode, (3, 1), np.array([0, 1000, 4095], order).tobytes())
    assert pixels(image, white=4095) == [[0, 1000 >> 4, 255]]


@pytest.mark.parametrize("white", [0, -1, 4095.5, "4095"])
def test_no_white(white: Any) -> None:
    said = f"Expected white as a whole number of at least 1, such as 4095 for 12 bits, got {white!r}"
    with pytest.raises(ValueError, match=said):
        read_image(np.zeros((2, 2), np.uint8), white=white)
    with pytest.raises(ValueError, match=said):
        Preprocessing(image_size=(2, 2), channels=1, white=white)
