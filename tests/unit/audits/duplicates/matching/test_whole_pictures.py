"""Smooth pictures are proposed though they have few features, and other pictures are not."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from photographs import Pixels, photograph, smooth_photograph
from PIL import Image
from torch import Tensor

from pairsim.audits.duplicates.matching.candidates import matching_features, proposals
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.audits.duplicates.matching.registered_search import described
from pairsim.audits.duplicates.matching.whole_pictures import FEW_FEATURES, alike_as_wholes
from pairsim.audits.duplicates.rates.edits import EDITS


def tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def pairs(pictures: list[Tensor]) -> set[tuple[int, int]]:
    features = described([fingerprint(one) for one in pictures])
    first, second, *_ = alike_as_wholes(features)
    ends = features.picture[first].tolist(), features.picture[second].tolist()
    found = [(min(a, b), max(a, b)) for a, b in zip(*ends, strict=True)]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["brighter x1.4", "contrast x1.5", "text added", "border 5 %", "rotated 2 degrees"])
def test_edits_of_smooth_pictures_are_alike(name: str, seed: int) -> None:
    picture = tensor(smooth_photograph(seed))
    edited = next(edit for edit in EDITS if edit.name == name).apply(picture, seed).pixels
    others = [tensor(smooth_photograph(other)) for other in range(10, 16)]
    assert pairs([picture, edited, *others]) == {(0, 1)}
    found = proposals(matching_features(described([fingerprint(one) for one in (picture, edited)])))
    assert (found.first.tolist(), found.second.tolist()) == ([0], [1])
    torch.testing.assert_close(found.transform[0], torch.eye(2, 3), atol=0.12, rtol=0)


def test_pictures_with_many_features_are_left_to_these() -> None:
    picture = tensor(photograph(0))
    assert len(described([fingerprint(picture)])) > FEW_FEATURES
    assert pairs([picture, picture]) == set()


@pytest.mark.parametrize("orientation", list(product((False, True), repeat=3)))
def test_only_pictures_in_one_orientation_are_alike(orientation: tuple[bool, bool, bool]) -> None:
    transposed, flip_x, flip_y = orientation
    picture = smooth_photograph(5, 160, 160)
    turned = picture.swapaxes(0, 1) if transposed else picture
    turned = turned[:, ::-1] if flip_x else turned
    turned = turned[::-1] if flip_y else turned
    small = np.asarray(Image.fromarray(np.ascontiguousarray(turned)).resize((96, 96)))
    assert pairs([tensor(turned), tensor(small), tensor(smooth_photograph(4))]) == {(0, 1)}
    if any(orientation):
        assert pairs([tensor(picture), tensor(turned)]) == set()
