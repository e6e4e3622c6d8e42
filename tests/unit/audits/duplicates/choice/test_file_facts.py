"""Facts come from the header alone, the estimated quality is Pillow's, and reasons name the deciding fact."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from pairsim.audits.duplicates.choice.file_facts import FileFacts, file_facts, jpeg_quality, keep_order, keep_reason
from pairsim.errors import ImageReadError
from pairsim.images import PictureFile, read_image

TAKEN, MODEL, GPS_LATITUDE, DATE = 0x9003, 0x0110, 1, "2024:05:01 10:00:00"


def photograph(height: int = 60, width: int = 80) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    fine = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noise = np.random.default_rng(1).integers(-12, 13, fine.shape)
    return Image.fromarray(np.clip(fine + noise, 0, 255).astype(np.uint8))


def stored(kind: str, image: Image.Image | None = None, **options: Any) -> PictureFile:
    file = io.BytesIO()
    (photograph() if image is None else image).save(file, kind, **options)
    return PictureFile(file.getvalue(), f"picture.{kind.lower()}")


def facts_of(picture: PictureFile) -> FileFacts:
    _, height, width = read_image(picture).shape
    return file_facts(picture, (height, width))


def exif(*, taken: str | bytes | None = DATE, model: str = "A camera") -> Image.Exif:
    entries = Image.Exif()
    entries[MODEL] = model
    if taken is not None:
        entries.get_ifd(0x8769)[TAKEN] = taken
    return entries


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("colour", [True, False])
def test_jpeg_quality_is_the_one_that_pillow_saved_with(subsampling: str, colour: bool) -> None:
    image = photograph(16, 16) if colour else photograph(16, 16).convert("L")
    for quality in range(1, 101):
        options = {"subsampling": subsampling} if colour else {}
        found = file_facts(stored("JPEG", image, quality=quality, **options), (16, 16)).quality
        assert found == quality, quality


def test_jpeg_quality_of_other_tables() -> None:
    qualities = [jpeg_quality([level] * 64) for level in (1, 3, 10, 30, 100, 255, 1000)]
    assert qualities == sorted(qualities, reverse=True)
    assert (qualities[0], qualities[-1]) == (100, 1)
    camera = {0: [2, 1, 1, 2, 3, 5, 6, 7] * 8, 1: [20] * 64}  # finer in luminance than in colour
    assert file_facts(stored("JPEG", qtables=camera), (60, 80)).quality == jpeg_quality(camera[0])


@pytest.mark.parametrize(
    ("kind", "options", "lossless"),
    [
        ("PNG", {}, True),
        ("BMP", {}, True),
        ("TGA", {}, True),
        ("PPM", {}, True),
        ("GIF", {}, False),
        ("JPEG", {}, False),
        ("WEBP", {"lossless": True}, True),
        ("WEBP", {"quality": 80}, False),
        ("WEBP", {"lossless": True, "exif": exif()}, True),
        ("WEBP", {"quality": 80, "exif": exif()}, False),
        ("WEBP", {"lossless": True, "save_all": True, "append_images": [photograph()]}, True),
        ("WEBP", {"quality": 80, "save_all": True, "append_images": [photograph().rotate(90)]}, False),
        ("TIFF", {}, True),
        ("TIFF", {"compression": "tiff_lzw"}, True),
        ("TIFF", {"compression": "tiff_adobe_deflate"}, True),
        ("TIFF", {"compression": "jpeg"}, False),
        ("JPEG2000", {}, None),
    ],
)
def test_lossless_by_header(kind: str, options: dict[str, Any], lossless: bool | None) -> None:
    picture = stored(kind, **options)
    found = facts_of(picture)
    assert found.lossless is lossless
    assert (found.format, found.num_bytes) == (kind, len(picture.content))
    assert (found.width, found.height, found.num_pixels) == (80, 60, 4800)
    assert (found.quality is not None) == (kind == "JPEG")
    if lossless:
        assert np.array_equal(read_image(picture).permute(1, 2, 0).numpy(), np.asarray(photograph()))


def test_a_grey_gif_is_lossless() -> None:
    grey = photograph().convert("L")
    picture = stored("GIF", grey)
    assert np.array_equal(read_image(picture, channels=1)[0].numpy(), np.asarray(grey))
    assert facts_of(picture).lossless is True


def test_bits_of_a_pixel() -> None:
    deep = Image.fromarray(np.full((4, 4), 60_000, np.uint16))
    assert [facts_of(stored("PNG", image)).bits for image in (photograph().convert("L"), photograph(), deep)] == [
        8,
        24,
        16,
    ]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_metadata(kind: str) -> None:
    found = facts_of(stored(kind, exif=exif().tobytes()))  # Pillow writes an Exif object to TIFF without its date
    assert (found.taken, found.num_tags) == (DATE, 2)
    bare = facts_of(stored(kind))
    assert (bare.taken, bare.num_tags) == (None, 0)


def test_entries_on_the_place_count() -> None:
    entries = exif()
    entries.get_ifd(0x8825)[GPS_LATITUDE] = "N"
    assert facts_of(stored("JPEG", exif=entries)).num_tags == 3


@pytest.mark.parametrize("taken", ["", "0000:00:00 00:00:00", "    :  :     :  :  ", "\x1b[31m2024", "yesterday"])
def test_what_is_no_date_does_not_count(taken: str) -> None:
    found = facts_of(stored("JPEG", exif=exif(taken=taken)))
    assert found.taken is None
    assert found.num_tags >= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_metadata_counts_as_none(kind: str) -> None:
    found = facts_of(stored(kind, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(40))))
    assert found.taken is None
    assert found.format == kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000"])
def test_pixels_are_not_decoded(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(stored(kind, exif=exif()).content if kind in ("JPEG", "PNG", "WEBP") else stored(kind).content)

    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decoded)
    monkeypatch.setattr(Image.Image, "load", decoded)
    assert file_facts(path, (60, 80)).format == kind


def test_the_size_is_the_one_that_is_given() -> None:
    entries = exif()
    entries[0x0112] = 6  # turned by 90 degrees
    found = facts_of(stored("JPEG", exif=entries))
    assert (found.width, found.height) == (60, 80)


def test_a_picture_that_is_no_file_has_only_a_size() -> None:
    only = FileFacts(width=80, height=60)
    image = photograph()
    for picture in (image, np.asarray(image), read_image(image)):
        assert file_facts(picture, (60, 80)) == only


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"Expected an image file at .*gone\.png, found none"):
        file_facts(tmp_path / "gone.png", (1, 1))


def test_a_small_jpeg_of_low_quality_goes_beside_its_original() -> None:
    image = photograph(240, 320)
    original, copy = facts_of(stored("JPEG", image, quality=95)), facts_of(stored("JPEG", image, quality=10))
    assert original.num_bytes is not None
    assert copy.num_bytes is not None
    assert original.num_bytes > 4 * copy.num_bytes
    assert keep_order(original, "z.jpg") < keep_order(copy, "a.jpg")
    assert keep_reason(original, copy) == "JPEG quality 95, others at most 10"


def test_png_is_kept_beside_a_jpeg() -> None:
    png, jpeg = facts_of(stored("PNG")), facts_of(stored("JPEG", quality=95, exif=exif()))
    assert keep_order(png, "z.png") < keep_order(jpeg, "a.jpg")
    assert keep_reason(png, jpeg) == "stored without loss (PNG), others with loss (JPEG of quality 95)"


def test_the_copy_with_an_original_date_is_kept() -> None:
    with_date, without = facts_of(stored("PNG", exif=exif())), facts_of(stored("PNG"))
    assert keep_order(with_date, "z.png") < keep_order(without, "a.png")
    assert keep_reason(with_date, without) == f"has an original date: {DATE}, others have none"


BASE = FileFacts(
    width=40, height=30, num_bytes=900, format="JPEG", lossless=False, quality=80, bits=24, taken=DATE, num_tags=5
)
PNG = replace(BASE, format="PNG", lossless=True, quality=None)


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        (BASE, replace(PNG, width=39), "most pixels: 40 x 30, others at most 39 x 30"),
        (PNG, BASE, "stored without loss (PNG), others with loss (JPEG of quality 80)"),
        (
            PNG,
            replace(BASE, format="JPEG2000", lossless=None, quality=None),
            "stored without loss (PNG), others perhaps with loss (JPEG2000)",
        ),
        (
            PNG,
            FileFacts(width=40, height=30),
            "stored without loss (PNG), others perhaps with loss (unknown format)",
        ),
        (BASE, replace(BASE, quality=79, num_bytes=9000), "JPEG quality 80, others at most 79"),
        (BASE, replace(BASE, format="WEBP", quality=None), "JPEG quality 80, others of another format"),
        (BASE, replace(BASE, bits=8), "most bits in a pixel: 24, others at most 8"),
        (PNG, replace(PNG, bits=None), "most bits in a pixel: 24, others at most unknown"),
        (BASE, replace(BASE, num_bytes=899), "largest file: 900 bytes, others at most 899"),
        (PNG, replace(PNG, taken=None, num_tags=9), f"has an original date: {DATE}, others have none"),
        (PNG, replace(PNG, num_tags=4, num_bytes=9000), "most EXIF entries: 5, others at most 4"),
        (
            PNG,
            replace(PNG, taken="2024:05:02 09:00:00"),
            f"earliest original date: {DATE}, others not before 2024:05:02 09:00:00",
        ),
    ],
)
def test_the_reason_is_the_fact_that_decides(better: FileFacts, worse: FileFacts, reason: str) -> None:
    assert keep_order(better, "z") < keep_order(worse, "a")
    assert keep_reason(better, worse) == reason


def test_what_is_equal_goes_by_name() -> None:
    assert keep_order(BASE, "a.jpg") < keep_order(BASE, "b.jpg")
    assert keep_reason(BASE, BASE) == "first by name: equal in size, compression and metadata"
    larger = replace(PNG, num_bytes=9000)  # of a lossless file, which says nothing
    assert keep_order(PNG, "a.png") < keep_order(larger, "b.png")
    assert keep_reason(PNG, larger) == "first by name: equal in size, compression and metadata"


def test_pictures_turned_by_90_degrees_have_as_many_pixels() -> None:
    turned = replace(BASE, width=30, height=40)
    assert keep_reason(BASE, turned).startswith("first by name")


def test_reasons_differ_exactly_where_the_order_does() -> None:
    variants = [
        replace(base, **change)
        for base in (BASE, PNG)
        for change in (
            {}, {"width": 41}, {"num_bytes": 800}, {"bits": 8}, {"taken": None}, {"num_tags": 2},
            {"taken": "2023:01:01 00:00:00"}, {"quality": 90},
        )
    ]  # fmt: skip
    for one, other in combinations(variants, 2):
        first, second = sorted((one, other), key=lambda facts: keep_order(facts, ""))
        equal = keep_order(one, "") == keep_order(other, "")
        assert keep_reason(first, second).startswith("first by name") == equal
