"""Each edit does to the pixels what its name says, and its file holds the pixels that it returns."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pairsim.audits.duplicates.rates.edits import EDITS, Edit
from pairsim.images import PictureFile, read_image

BY_NAME = {edit.name: edit for edit in EDITS}
KINDS = {
    "identical pixels", "re-encoded", "resized", "cropped", "border added", "rotated", "text or logo added",
    "brightness or contrast changed", "colours changed", "grey", "blurred", "sharpened", "noise added", "mirrored",
    "flipped", "turned 90 degrees", "turned 180 degrees", "turned 270 degrees",
}  # fmt: skip
SMOOTH_LOSS = 6.0
"""By how much JPEG of quality 90 changes samples of the picture below, at most on average."""


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """A smooth picture in colour, 120 wide and 90 high, with samples of 40 to 160."""
    coarse = np.random.default_rng(0).integers(40, 161, (6, 8, 3), dtype=np.uint8)
    fine = Image.fromarray(coarse).resize((120, 90), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(fine)).permute(2, 0, 1).contiguous()


def difference(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().mean())


def edited(name: str, picture: Tensor, seed: int = 0) -> Tensor:
    return BY_NAME[name].apply(picture, seed).pixels


def test_the_edits_have_names_of_their_own_and_known_kinds() -> None:
    assert len(BY_NAME) == len(EDITS) >= 25
    assert {edit.kind for edit in EDITS} == KINDS


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_is_repeatable_and_its_file_holds_its_pixels(edit: Edit, picture: Tensor) -> None:
    before = picture.clone()
    first, again = edit.apply(picture, 3), edit.apply(picture, 3)
    assert torch.equal(picture, before)
    assert first.content == again.content
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.pixels, read_image(PictureFile(first.content)))
    with Image.open(io.BytesIO(first.content)) as image:
        assert (image.format, image.mode) == ({".jpg": "JPEG", ".png": "PNG"}[first.suffix], "RGB")
    assert torch.equal(first.pixels, picture) == (edit.name == "png copy")


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_the_smallest_picture_can_be_edited(edit: Edit) -> None:
    found = edit.apply(torch.full((3, 1, 1), 100, dtype=torch.uint8)).pixels
    assert found.dtype == torch.uint8
    assert found.shape[0] == 3


@pytest.mark.parametrize("name", ["noise", "text added", "logo added", "cropped 20 %"])
def test_the_seed_changes_what_is_random(name: str, picture: Tensor) -> None:
    assert not torch.equal(edited(name, picture, 0), edited(name, picture, 1))


@pytest.mark.parametrize(
    ("name", "turned"),
    [
        ("mirrored", lambda x: x.flip(2)),
        ("mirrored, jpeg quality 50", lambda x: x.flip(2)),
        ("flipped", lambda x: x.flip(1)),
        ("turned 90 degrees", lambda x: torch.rot90(x, -1, (1, 2))),
        ("turned 180 degrees", lambda x: torch.rot90(x, 2, (1, 2))),
        ("turned 270 degrees", lambda x: torch.rot90(x, 1, (1, 2))),
    ],
)
def test_orientations(name: str, turned: object, picture: Tensor) -> None:
    assert callable(turned)
    assert difference(edited(name, picture), turned(picture)) < SMOOTH_LOSS


def test_a_quarter_turn_is_clockwise() -> None:
    corner = torch.zeros(3, 32, 64, dtype=torch.uint8)
    corner[:, :16, :16] = 255  # upper left
    found = edited("turned 90 degrees", corner)
    assert found.shape == (3, 64, 32)
    assert found[:, :16, 16:].double().mean() > 200  # upper right


@pytest.mark.parametrize(
    ("name", "size"), [("resized to 50 %", (45, 60)), ("resized to 30 %", (27, 36)), ("resized to 150 %", (135, 180))]
)
def test_resized(name: str, size: tuple[int, int], picture: Tensor) -> None:
    expected = torch.nn.functional.interpolate(picture[None].double(), size, mode="bilinear", antialias=True)[0]
    assert difference(edited(name, picture), expected) < SMOOTH_LOSS


@pytest.mark.parametrize(("name", "size"), [("cropped 5 %", (86, 114)), ("cropped 10 %", (81, 108))])
@pytest.mark.parametrize("seed", range(3))
def test_a_crop_is_a_part(name: str, size: tuple[int, int], seed: int, picture: Tensor) -> None:
    found = edited(name, picture, seed)
    assert found.shape[1:] == size
    assert smallest_difference(found, picture) < SMOOTH_LOSS


def test_crops_are_anywhere(picture: Tensor) -> None:
    rows, columns = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    place = torch.stack([rows, columns, rows]).to(torch.uint8)
    corners = [edited("cropped 20 %", place, seed)[:2, 80, 80].double() - 80 for seed in range(40)]
    found = torch.stack(corners)
    assert found.min() < 10
    assert found.max() > 30
    assert (found[:, 0] - found[:, 1]).abs().max() > 15  # not along the diagonal


def smallest_difference(part: Tensor, whole: Tensor) -> float:
    _, height, width = part.shape
    return min(
        difference(part, whole[:, top : top + height, left : left + width])
        for top in range(whole.shape[1] - height + 1)
        for left in range(whole.shape[2] - width + 1)
    )


def test_borders_are_outside(picture: Tensor) -> None:
    bordered, boxed = edited("border 5 %", picture), edited("letterbox", picture)
    assert bordered.shape == (3, 98, 128)
    assert difference(bordered[:, 4:-4, 4:-4], picture) < SMOOTH_LOSS
    assert float(bordered[:, 0].double().std()) < 3
    assert boxed.shape == (3, 112, 120)
    assert difference(boxed[:, 11:-11], picture) < SMOOTH_LOSS
    assert boxed[:, :8].double().mean() < 5
    assert boxed[:, -8:].double().mean() < 5


def test_tones_and_colours(picture: Tensor) -> None:
    exact = picture.double()
    assert difference(edited("brighter x1.4", picture), (exact * 1.4).clamp(0, 255)) < SMOOTH_LOSS
    assert difference(edited("darker x0.6", picture), exact * 0.6) < SMOOTH_LOSS
    assert difference(edited("gamma 0.6", picture), 255 * (exact / 255) ** 0.6) < SMOOTH_LOSS
    assert difference(edited("warm tint", picture), exact * torch.tensor([1.2, 1.0, 0.8]).view(3, 1, 1)) < SMOOTH_LOSS
    assert edited("contrast x1.5", picture).double().std() > 1.3 * exact.std()
    luma = (exact * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=0, keepdim=True)
    assert difference(edited("grey", picture), luma.expand_as(exact)) < SMOOTH_LOSS
    assert difference(edited("saturation x1.6", picture), (luma + 1.6 * (exact - luma)).clamp(0, 255)) < SMOOTH_LOSS
    red, green, blue = edited("sepia", picture).double().mean(dim=(1, 2)).tolist()
    assert red > green > blue


def test_detail(picture: Tensor) -> None:
    rough = (picture.double() + 25 * (torch.arange(120) // 4 % 2)).to(torch.uint8)  # stripes of 4 pixels

    def roughness(pixels: Tensor) -> float:
        return float(pixels.double().diff(dim=2).square().mean())

    assert roughness(edited("blurred", rough)) < 0.8 * roughness(rough) < roughness(edited("sharpened", rough))
    noise = edited("noise", picture).double() - edited("jpeg quality 80", picture).double()
    assert 8 < float(noise[1].std()) < 14
    sizes = [len(BY_NAME[f"jpeg quality {quality}"].apply(rough).content) for quality in (80, 30, 10)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["text added", "logo added"])
def test_what_is_added_covers_a_part(name: str, picture: Tensor) -> None:
    changed = (edited(name, picture).double() - picture.double()).abs().amax(dim=0) > 40
    assert 0.01 < float(changed.double().mean()) < 0.3


def test_a_rotation_keeps_the_frame(picture: Tensor) -> None:
    found = edited("rotated 2 degrees", picture)
    assert found.shape == picture.shape
    assert found[:, 0, 0].max() < 40  # a corner that it uncovers
    assert 1 < difference(found[:, 10:-10, 10:-10], picture[:, 10:-10, 10:-10]) < 20
