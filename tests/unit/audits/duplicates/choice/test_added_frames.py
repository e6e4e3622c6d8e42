"""A frame around a picture, and the corners of a rotation, are told from the scene that a picture was cut out of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph
from PIL import Image
from torch import Tensor

from pairsim.audits.duplicates.choice.added_frames import reduced, surrounded
from pairsim.audits.duplicates.choice.overlays import Shown
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.images import PictureFile

PICTURE = photograph(3, 240, 320)


def shown(pixels: Pixels) -> Shown:
    return Shown(pixels, fingerprint(torch.from_numpy(pixels.copy()).permute(2, 0, 1)))


def crop_of(whole: Pixels, top: int, left: int, height: int, width: int) -> tuple[Pixels, Tensor]:
    """A part, and the map of coordinates, which are in half longer sides, from the whole to it."""
    long, part = max(whole.shape[:2]), max(height, width)
    x = (whole.shape[1] - 2 * left - width) / part
    y = (whole.shape[0] - 2 * top - height) / part
    return whole[top : top + height, left : left + width], torch.tensor([[long / part, 0, x], [0, long / part, y]])


def framed(sides: tuple[int, int, int, int], grey: int = 230) -> Pixels:
    """Add lines of two tones, which are no border of one colour, at the top, left, bottom and right."""
    top, left, bottom, right = sides
    window = np.pad(PICTURE, ((top, bottom), (left, right), (0, 0)), constant_values=grey)
    window[: top // 2, : window.shape[1] // 2] = window[window.shape[0] - bottom // 2 :, : window.shape[1] // 2] = 40
    window[: window.shape[0] // 2, : left // 2] = window[: window.shape[0] // 2, window.shape[1] - right // 2 :] = 40
    return window


def is_surrounded(outer: Shown, inner: Shown, transform: torch.Tensor) -> bool:
    return surrounded(reduced(outer), outer.print_, inner.print_, transform)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((40, 30, 40, 30), True),
        ((40, 30, 20, 0), True),
        ((40, 0, 40, 0), False),  # a scene may have edges along two sides
        ((60, 0, 0, 0), False),
    ],
)
def test_frames(sides: tuple[int, int, int, int], *, expected: bool) -> None:
    whole = framed(sides)
    part, transform = crop_of(whole, sides[0], sides[1], 240, 320)
    assert is_surrounded(shown(whole), shown(part), transform) is expected


def test_scenes_go_on() -> None:
    for seed in range(6):
        whole = photograph(seed, 300, 400)
        part, transform = crop_of(whole, 40, 50, 220, 300)
        assert not is_surrounded(shown(whole), shown(part), transform)
        part, transform = crop_of(framed((40, 30, 40, 30)), 60, 60, 200, 260)  # not along the edge of the frame
        assert not is_surrounded(shown(framed((40, 30, 40, 30))), shown(part), transform)


def test_a_frame_of_many_tones_is_a_scene() -> None:
    whole = photograph(1, 320, 380)
    whole[40:280, 30:350] = PICTURE
    part, transform = crop_of(whole, 40, 30, 240, 320)
    assert not is_surrounded(shown(whole), shown(part), transform)


@pytest.mark.parametrize("angle", [3.0, -5.0])
@pytest.mark.parametrize("expand", [False, True])
def test_corners_of_a_rotation(angle: float, *, expand: bool) -> None:
    image = Image.fromarray(PICTURE)
    turned = np.asarray(image.rotate(angle, Image.Resampling.BICUBIC, expand=expand, fillcolor=(255, 255, 255)))
    scale = max(turned.shape[:2]) / 320
    cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    transform = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]])
    assert is_surrounded(shown(turned), shown(PICTURE), transform)
    inverse = torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0]]) / scale**2
    assert not is_surrounded(shown(PICTURE), shown(turned), inverse)


def test_what_cannot_be_read_has_nothing_around_it() -> None:
    whole = framed((40, 30, 40, 30))
    part, transform = crop_of(whole, 40, 30, 240, 320)
    gone = Shown(PictureFile(b"nothing", "a.png"), shown(whole).print_)
    assert not is_surrounded(gone, shown(part), transform)
    line = np.full((1, 60, 3), 90, np.uint8)
    assert not is_surrounded(shown(line), shown(line[:, :30]), torch.eye(2, 3))
