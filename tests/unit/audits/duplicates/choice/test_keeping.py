"""The source is kept: of each pair of copies the one that lost nothing, and the reason says why."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from pairsim.audits.duplicates.choice.file_facts import file_facts
from pairsim.audits.duplicates.choice.keeping import chosen
from pairsim.audits.duplicates.listed_pictures import Listed
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.audits.duplicates.matching.registered_search import described, related
from pairsim.audits.duplicates.matching.registration import frames
from pairsim.images import PictureFile, read_image

PICTURE = photograph(0, 240, 320)


def png(pixels: Pixels) -> PictureFile:
    return stored(pixels, "PNG")


def jpeg(pixels: Pixels, quality: int = 90) -> PictureFile:
    return stored(pixels, "JPEG", quality=quality)


def stored(pixels: Pixels, kind: str, **options: Any) -> PictureFile:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, kind, **options)
    return PictureFile(file.getvalue(), kind.lower())


def pixels_of(picture: PictureFile) -> Pixels:
    return np.asarray(read_image(picture).permute(1, 2, 0).numpy())


def resized(pixels: Pixels, share: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = round(width * share), round(height * share)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def bordered(pixels: Pixels) -> Pixels:
    return np.pad(pixels, ((30, 30), (30, 30), (0, 0)), constant_values=255)


def rotated(pixels: Pixels, angle: float, *, expand: bool = True) -> Pixels:
    """Turn by some degrees, with white corners."""
    image = Image.fromarray(pixels)
    return np.asarray(image.rotate(angle, Image.Resampling.BICUBIC, expand=expand, fillcolor=(255, 255, 255)))


def on_a_screen(pixels: Pixels, share: float = 1.0) -> Pixels:
    """Show a picture in a window with a title and buttons."""
    shown = Image.fromarray(resized(pixels, share))
    window = Image.new("RGB", (shown.width + 60, shown.height + 100), (236, 236, 240))
    draw = ImageDraw.Draw(window)
    draw.rectangle((0, 0, window.width, 36), fill=(40, 60, 110))
    draw.text((20, 8), "Viewer - picture.jpg", (255, 255, 255), ImageFont.load_default(16))
    for number in range(4):
        draw.rectangle((20 + 40 * number, window.height - 32, 44 + 40 * number, window.height - 8), fill=(90, 90, 200))
    window.paste(shown, (30, 54))
    return np.asarray(window)


def kept(files: list[PictureFile], names: list[str] | None = None) -> tuple[int, str]:
    images = [read_image(one) for one in files]
    prints = [fingerprint(image) for image in images]
    first: dict[bytes, int] = {}
    same = [first.setdefault(one.digest, len(first)) for one in prints]
    different = [prints[same.index(k)] for k in range(len(first))]
    maps = torch.eye(2, 3)[None]
    if len(different) > 1:
        (family,), _ = related(frames([one.grey for one in different]), described(different), progress=False)
        assert family.members == tuple(range(len(different)))
        maps = family.transforms
    facts = [file_facts(one, (image.shape[1], image.shape[2])) for one, image in zip(files, images, strict=True)]
    listed = [
        Listed(row, one, name, None) for row, (one, name) in enumerate(zip(files, names or "abcdefgh", strict=False))
    ]
    return chosen(prints, maps[same], facts, listed)


GREY = np.repeat(PICTURE.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
BLURRED = np.asarray(Image.fromarray(PICTURE).filter(ImageFilter.GaussianBlur(2)))

NOISY = np.clip(PICTURE + np.random.default_rng(1).normal(0, 12, PICTURE.shape), 0, 255).astype(np.uint8)
LOW = jpeg(PICTURE, 75)
HIGH = jpeg(PICTURE, 95)

SHARPENED = np.asarray(
    Image.fromarray(resized(pixels_of(jpeg(PICTURE, 20)), 0.9)).filter(ImageFilter.UnsharpMask(2, 80, 0))
)
ROUGH = "others were made from it by a rough compression"
AROUND = "without a frame or corners around it, which others have"

PAIRS = {
    "whole before cropped": (jpeg(PICTURE, 70), png(PICTURE[24:, 32:]), "shows most, others at most 81 % of it"),
    "whole before an enlarged crop": (
        jpeg(PICTURE, 70),
        png(resized(PICTURE[24:, 32:], 1.5)),
        "shows most, others at most 81 % of it",
    ),
    "colour before grey": (jpeg(PICTURE, 70), png(GREY), "in colour, others are grey"),
    "no border before a border": (jpeg(PICTURE, 70), png(bordered(PICTURE)), "without a border, others have one"),
    "most pixels": (
        jpeg(PICTURE, 70),
        png(resized(PICTURE, 0.5)),
        "most pixels: 320 x 240, others at most 160 x 120",
    ),
    "sharp before blurred": (jpeg(PICTURE, 80), png(BLURRED), "not blurred, as others are"),
    "no noise before noise": (jpeg(PICTURE, 80), jpeg(NOISY, 90), "without noise, which others have"),
    "no noise before lossless noise": (jpeg(PICTURE, 80), png(NOISY), "without noise, which others have"),
    "whole before a slight crop": (
        jpeg(PICTURE, 70),
        jpeg(PICTURE[2:237, 4:318], 90),
        "shows most, others at most 96 % of it",
    ),
    "whole before a slight crop of a plain margin": (
        jpeg(bordered(PICTURE), 70),
        jpeg(bordered(PICTURE)[5:-5, 5:-5], 70),
        "most pixels: 380 x 300, others at most 370 x 290",
    ),
    "a JPEG before one saved from it at a higher quality": (
        LOW,
        jpeg(pixels_of(LOW), 80),
        "the source: others were saved from it",
    ),
    "a JPEG before one saved from it at its quality": (
        LOW,
        jpeg(pixels_of(LOW), 75),
        "the source: others were saved from it",
    ),
    "a JPEG before one saved from it at a lower quality": (
        HIGH,
        jpeg(pixels_of(HIGH), 80),
        "JPEG quality 95, others at most 80",
    ),
    "a lossless file before its JPEG": (
        png(PICTURE),
        jpeg(PICTURE, 95),
        "stored without loss (PNG), others with loss (JPEG of quality 95)",
    ),
    "a JPEG before a rough one of its size": (LOW, jpeg(pixels_of(LOW), 20), ROUGH),
    "a JPEG before a slightly enlarged rough one": (LOW, jpeg(resized(pixels_of(LOW), 1.1), 20), ROUGH),
    "a lossless file before an enlarged rough one": (png(PICTURE), jpeg(resized(PICTURE, 1.5), 30), ROUGH),
    "a rough JPEG before its reduction": (
        jpeg(PICTURE, 20),
        png(resized(pixels_of(jpeg(PICTURE, 20)), 0.9)),
        "most pixels: 320 x 240, others at most 288 x 216",
    ),
    "a rough JPEG before a sharpened reduction": (
        jpeg(PICTURE, 20),
        png(SHARPENED),
        "most pixels: 320 x 240, others at most 288 x 216",
    ),
    "a picture before its screenshot": (jpeg(PICTURE, 70), png(on_a_screen(PICTURE)), AROUND),
    "a picture before its enlarged screenshot": (jpeg(PICTURE, 70), jpeg(on_a_screen(PICTURE, 1.3), 95), AROUND),
    "a large screenshot before a small picture": (
        png(on_a_screen(PICTURE)),
        png(resized(PICTURE, 0.4)),
        "shows most, others at most 64 % of it",
    ),
    "upright before white corners": (jpeg(PICTURE, 70), png(rotated(PICTURE, 3)), AROUND),
    "upright before white corners in the same size": (
        jpeg(PICTURE, 70),
        jpeg(rotated(PICTURE, -3, expand=False), 90),
        AROUND,
    ),
    "a tilted picture before its upright part": (
        jpeg(PICTURE, 70),
        png(rotated(PICTURE, 3, expand=False)[20:-20, 20:-20]),
        "shows most, others at most 81 % of it",
    ),
    "the higher quality": (jpeg(PICTURE, 90), jpeg(PICTURE, 60), "JPEG quality 90, others at most 60"),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_copies_the_source_is_kept(name: str, turned: bool) -> None:
    source, copy, reason = PAIRS[name]
    files = [copy, source] if turned else [source, copy]
    assert kept(files) == (files.index(source), reason)


def test_a_jpeg_is_kept_before_what_was_made_from_it() -> None:
    original = jpeg(PICTURE, 75)
    decoded, again = png(pixels_of(original)), jpeg(pixels_of(original), 95)
    for files in ([original, decoded], [again, original], [decoded, again, original]):
        place, reason = kept(files)
        assert place == files.index(original)
        assert reason == "the source: others were saved from it"


def test_a_higher_quality_that_was_not_made_from_the_lower_is_kept() -> None:
    better, worse = jpeg(PICTURE, 95), jpeg(PICTURE, 70)
    assert kept([worse, better]) == (1, "JPEG quality 95, others at most 70")


def test_the_usual_size_is_kept_before_an_enlarged_one() -> None:
    files = [png(resized(PICTURE, 1.5)), jpeg(PICTURE, 90), jpeg(PICTURE, 80), jpeg(PICTURE, 70)]
    place, reason = kept(files)
    assert place == 1
    assert "most detail: 320 x 240, others were enlarged to 480 x 360" in reason
    assert kept(files[:2])[0] == 0  # of two nobody knows which is the usual size


def test_most_copies_tell_which_was_changed() -> None:
    changed = [(PICTURE * 0.7).astype(np.uint8), PICTURE[:, ::-1]]
    for one in changed:
        files = [png(one), jpeg(PICTURE, 90), jpeg(PICTURE, 80), jpeg(PICTURE, 60)]
        place, reason = kept(files)
        assert place == 1
        assert reason.startswith("unchanged: 3 of 4 copies have the same tones and orientation; ")
        assert kept(files[:2])[0] == 0


def with_text(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels)
    ImageDraw.Draw(image).text((60, 100), "Photo 2024", (255, 255, 255), ImageFont.load_default(20))
    return np.asarray(image)


CHANGED = {
    "text": jpeg(with_text(pixels_of(LOW))),
    "noise": jpeg(np.clip(pixels_of(LOW) + (NOISY.astype(int) - PICTURE), 0, 255).astype(np.uint8)),
    "sharpened": jpeg(np.asarray(Image.fromarray(pixels_of(LOW)).filter(ImageFilter.UnsharpMask(2, 150, 0)))),
    "saturated": jpeg(np.asarray(ImageEnhance.Color(Image.fromarray(pixels_of(LOW))).enhance(1.6))),
    "blurred": jpeg(np.asarray(Image.fromarray(pixels_of(LOW)).filter(ImageFilter.GaussianBlur(1.5)))),
}


def test_the_copies_speak_for_what_they_were_made_from() -> None:
    """Each copy is of a higher quality than the original, and is changed in another way."""
    files = [*CHANGED.values(), LOW]
    place, reason = kept(files)
    assert place == len(CHANGED)
    assert "nearest to most of " in reason
    assert " copies, pixel by pixel" in reason


def test_a_copy_that_most_speak_for_is_not_kept_if_it_was_saved_from_another() -> None:
    """All others were made from the second saving: they are nearer to it."""
    again = jpeg(pixels_of(LOW), 60)
    changed = [jpeg(with_text(pixels_of(again))), png(np.roll(with_text(pixels_of(again))[::-1], 3, axis=1)[::-1])]
    blurred = jpeg(np.asarray(Image.fromarray(pixels_of(again)).filter(ImageFilter.GaussianBlur(0.6))))
    place, reason = kept([again, *changed, blurred, LOW])
    assert place == 4, reason


def test_reasons_follow_the_questions() -> None:
    files = [png(PICTURE[24:, 32:]), png(GREY), jpeg(PICTURE, 90), jpeg(PICTURE, 60)]
    place, reason = kept(files)
    assert place == 2
    parts = reason.split("; ")
    assert parts[0] == "shows most, others at most 81 % of it"
    assert parts[-1] == "of these 2, JPEG quality 90, others at most 60"
    assert "of these 3, in colour, others are grey" in parts


def test_what_is_equal_goes_by_name() -> None:
    same = [png(PICTURE), png(PICTURE), png(PICTURE)]
    expected = "first by name: equal in size, compression and metadata"
    assert kept(same, ["c", "a", "b"]) == (1, expected)
    assert kept(same[:1]) == (0, "")


def test_the_order_does_not_matter() -> None:
    files = [png(resized(PICTURE, 0.6)), jpeg(PICTURE, 85), png(GREY), png(bordered(PICTURE)), jpeg(PICTURE[20:, 20:])]
    names = [str(k) for k in range(5)]
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(5).tolist()
        place, reason = kept([files[k] for k in order], [names[k] for k in order])
        assert order[place] == 1, reason


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (60, 1)])
def test_pictures_without_detail(size: tuple[int, int]) -> None:
    same = [png(np.full((*size, 3), 90, np.uint8))] * 5
    assert kept(same)[0] == 0
