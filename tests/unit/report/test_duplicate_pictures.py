from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from shown_duplicates import scene

from pairsim.errors import ImageReadError
from pairsim.report.duplicate_pictures import GAIN, SIDE, difference, reduced


def pixels(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    kind, content = uri.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        return np.asarray(image)


def test_reduced_pictures_are_small_and_know_their_size(tmp_path: Path) -> None:
    scene(0, 1000, 500).save(tmp_path / "a.png")
    found = reduced(tmp_path / "a.png")
    assert (found.width, found.height) == (1000, 500)
    assert found.pixels.shape == (SIDE // 2, SIDE, 3)
    assert pixels(found.uri).shape == (SIDE // 2, SIDE, 3)
    Image.new("L", (3, 2), 7).save(tmp_path / "b.png")
    assert reduced(tmp_path / "b.png").pixels.shape == (2, 3, 3)
    with pytest.raises(ImageReadError, match=r"absent\.png"):
        reduced(tmp_path / "absent.png")


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("near", lambda picture: picture, "Mean difference 0.0 of 255, largest 0."),
        ("mirrored", ImageOps.mirror, "Mean difference 0.0 of 255, largest 0 (mirrored)."),
        ("mirrored", ImageOps.flip, "Mean difference 0.0 of 255, largest 0 (mirrored)."),
        ("turned 90 degrees", lambda picture: picture.transpose(Image.Transpose.ROTATE_90), "largest 0 (turned)."),
        ("turned 90 degrees", lambda picture: picture.transpose(Image.Transpose.ROTATE_270), "largest 0 (turned)."),
        ("turned 180 degrees", lambda picture: picture.transpose(Image.Transpose.ROTATE_180), "largest 0 (turned)."),
        (
            "mirrored, turned 90 degrees",
            lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
            "largest 0 (mirrored and turned).",
        ),
        ("resized to 50 %", lambda picture: picture.resize((128, 96)), "(resized to the same size)."),
    ],
)
def test_pictures_are_laid_over_each_other_as_the_kind_says(
    tmp_path: Path, kind: str, changed: object, said: str
) -> None:
    picture = scene(0, 256, 192)
    picture.save(tmp_path / "a.png")
    changed(picture).save(tmp_path / "b.png")  # type: ignore[operator]
    found = difference(reduced(tmp_path / "a.png"), reduced(tmp_path / "b.png"), kind)
    assert found.text.endswith(said)
    assert pixels(found.uri).shape == (192, 256)
    assert pixels(found.uri).mean() < 8


def test_a_difference_that_is_not_in_the_kind_is_seen(tmp_path: Path) -> None:
    picture = scene(0, 256, 192)
    picture.save(tmp_path / "a.png")
    ImageOps.mirror(picture).save(tmp_path / "b.png")
    found = difference(reduced(tmp_path / "a.png"), reduced(tmp_path / "b.png"), "near")
    assert pixels(found.uri).mean() > 50


def test_the_largest_difference_of_the_channels_times_the_gain(tmp_path: Path) -> None:
    first = np.full((64, 64, 3), 100, np.uint8)
    second = first.copy()
    second[:, 32:] = (105, 90, 100)
    for name, content in (("a.png", first), ("b.png", second)):
        Image.fromarray(content).save(tmp_path / name)
    found = difference(reduced(tmp_path / "a.png"), reduced(tmp_path / "b.png"), "near")
    assert found.text == "Mean difference 5.0 of 255, largest 10."
    shown = pixels(found.uri)
    assert abs(int(shown[:, :24].mean())) <= 1
    assert abs(int(shown[:, 40:].mean()) - 10 * GAIN) <= 1


@pytest.mark.parametrize(
    ("kind", "size", "said"),
    [
        ("identical file", (256, 192), "No difference: the pixels are the same."),
        ("identical pixels", (256, 192), "No difference: the pixels are the same."),
        ("cropped to 81 %", (256, 192), "No difference image: the two show different parts."),
        ("near", (256, 100), "No difference image: the two have other proportions."),
        ("turned 90 degrees", (256, 192), "No difference image: the two have other proportions."),
    ],
)
def test_what_is_not_compared(tmp_path: Path, kind: str, size: tuple[int, int], said: str) -> None:
    scene(0, 256, 192).save(tmp_path / "a.png")
    scene(1, *size).save(tmp_path / "b.png")
    found = difference(reduced(tmp_path / "a.png"), reduced(tmp_path / "b.png"), kind)
    assert (found.uri, found.text) == ("", said)
