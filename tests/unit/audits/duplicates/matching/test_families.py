"""Copies in one family are similar, and other views of the same things are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph
from PIL import Image

from pairsim.audits.duplicates.matching.affine_maps import composed, inverse
from pairsim.audits.duplicates.matching.candidates import Proposals
from pairsim.audits.duplicates.matching.families import RELATED, Family, families
from pairsim.audits.duplicates.matching.registration import Frames, frames


def greys(pictures: list[Pixels]) -> Frames:
    """Reduce pictures of at most 512 by 8."""
    return frames([np.asarray(Image.fromarray(one).convert("L").reduce(8)) for one in pictures])


def proposed(pairs: list[tuple[int, int, list[list[float]]]]) -> Proposals:
    first, second, maps = zip(*pairs, strict=True)
    return Proposals(torch.tensor(first), torch.tensor(second), torch.full((len(pairs),), 3), torch.tensor(maps))


def transformed(picture: Pixels, linear: list[list[float]]) -> Pixels:
    """Move a picture about its centre, and cut out the middle, so that no corner is empty."""
    centre = np.array([picture.shape[1], picture.shape[0]]) / 2
    shift = centre - np.array(linear) @ centre
    data = (*linear[0], shift[0], *linear[1], shift[1])
    image = Image.fromarray(picture)
    moved = image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC)
    return np.asarray(moved)[32:-32, 40:-40]


SAME = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
MIRRORED = [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def pair(first: Pixels, second: Pixels, start: list[list[float]]) -> Family:
    (found,), related = families(greys([first, second]), proposed([(0, 1, start)]), progress=False)
    assert found.members == (0, 1)
    assert related == []
    for matrix in (found.similarity, found.likeness):
        assert np.array_equal(matrix, matrix.T)
        assert matrix.min() >= 0
        assert matrix.max() <= 1
    return found


SKEWED = [[1.0, 0.1], [0.0, 1.0]]
TILTED = [[math.cos(0.15), -math.sin(0.15)], [math.sin(0.15), math.cos(0.15)]]


@pytest.mark.parametrize("linear", [SKEWED, TILTED], ids=["skewed", "tilted"])
@pytest.mark.parametrize("start", [SAME, MIRRORED], ids=["upright", "mirrored"])
def test_skewed_and_tilted_pictures_are_alike_but_no_copies(
    linear: list[list[float]], start: list[list[float]]
) -> None:
    picture = photograph(0, 448, 592)
    second = transformed(picture, linear)
    if start is MIRRORED:
        second = second[:, ::-1]
    joined, related = families(greys([picture[32:-32, 40:-40], second]), proposed([(0, 1, start)]), progress=False)
    assert joined == []
    ((first, other, correlation),) = related
    assert (first, other) == (0, 1)
    assert correlation >= RELATED


@pytest.mark.parametrize(
    "linear", [[[1.0, 0.01], [0.0, 1.0]], [[0.9994, -0.035], [0.035, 0.9994]], [[1.05, 0], [0, 1]]]
)
def test_copies_may_be_rotated_or_stretched_a_little(linear: list[list[float]]) -> None:
    picture = photograph(1, 448, 592)
    assert pair(picture[32:-32, 40:-40], transformed(picture, linear), SAME).similarity[0, 1] > 0.9


ROTATED = [[0.9994, -0.035], [0.035, 0.9994]]


@pytest.mark.parametrize("quarters", range(4))
def test_rotated_copies_and_mirrored_or_turned_ones_are_copies_of_each_other(quarters: int) -> None:
    """The slight turn of one is a slight turn in the frame of each orientation, and no skew."""
    picture = photograph(1, 448, 592)
    rotated, plain = transformed(picture, ROTATED), picture[32:-32, 40:-40]
    start = torch.tensor(MIRRORED)
    for _ in range(quarters):
        start = composed(torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]), start)
    mirrored = np.ascontiguousarray(np.rot90(plain[:, ::-1], -quarters))
    assert pair(rotated, mirrored, start.tolist()).similarity[0, 1] > 0.9


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_mirrored_and_turned_pictures_are_copies(mirrored: bool, quarters: int) -> None:
    picture = photograph(2, 384, 512)
    copy = np.rot90(picture[:, ::-1] if mirrored else picture, -quarters)
    start = torch.tensor(MIRRORED if mirrored else SAME)
    for _ in range(quarters):
        # a clockwise quarter moves (x, y) to (-y, x)
        start = composed(torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]), start)
    found = pair(picture, np.ascontiguousarray(copy), start.tolist())
    assert found.similarity[0, 1] > 0.98
    between = composed(found.transforms[1], inverse(found.transforms[0]))
    torch.testing.assert_close(between, start, atol=0.02, rtol=0)


def test_three_pictures_are_compared_in_one_frame() -> None:
    """Two crops that were only registered with the whole picture are compared with each other, too."""
    picture = photograph(3, 384, 512)
    left, right = picture[:, :416], picture[:, 96:]
    noise = np.random.default_rng(0).integers(0, 256, (384, 512, 3), dtype=np.uint8)
    scale, shift = 512 / 416, 48 / 208  # from the whole to a crop
    to_left, to_right = ([[scale, 0.0, x], [0.0, scale, 0.0]] for x in (shift, -shift))
    pictures = greys([left, noise, picture, right])
    from_left = inverse(torch.tensor(to_left)).tolist()
    (found,), related = families(
        pictures, proposed([(0, 2, from_left), (2, 3, to_right), (1, 2, SAME)]), progress=False
    )
    assert found.members == (0, 2, 3)
    assert related == []
    assert found.similarity.min() > 0.9
    maps = found.transforms
    torch.testing.assert_close(composed(maps[0], inverse(maps[1])), torch.tensor(to_left), atol=0.03, rtol=0)
    torch.testing.assert_close(composed(maps[2], inverse(maps[1])), torch.tensor(to_right), atol=0.03, rtol=0)


def test_families_and_others() -> None:
    pictures = [photograph(seed, 384, 512) for seed in range(4)]
    brighter = [(one * 0.8 + 40).astype(np.uint8) for one in pictures]
    everything = greys([*pictures, *brighter])
    pairs = [(k, k + 4, SAME) for k in range(4)] + [(a, b, SAME) for a in range(4) for b in range(4) if a < b]
    found, _ = families(everything, proposed(pairs), progress=False)
    assert [family.members for family in found] == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert all(family.similarity[0, 1] > 0.98 for family in found)


def test_a_wrong_proposal_does_not_hide_a_right_one() -> None:
    picture = photograph(4, 384, 512)
    wrong = [[1.0, 0.0, 0.4], [0.0, 1.0, 0.3]]
    found, _ = families(greys([picture, picture]), proposed([(0, 1, wrong), (0, 1, SAME)]), progress=False)
    assert len(found) == 1


def test_nothing_proposed() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    empty = Proposals(none, none, none, torch.zeros(0, 2, 3))
    assert families(greys([photograph(5, 64, 64)]), empty, progress=False) == ([], [])
    assert families(frames([]), empty, progress=False) == ([], [])
