"""All eight orientations of a picture are proposed with the right map, and votes are those of brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from photographs import Pixels, photograph
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.candidates import (
    MIN_SUPPORT,
    Matches,
    matching_features,
    proposals,
)
from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.audits.duplicates.matching.local_features import Features
from pairsim.audits.duplicates.matching.orientations import orientation_matrices
from pairsim.audits.duplicates.matching.registered_search import described

ORIENTATIONS = [(a, b, c) for a, b, c in product((False, True), repeat=3)]


def turned(pixels: Pixels, orientation: tuple[bool, bool, bool]) -> Pixels:
    """Transpose a picture, then exchange left and right, then top and bottom."""
    transposed, flip_x, flip_y = orientation
    pixels = pixels.swapaxes(0, 1) if transposed else pixels
    pixels = pixels[:, ::-1] if flip_x else pixels
    return np.ascontiguousarray(pixels[::-1] if flip_y else pixels)


def features_of(pictures: list[Pixels]) -> Features:
    return described([fingerprint(torch.from_numpy(one).permute(2, 0, 1).contiguous()) for one in pictures])


def test_eight_orientations_are_found_with_their_maps() -> None:
    picture = photograph(0, 180, 240)
    matches = matching_features(features_of([turned(picture, one) for one in ORIENTATIONS]))
    assert (matches.first < matches.second).all()
    found = proposals(matches)
    both = zip(found.first.tolist(), found.second.tolist(), strict=True)
    pairs = dict(zip(both, found.transform, strict=True))
    assert len(pairs) == len(found.first) == 28
    assert found.support.min() >= 5
    assert found.support.tolist() == sorted(found.support.tolist(), reverse=True)
    to_plain = orientation_matrices(torch.tensor(ORIENTATIONS))
    for (a, b), transform in pairs.items():
        exact = torch.linalg.inv(to_plain[b]) @ to_plain[a]
        torch.testing.assert_close(transform[:, :2], exact, atol=0.12, rtol=0)
        assert transform[:, 2].abs().max() < 0.06


def test_crops_and_resized_copies_have_their_maps() -> None:
    picture = photograph(1, 180, 240)
    crop = np.ascontiguousarray(picture[20:150, 30:220])
    found = proposals(matching_features(features_of([picture, crop, photograph(2), photograph(3)])))
    assert (int(found.first[0]), int(found.second[0])) == (0, 1)
    # x of the crop: ((120 + 120 x) - 30 - 95) / 95
    exact = torch.tensor([[120 / 95, 0.0, -5 / 95], [0.0, 120 / 95, 5 / 95]])
    torch.testing.assert_close(found.transform[0], exact, atol=0.12, rtol=0)


def test_what_is_alike_and_sorted() -> None:
    matches = matching_features(features_of([photograph(seed) for seed in (4, 5, 4, 6, 4)]))
    order = list(zip(matches.first.tolist(), matches.second.tolist(), (~matches.whole).tolist(), strict=True))
    assert order == sorted(order)
    assert matches.likeness.min() >= 0.8
    assert matches.likeness.max() <= 1.03  # descriptions are rounded
    found = proposals(matches)
    assert {(0, 2), (0, 4), (2, 4)} == set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    for transform in found.transform:
        torch.testing.assert_close(transform, torch.eye(2, 3), atol=1e-3, rtol=0)


def test_twelve_matches_of_a_pair_are_kept_and_these_are_the_best() -> None:
    matches = matching_features(features_of([photograph(4), photograph(4)]))
    assert matches.whole.tolist() == [True] * 2 + [False] * 10  # each was looked up
    others = matches.likeness[2:].tolist()
    assert others == sorted(others, reverse=True)
    assert others[-1] > 0.97  # of equal features


def test_thousands_of_equal_features_stay_connected() -> None:
    """A crowded key is not compared pair by pair, but no picture is left alone."""
    one = features_of([photograph(7, 60, 60)])
    count = 100
    many = Features(
        torch.arange(count).repeat_interleave(len(one)),
        one.place.repeat(count, 1, 1),
        one.orientation.repeat(count, 1),
        one.description.repeat(count, 1),
    )
    matches = matching_features(many)
    pairs = np.eye(count, dtype=bool)
    pairs[matches.first.numpy(), matches.second.numpy()] = True
    pairs |= pairs.T
    assert pairs.mean() < 0.9  # not all
    assert np.linalg.matrix_power(pairs.astype(float), count)[0].all()


def votes(maps: Float64Array, centres: Float64Array) -> list[int]:
    """For each map, in how many matches another map is near it, by the definition."""
    found = []
    for map_ in maps:
        agreeing = 0
        for other, centre in zip(maps, centres, strict=True):
            ends = [one[:, :2] @ centre + one[:, 2] for one in (map_, other)]
            turn = np.linalg.norm(map_[:, :2] - other[:, :2]) / np.linalg.norm(map_[:, :2])
            agreeing += bool(np.linalg.norm(ends[0] - ends[1]) < 0.12 and turn < 0.35)
        found.append(agreeing)
    return found


def matches_of(maps: list[Tensor], whole: bool = False) -> Matches:
    """Matches of pairs (0, 1), (0, 2), ...: `[m, 2, 3]` of each."""
    counts = torch.tensor([len(one) for one in maps])
    second = torch.repeat_interleave(torch.arange(len(maps)) + 1, counts)
    total = int(counts.sum())
    generator = torch.Generator().manual_seed(0)
    return Matches(
        first=torch.zeros(total, dtype=torch.int64),
        second=second,
        likeness=torch.full((total,), 0.9),
        whole=torch.full((total,), whole),
        centre=torch.rand(total, 2, generator=generator) * 2 - 1,
        transform=torch.cat(maps),
    )


def test_votes_are_those_of_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = []
    for count in (1, 2, 3, 5, 8, 12) * 12:
        exact = torch.eye(2, 3) + 0.1 * torch.randn(count, 2, 3, generator=generator)
        wrong = torch.rand(count, generator=generator) < 0.4
        maps.append(torch.where(wrong[:, None, None], torch.randn(count, 2, 3, generator=generator), exact))
    matches = matches_of(maps)
    found = proposals(matches)
    expected = {}
    for number, own in enumerate(maps):
        rows = (matches.second == number + 1).nonzero()[:, 0]
        counted = votes(own.double().numpy(), matches.centre[rows].double().numpy())
        if max(counted) >= MIN_SUPPORT:
            expected[number + 1] = (max(counted), own[int(np.argmax(counted))])
    assert len(found.first) == len(expected) > 10
    for second, support, transform in zip(found.second.tolist(), found.support.tolist(), found.transform, strict=True):
        assert support == expected[second][0]
        assert torch.equal(transform, expected[second][1])


def test_one_match_is_enough_only_between_wholes() -> None:
    single = [torch.eye(2, 3)[None]]
    assert len(proposals(matches_of(single)).first) == 0
    found = proposals(matches_of(single, whole=True))
    assert (found.first.tolist(), found.second.tolist(), found.support.tolist()) == ([0], [1], [1])


def test_nothing_to_match() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    empty = Features(
        none, torch.zeros(0, 2, 3), torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0, 44, dtype=torch.int8)
    )
    alone = features_of([photograph(8)])
    for features in (empty, alone):
        matches = matching_features(features)
        assert len(matches.first) == 0
        found = proposals(matches)
        assert (len(found.first), found.transform.shape) == (0, (0, 2, 3))
