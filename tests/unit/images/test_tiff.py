"""TIFF files of every depth, either meaning of zero and both byte orders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from sample_files import pixels, tiff, written

from pairsim.errors import ImageReadError
from pairsim.images import read_image


@pytest.fixture(params=["Pillow", "libtiff"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Pillow decodes uncompressed TIFF itself, and other files with libtiff, which it can be made to use for all."""
    monkeypatch.setattr(TiffImagePlugin, "READ_LIBTIFF", request.param == "libtiff")
    return str(request.param)


READ = [
    (bits, photometric, order)
    for bits in (1, 2, 4, 8, 12, 16)
    for photometric in (0, 1)
    for order in "<>"
    if (bits, order) != (12, ">")
]


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize(("bits", "photometric", "order"), READ)
def test_tiff_in_grey(tmp_path: Path, bits: int, photometric: int, order: str) -> None:
    top = 2**bits - 1
    values = np.array([[0, top, top // 3, top], [top, 0, 0, top - top // 3]])
    lightness = values if photometric else top - values
    expected = lightness * 255 // top if bits < 8 else lightness >> (bits - 8)
    path = written(tmp_path / "x.tif", tiff(values, bits, photometric, order=order))
    assert pixels(path) == expected.tolist()
    if not (order == ">" and photometric == 0 and bits == 16) and (bits, photometric) != (12, 0):
        with Image.open(path) as image:
            assert pixels(image) == expected.tolist()


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("scale", [257, 1])  # some programs write colours of 8 bits into tags of 16
def test_tiff_with_a_palette(tmp_path: Path, bits: int, order: str, scale: int) -> None:
    size, last = 2**bits, 2**bits - 1
    red, green, blue = ([0] * last + [value * scale] for value in (200, 100, 30))
    content = tiff([[0, last]], bits, 3, order=order, tags={320: [*red, *green, *blue]})
    assert len(red) == size
    assert pixels(written(tmp_path / "x.tif", content), 3) == [[[0, 0, 0], [200, 100, 30]]]


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_in_colour(tmp_path: Path, bits: int, order: str, planes: bool) -> None:
    values = np.array([[[200, 100, 30], [0, 255, 77]], [[1, 2, 3], [4, 5, 6]]])
    samples = values if bits == 8 else values * 256 + 129
    path = written(tmp_path / "x.tif", tiff(samples, bits, 2, order=order, planes=planes))
    assert pixels(path, 3) == values.tolist()


SIGNED, FLOATING = {339: [2]}, {339: [3]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        *[
            (tiff([[1, 4000]], 12, photometric, order=">"), "Pillow does not read TIFF files of this kind: unknown")
            for photometric in (0, 1)
        ],
        (tiff([[1, 2]], 32, 1, order=">"), "Pillow does not read TIFF files of this kind: unknown pixel mode"),
        (tiff([[1, 2]], 16, 3, tags={320: [0] * 3 * 2**16}), "Pillow does not read TIFF files of this kind"),
        (tiff([[1, 2]], 16, 1, tags=FLOATING), "Pillow does not read TIFF files of this kind: unknown pixel mode"),
        (tiff([[1, 2]], 8, 1, tags=SIGNED), "with unsigned samples, found signed ones. Convert it to 8-bit RGB."),
        *[
            (
                tiff([[7, 2**32 - 1]], 32, photometric),
                "whole numbers from 7 to 4294967295 have no defined white. Give it, such as white=4294967295, or",
            )
            for photometric in (0, 1)
        ],
        *[
            (
                tiff([[7, 2**bits - 1]], bits, 1, order=order, tags=SIGNED),
                "found mode I: whole numbers from -1 to 7 have no defined white. Give it, such as white=7, or convert",
            )
            for bits in (16, 32)
            for order in "<>"
        ],
        *[(tiff([[0, 1]], 32, 1, order=order, tags=FLOATING), "floating point has no defined white") for order in "<>"],
    ],
)
def test_tiff_without_a_defined_white(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path / "x.tif", content)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("order", ["<", ">"])
def test_white_defines_signed_and_32_bit_samples(tmp_path: Path, order: str) -> None:
    for bits in (16, 32):
        values = np.array([[0, 1000, 4095, 5000, 2**bits - 1]])
        signed = written(tmp_path / "x.tif", tiff(values, bits, 1, order=order, tags=SIGNED))
        assert pixels(signed, white=4095) == [[0, 1000 >> 4, 255, 255, 0]]
    unsigned = written(tmp_path / "x.tif", tiff(values, 32, 1))
    assert pixels(unsigned, white=4095) == [[0, 1000 >> 4, 255, 255, 255]]


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_in_colour_with_white(tmp_path: Path, planes: bool, order: str, decoder: str) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (6, 5, 3))
    content = tiff(values, 16, 2, order=order, planes=planes)
    found = np.array(pixels(written(tmp_path / "x.tif", content), 3, white=4095))
    high_byte_only = planes and decoder == "libtiff"
    assert np.abs(found - (values >> 4)).max() <= (16 if high_byte_only else 0)


def test_white_of_a_picture_where_zero_is_white(tmp_path: Path) -> None:
    values = np.array([[0, 100, 4095]])
    for order in "<>":
        path = written(tmp_path / "x.tif", tiff(values, 16, 0, order=order))
        with pytest.warns(UserWarning, match="it is read much too light: give white=4095"):
            assert pixels(path) == [[255, 255, 240]]
        assert pixels(path, white=4095) == [[255, 3995 >> 4, 0]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_premultiplied_alpha(tmp_path: Path, order: str) -> None:
    colour = np.array([[[4000, 2000, 0], [0, 4095, 800]]])
    path = written(
        tmp_path / "x.tif", tiff(np.append(colour, [[[65535], [65535]]], axis=-1), 16, 2, order=order, tags={338: [1]})
    )
    with pytest.warns(UserWarning, match="none above 3855"):  # Pillow gives the high bytes only
        dark = np.array(pixels(path, 3))
    assert np.abs(dark - (colour >> 8)).max() <= 1
    assert np.abs(np.array(pixels(path, 3, white=4095)) - (colour >> 4)).max() <= 16
