"""A JPEG is known as a second saving of another file only if it was made from it."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import photograph
from PIL import Image, ImageFilter

from pairsim.audits.duplicates.choice import resaving
from pairsim.audits.duplicates.choice.resaving import saved_again, saved_roughly
from pairsim.images import PictureFile, PictureLike, read_image


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> PictureFile:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return PictureFile(file.getvalue(), f"a.{kind.lower()}")


def opened(picture: PictureFile) -> Image.Image:
    return Image.fromarray(read_image(picture).permute(1, 2, 0).numpy())


def made_again(source: PictureLike, copy: PictureLike) -> bool:
    return saved_again(source, copy, finer=True)


ORIGINAL = Image.fromarray(photograph(0))
FIRST = saved(ORIGINAL, quality=75)


@pytest.mark.parametrize("share", [1.0, 1.03, 1.3])
@pytest.mark.parametrize("resampling", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
@pytest.mark.parametrize("quality", [20, 35])
def test_a_rough_file_is_known_by_its_loss(share: float, resampling: Image.Resampling, quality: int) -> None:
    source = opened(saved(ORIGINAL, quality=85))
    size = round(source.width * share), round(source.height * share)
    copy = saved(source.resize(size, resampling), quality=quality)
    assert saved_roughly(saved(source, "PNG"), copy)
    assert not saved_roughly(saved(Image.fromarray(photograph(1)), "PNG"), copy)
    # the other way round: what was made from a rough file lost nothing, or something else
    rough = saved(ORIGINAL, quality=quality)
    size = round(ORIGINAL.width / share), round(ORIGINAL.height / share)
    made = opened(rough).resize(size, resampling)
    for one in (made, made.point(lambda value: min(value + 12, 255)), made.filter(ImageFilter.UnsharpMask(2, 90, 0))):
        assert not saved_roughly(saved(one, quality=95), rough)


def test_what_is_no_rough_file() -> None:
    source = saved(ORIGINAL, "PNG")
    assert not saved_roughly(source, saved(ORIGINAL, "PNG"))
    assert not saved_roughly(source, read_image(source))
    assert not saved_roughly(source, PictureFile(b"nothing", "a.jpg"))
    small = Image.fromarray(photograph(0, 12, 12))
    assert not saved_roughly(saved(small, "PNG"), saved(small, quality=20))
    plain = Image.new("RGB", (64, 64), (90, 90, 90))
    assert not saved_roughly(saved(plain, "PNG"), saved(plain, quality=20))


@pytest.mark.parametrize("quality", [60, 90, 97])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_second_saving(quality: int, subsampling: str) -> None:
    again = saved(opened(FIRST), quality=quality, subsampling=subsampling)
    assert made_again(FIRST, again)


@pytest.mark.parametrize("quality", [30, 75])
def test_of_equal_or_lower_quality_one_direction_fits_better(quality: int) -> None:
    again = saved(opened(FIRST), quality=quality)
    assert saved_again(FIRST, again, finer=False)
    assert not saved_again(again, FIRST, finer=False)


def test_a_second_saving_of_a_grey_picture() -> None:
    grey = saved(ORIGINAL.convert("L"), quality=70)
    assert made_again(grey, saved(opened(grey), quality=90))


def test_two_savings_of_one_original() -> None:
    assert not made_again(FIRST, saved(ORIGINAL, quality=90))
    assert not made_again(saved(ORIGINAL, quality=60), FIRST)


def test_a_jpeg_saved_from_a_lossless_picture() -> None:
    assert made_again(saved(ORIGINAL, "PNG"), FIRST)
    assert made_again(ORIGINAL, FIRST)
    assert made_again(photograph(0), FIRST)


def test_what_is_no_jpeg_was_not_saved_as_one() -> None:
    for copy in (saved(opened(FIRST), "PNG"), saved(opened(FIRST), "WEBP", quality=90), opened(FIRST)):
        assert not made_again(FIRST, copy)


def test_pictures_of_other_sizes_or_contents() -> None:
    small = opened(FIRST).resize((120, 90))
    assert not made_again(FIRST, saved(small, quality=90))
    assert not made_again(saved(Image.fromarray(photograph(1)), quality=75), saved(opened(FIRST), quality=90))
    edited = Image.fromarray(np.asarray(opened(FIRST))[:, ::-1])
    assert not made_again(FIRST, saved(edited, quality=90))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    good, gone, damaged = tmp_path / "a.jpg", tmp_path / "gone.jpg", tmp_path / "b.jpg"
    good.write_bytes(FIRST.content)
    damaged.write_bytes(FIRST.content[:300])
    for bad in (gone, damaged):
        assert not made_again(bad, good)
        assert not made_again(good, bad)
    assert made_again(good, saved(opened(FIRST), quality=90))


def test_large_pictures_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resaving, "_MAX_PIXELS", 100)
    assert not made_again(FIRST, saved(opened(FIRST), quality=90))


def test_coarse_tables_give_no_caution_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """A table of 16 bits, as other programs write at very low qualities."""
    data = saved(ORIGINAL, quality=80, qtables=[[255] * 64], subsampling="4:4:4").content
    start = data.index(b"\xff\xdb")
    assert data[start + 2 : start + 5] == b"\x00\x43\x00"
    wide = b"\x00\x83\x10" + struct.pack(">64H", *[300] * 64)
    coarse = PictureFile(data[: start + 2] + wide + data[start + 2 + 0x43 :], "coarse.jpg")
    assert not made_again(FIRST, coarse)
    assert capfd.readouterr().err == ""
