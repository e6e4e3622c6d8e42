"""Features of blocks are those of all pictures at once, and of chosen ones those of a search for these alone."""

from __future__ import annotations

import numpy as np
import torch
from photographs import photograph, photograph_tensor

from pairsim.audits.duplicates.matching.fingerprints import fingerprint
from pairsim.audits.duplicates.matching.local_features import Features
from pairsim.audits.duplicates.matching.registered_search import chosen_features, described, joined, related, separated
from pairsim.audits.duplicates.matching.registration import frames

PRINTS = [fingerprint(photograph_tensor(seed, 60 + 10 * seed, 100)) for seed in range(5)]


def same(first: Features, second: Features) -> bool:
    assert torch.equal(first.picture, second.picture)
    torch.testing.assert_close(first.place, second.place, atol=1e-4, rtol=0)
    return bool((first.description.int() - second.description.int()).abs().max() <= 1)


def test_features_of_each_picture_do_not_depend_on_the_others() -> None:
    for one, own in zip(PRINTS, separated(described(PRINTS)), strict=True):
        assert same(own, described([one]))


def test_blocks_are_joined_in_order() -> None:
    assert same(joined([described(PRINTS[:2]), described(PRINTS[2:3]), described(PRINTS[3:])]), described(PRINTS))


def test_chosen_pictures_are_numbered_anew() -> None:
    everything = described(PRINTS)
    assert same(chosen_features(everything, [1, 3]), described([PRINTS[1], PRINTS[3]]))
    assert same(chosen_features(everything, [4, 0, 2]), described([PRINTS[4], PRINTS[0], PRINTS[2]]))
    assert same(chosen_features(everything, range(5)), everything)


def test_copies_are_one_family_and_others_none() -> None:
    picture = photograph(9)
    copies = [picture, (picture * 0.7).astype(np.uint8), picture[:, ::-1].copy(), picture[9:, 12:].copy()]
    prints = [fingerprint(torch.from_numpy(one).permute(2, 0, 1).contiguous()) for one in copies]
    everything = [PRINTS[0], *prints, *PRINTS[1:]]
    (family,), relations = related(frames([one.grey for one in everything]), described(everything), progress=False)
    assert family.members == (1, 2, 3, 4)
    assert family.similarity.min() > 0.9
    assert relations == []
    assert related(frames([one.grey for one in PRINTS]), described(PRINTS), progress=False) == ([], [])
