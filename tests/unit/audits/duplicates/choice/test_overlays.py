"""A text or logo is found where a few blocks differ and the rest agrees, and it is known which picture has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import photograph_tensor
from torch import Tensor

from pairsim.audits.duplicates.choice.overlays import Shown, added, in_pixels, overlaid
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.audits.duplicates.matching.registration import frames, moved
from pairsim.audits.duplicates.rates.edits import EDITS
from pairsim.images import PictureLike

NAMES = {edit.name: edit for edit in EDITS}
SAME_FRAME = [
    *("jpeg quality 30", "resized to 50 %", "grey", "brighter x1.4", "darker x0.6", "contrast x1.5", "gamma 0.6"),
    *("warm tint", "sepia", "saturation x1.6", "blurred", "sharpened", "noise"),
]
UNMOVED = torch.eye(2, 3)


def blocks_of(picture: Tensor, copy: Tensor) -> Tensor:
    kept = fingerprint(picture)
    target = frames([kept.grey])
    own, inside = moved(target, target, UNMOVED[None])
    pixels, both = moved(frames([fingerprint(copy).grey]), target, UNMOVED[None])
    return overlaid(kept, own[0], pixels, both * inside)[0]


@pytest.mark.parametrize("name", ["text added", "logo added"])
@pytest.mark.parametrize("seed", range(4))
def test_a_text_or_logo_is_found_where_it_is(name: str, seed: int) -> None:
    picture = photograph_tensor(seed, 320, 320)
    copy = NAMES[name].apply(picture, seed).pixels
    blocks = blocks_of(picture, copy)
    assert blocks.any()
    changed = (copy.int() - picture.int()).abs().amax(dim=0) > 40
    touched = changed.view(8, 40, 8, 40).any(dim=3).any(dim=1).flatten()
    assert not (blocks & ~touched).any()


@pytest.mark.parametrize("name", SAME_FRAME)
def test_other_changes_have_none(name: str) -> None:
    for seed in range(3):
        picture = photograph_tensor(seed, 320, 320)
        assert not blocks_of(picture, NAMES[name].apply(picture, seed).pixels).any(), seed


def test_what_is_different_everywhere_is_no_overlay() -> None:
    assert not blocks_of(photograph_tensor(0, 320, 320), photograph_tensor(1, 320, 320)).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (5, 5)])
def test_tiny_pictures_have_none(size: tuple[int, int]) -> None:
    tiny = torch.full((3, *size), 9, dtype=torch.uint8)
    assert not blocks_of(tiny, tiny).any()


def test_blocks_as_pixels() -> None:
    blocks = torch.zeros(1, 64, dtype=torch.bool)
    blocks[0, 10] = True  # second row, third column
    pixels = in_pixels(blocks)
    assert pixels.shape == (1, 64, 64)
    assert pixels[0, 8:16, 16:24].all()
    assert int(pixels.sum()) == 64


def shown(picture: PictureLike, pixels: Tensor) -> Shown:
    return Shown(picture, fingerprint(pixels))


@pytest.mark.parametrize("name", ["text added", "logo added"])
@pytest.mark.parametrize("seed", range(4))
def test_which_of_two_pictures_has_it(name: str, seed: int) -> None:
    picture = photograph_tensor(seed, 240, 320)
    copy = NAMES[name].apply(picture, seed).pixels
    blocks = blocks_of(picture, copy)
    assert added(shown(picture, picture), shown(copy, copy), UNMOVED, blocks)
    assert not added(shown(copy, copy), shown(picture, picture), UNMOVED, blocks_of(copy, picture))


def test_a_mirrored_copy_is_seen_in_the_frame_of_the_kept_picture() -> None:
    picture = photograph_tensor(3, 240, 320)
    mirrored = NAMES["text added"].apply(picture, 3).pixels.flip(2).contiguous()
    map_ = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    blocks = blocks_of(picture, mirrored.flip(2).contiguous())
    assert added(shown(picture, picture), shown(mirrored, mirrored), map_, blocks)
    assert not added(shown(mirrored, mirrored), shown(picture, picture), map_, blocks.view(8, 8).flip(1).flatten())


def test_files_that_are_gone(tmp_path: Path) -> None:
    picture = photograph_tensor(0, 240, 320)
    gone = shown(str(tmp_path / "gone.png"), picture)
    blocks = torch.from_numpy(np.arange(64) < 4)
    assert added(shown(picture, picture), gone, UNMOVED, blocks)
    assert added(gone, shown(picture, picture), UNMOVED, blocks)
