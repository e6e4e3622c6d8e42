"""Copies of one frame have one place, whatever is found inside their borders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph

from pairsim.audits.duplicates.choice.placing import placed
from pairsim.audits.duplicates.matching.affine_maps import composed
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint

PICTURE = photograph(1, 160, 200)
UNMOVED = torch.eye(2, 3)


def of(pixels: Pixels) -> Fingerprint:
    return fingerprint(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous())


def test_copies_of_one_size_that_lie_on_each_other_have_one_place() -> None:
    plain = of(PICTURE)
    trimmed = replace(plain, content=(0.0, 0.0, 1.0, 0.9))
    # the same pixels in coordinates of the trimmed content: its centre is 10 pixels further left, its half 90
    map_ = torch.tensor([[100 / 90, 0.0, 10 / 90], [0.0, 100 / 90, 0.0]])
    places = placed([plain, trimmed, plain], torch.stack([UNMOVED, map_, UNMOVED]))
    assert len(set(places)) == 1
    (place,) = set(places)
    assert place.orientation == ()
    assert (place.extent, place.area, place.scale) == pytest.approx((1, 1, 1), abs=1e-3)


def test_frames_of_crops_borders_and_mirrored_copies() -> None:
    plain, crop = of(PICTURE), of(PICTURE[:, :180])
    bordered = of(np.pad(PICTURE, ((20, 20), (20, 20), (0, 0))))
    to_crop = torch.tensor([[100 / 90, 0.0, 10 / 90], [0.0, 100 / 90, 0.0]])
    to_bordered = torch.tensor([[200 / 198, 0.0, 0.0], [0.0, 200 / 198, 0.0]])
    mirrored = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    places = placed(
        [plain, plain, crop, bordered, of(PICTURE[:, ::-1])],
        torch.stack([UNMOVED, UNMOVED, to_crop, to_bordered, mirrored]),
    )
    assert places[0] == places[1]
    assert len({one.frame for one in places}) == 4
    assert [one.orientation for one in places] == [(), (), (), (), ("mirrored",)]
    assert [one.extent for one in places] == pytest.approx([1, 1, 0.9, 1, 1], abs=0.01)
    assert [one.area for one in places] == pytest.approx([1, 1, 0.9, 200 * 240 / (160 * 200), 1], abs=0.01)
    assert [one.scale for one in places] == pytest.approx([1] * 5, abs=0.01)


def test_a_scale_that_registration_cannot_tell_from_the_same_is_the_same() -> None:
    plain = of(PICTURE)
    crop = of(PICTURE[:, 4:196])
    off = composed(
        torch.tensor([[1.03, 0.0, 0.0], [0.0, 1.03, 0.0]]), torch.tensor([[1 / 0.96, 0, 0], [0, 1 / 0.96, 0]])
    )
    place = placed([plain, crop], torch.stack([UNMOVED, off]))[1]
    assert place.scale == pytest.approx(1, abs=1e-3)
    assert place.extent == pytest.approx(0.96, abs=0.005)


def test_a_slight_turn_is_another_frame() -> None:
    turned = torch.tensor([[np.cos(0.03), -np.sin(0.03), 0.0], [np.sin(0.03), np.cos(0.03), 0.0]]).float()
    plain = of(PICTURE)
    places = placed([plain, plain, plain], torch.stack([UNMOVED, UNMOVED, turned]))
    assert places[0] == places[1]
    assert places[2].frame != places[0].frame
    assert abs(places[2].angle) == pytest.approx(np.degrees(0.03), abs=0.01)


def test_resized_copies_and_one_picture() -> None:
    plain, small = of(PICTURE), of(PICTURE[::2, ::2])
    places = placed([plain, small], torch.stack([UNMOVED, UNMOVED]))
    assert [one.scale for one in places] == pytest.approx([1, 0.5], abs=1e-3)
    assert placed([plain], UNMOVED[None])[0].scale == pytest.approx(1, abs=1e-3)
