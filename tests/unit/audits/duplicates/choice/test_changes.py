"""Each edit is named, whatever the picture, and a map is read as its flips, turns and shares."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph, photograph_tensor
from torch import Tensor

from pairsim.audits.duplicates.choice.changes import changes, content_size, geometry, relative
from pairsim.audits.duplicates.choice.file_facts import FileFacts, file_facts
from pairsim.audits.duplicates.matching.affine_maps import inverse
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint, fingerprint
from pairsim.audits.duplicates.matching.registered_search import described, related
from pairsim.audits.duplicates.matching.registration import frames
from pairsim.audits.duplicates.rates.edits import EDITS, Edit
from pairsim.data.named import data_root
from pairsim.images import PictureFile, read_image

SEEN = tuple(edit for edit in EDITS if edit.kind != "identical pixels")


def named(picture: Tensor, edit: Edit, seed: int) -> str:
    copy = edit.apply(picture, seed)
    prints = [fingerprint(picture), fingerprint(copy.pixels)]
    families, _ = related(frames([one.grey for one in prints]), described(prints), progress=False)
    if not families:
        return "not found"
    (family,) = families
    _, height, width = copy.pixels.shape
    file = PictureFile(copy.content, edit.name)
    facts = file_facts(file, (height, width))
    (found,) = changes(prints[0], prints[1:], relative(family.transforms, 0, 1)[None], [facts], [picture, file])
    return found


@pytest.mark.parametrize("edit", SEEN, ids=lambda edit: edit.name)
def test_an_edit_of_a_drawn_photograph_is_named(edit: Edit) -> None:
    for seed, size in enumerate([(180, 240), (320, 240)]):
        found = named(photograph_tensor(seed, *size), edit, seed)
        assert edit.kind in found, (seed, found)
        if edit.kind == "re-encoded":
            assert found == "re-encoded"


NUMBERS = {
    "cropped 10 %": "cropped to 81 %",
    "cropped 20 %": "cropped to 64 %",
    "resized to 50 %": "resized to 50 %",
    "resized to 150 %": "resized to 150 %",
    "rotated 2 degrees": "rotated by 2 degrees",
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_the_edit(name: str) -> None:
    (edit,) = (one for one in EDITS if one.name == name)
    found = named(photograph_tensor(2, 240, 320), edit, 0)
    words = found.split(", ")
    kind, _, number = NUMBERS[name].removesuffix(" %").removesuffix(" degrees").rpartition(" ")
    (same,) = (one for one in words if one.startswith(kind))
    measured = float(same.removesuffix(" %").removesuffix(" degrees").rpartition(" ")[2])
    assert measured == pytest.approx(float(number), abs=2.0)


def photographs() -> list[Path]:
    return sorted((data_root() / "open" / "near-duplicates" / "distractors").glob("*"))


@pytest.mark.slow
@pytest.mark.skipif(not photographs(), reason="needs photographs in open/near-duplicates of $PAIRSIM_DATA")
def test_edits_of_photographs_are_named() -> None:
    paths = photographs()[::29]
    right = {edit.name: 0 for edit in SEEN}
    for seed, path in enumerate(paths):
        picture = read_image(path)
        for edit in SEEN:
            right[edit.name] += edit.kind in named(picture, edit, seed)
    assert len(paths) >= 5
    least = {name: count for name, count in right.items() if count < 0.7 * len(paths)}
    assert least == {}
    assert sum(right.values()) > 0.9 * len(paths) * len(SEEN)


FILE = FileFacts(width=240, height=180)
UNREAD = ["", ""]
"""Files that do not exist: they are read only where a text or logo is found."""


# --- geometry ---


def of(pixels: Pixels) -> Fingerprint:
    return fingerprint(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).contiguous())


def turned(pixels: Pixels, *, mirrored: bool, quarters: int) -> Pixels:
    """Mirror a picture, then turn it clockwise."""
    return np.rot90(pixels[:, ::-1] if mirrored else pixels, -quarters)


def turned_map(*, mirrored: bool, quarters: int) -> Tensor:
    """Places of the turned picture from those of the picture; a clockwise quarter moves (x, y) to (-y, x)."""
    quarter = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), quarters)
    linear = quarter @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return torch.from_numpy(np.column_stack([linear, np.zeros(2)])).float()


WORDS = {
    (False, 0): (),
    (False, 1): ("turned 90 degrees",),
    (False, 2): ("turned 180 degrees",),
    (False, 3): ("turned 270 degrees",),
    (True, 0): ("mirrored",),
    (True, 1): ("mirrored", "turned 90 degrees"),
    (True, 2): ("flipped",),
    (True, 3): ("mirrored", "turned 270 degrees"),
}


@pytest.mark.parametrize(("mirrored", "quarters"), list(product((False, True), range(4))))
def test_eight_orientations(mirrored: bool, quarters: int) -> None:
    picture = photograph(3, 120, 160)
    first, second = of(picture), of(turned(picture, mirrored=mirrored, quarters=quarters))
    map_ = turned_map(mirrored=mirrored, quarters=quarters)
    found = geometry(first, second, map_)
    assert found.orientation == WORDS[mirrored, quarters]
    values = (found.angle, found.shown, found.showing, found.inside, found.around, found.scale, found.stretch)
    assert values == pytest.approx((0, 1, 1, 1, 1, 1, 1), abs=1e-4)
    expected = ", ".join(WORDS[mirrored, quarters]) or "re-encoded"
    assert changes(first, [second], map_[None], [FILE], UNREAD) == [expected]
    # a slight turn besides, clockwise
    slight = torch.tensor([[math.cos(0.05), -math.sin(0.05), 0.0], [math.sin(0.05), math.cos(0.05), 0.0]])
    both = torch.cat([slight[:, :2] @ map_[:, :2], map_[:, 2:]], dim=1)
    found = geometry(first, second, both)
    assert found.orientation == WORDS[mirrored, quarters]
    assert abs(found.angle) == pytest.approx(math.degrees(0.05), abs=1e-3)


def test_shares_of_a_crop() -> None:
    picture = photograph(4, 160, 200)
    first, crop = of(picture), of(picture[40:, :100])
    assert {first.content, crop.content} == {(0.0, 0.0, 1.0, 1.0)}
    # pixels of the crop: 100 + 100 x, 80 + 100 y - 40; its longer side is 120
    map_ = torch.tensor([[100 / 60, 0.0, 50 / 60], [0.0, 100 / 60, -20 / 60]])
    found = geometry(first, crop, map_)
    assert (found.shown, found.showing) == pytest.approx((100 * 120 / (160 * 200), 1.0), abs=1e-4)
    assert (found.inside, found.around) == pytest.approx((100 * 120 / (160 * 200), 1.0), abs=1e-4)
    assert (found.scale, found.stretch) == pytest.approx((1, 1), abs=1e-4)
    back = geometry(crop, first, inverse(map_))
    assert (back.shown, back.showing) == pytest.approx((1.0, 0.375), abs=1e-4)
    assert changes(first, [crop], map_[None], [FILE], UNREAD) == ["cropped to 38 %"]
    assert changes(crop, [first], inverse(map_)[None], [FILE], UNREAD)[0].startswith(
        "shows more, of which the kept one is 38 %"
    )


def test_borders_added_and_removed() -> None:
    picture = photograph(5, 160, 200)
    plain, bordered = of(picture), of(np.pad(picture, ((20, 20), (20, 20), (0, 0))))
    height, width = content_size(bordered)
    assert (height, width) == (158, 198)  # a line beside the border is left out
    map_ = torch.tensor([[200 / 198, 0.0, 0.0], [0.0, 200 / 198, 0.0]])
    assert changes(plain, [bordered], map_[None], [FILE], UNREAD) == ["border added"]
    assert changes(bordered, [plain], inverse(map_)[None], [FILE], UNREAD) == ["border removed"]
    found = geometry(plain, bordered, map_)
    assert found.around == pytest.approx(160 * 200 / (200 * 240), abs=0.01)


def test_resized_and_stretched() -> None:
    first, second, third = of(photograph(6, 160, 200)), of(photograph(6, 80, 100)), of(photograph(6, 160, 160))
    found = geometry(first, second, torch.eye(2, 3))
    assert (found.scale, found.stretch) == pytest.approx((0.5, 1.0), abs=1e-4)
    # the wide picture squeezed to a square: x from [-1, 1] to [-1, 1], y from [-0.8, 0.8] to [-1, 1]
    found = geometry(first, third, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.25, 0.0]]))
    assert found.stretch == pytest.approx(1.25, abs=1e-4)
    assert found.scale == pytest.approx(math.sqrt(0.8 * 1.0), abs=1e-4)


def test_relative_maps() -> None:
    frame_to = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    place = torch.tensor([0.3, -0.2, 1.0])
    first, third = frame_to[0] @ place, frame_to[2] @ place
    found = relative(frame_to, 0, 2) @ torch.cat([first, torch.ones(1)])
    torch.testing.assert_close(found, third, atol=1e-4, rtol=1e-4)


def test_several_copies_and_none() -> None:
    picture = photograph(7)
    kept, darker, grey = of(picture), of((picture * 0.6).astype(np.uint8)), of(picture[:, :, [1, 1, 1]])
    found = changes(kept, [darker, kept, grey], torch.eye(2, 3).repeat(3, 1, 1), [FILE] * 3, [""] * 4)
    assert found == ["brightness or contrast changed", "re-encoded", "grey"]
    assert changes(grey, [kept], torch.eye(2, 3)[None], [FILE], UNREAD) == ["coloured"]
    assert changes(kept, [], torch.zeros(0, 2, 3), [], [""]) == []


def test_a_removed_logo_is_named() -> None:
    (edit,) = (one for one in EDITS if one.name == "logo added")
    picture = photograph_tensor(8, 240, 320)
    with_logo = edit.apply(picture, 0).pixels
    plain, marked = fingerprint(picture), fingerprint(with_logo)
    found = changes(marked, [plain], torch.eye(2, 3)[None], [FILE], [with_logo, picture])
    assert found == ["text or logo removed"]


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (5, 5)])
def test_tiny_pictures_have_a_name(size: tuple[int, int]) -> None:
    tiny = of(np.full((*size, 3), 7, np.uint8))
    assert changes(tiny, [tiny], torch.eye(2, 3)[None], [FILE], UNREAD) == ["re-encoded"]
