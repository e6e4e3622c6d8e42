from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim import PairDataset
from pairsim.data import with_random_negatives

FIRST, SECOND, TARGET = [0, 0, 3, 3, 6], [1, 2, 4, 5, 7], [1, 0, 1, 0, 1]
GROUPS = ["v", "v", "w", "w", "x"]


def forgeries(**columns: Any) -> PairDataset:
    """Pictures 0, 1 of v, 3, 4 of w and 6, 7 of x are genuine, 2 and 5 are forged."""
    images = [f"{number}.png" for number in range(8)]
    return PairDataset.from_pairs(images, FIRST, SECOND, TARGET, **{"group": GROUPS, **columns})


@given(seed=st.integers(0, 2**40))
def test_as_many_pairs_of_genuine_pictures_of_two_groups_are_added(seed: int) -> None:
    given_pairs = forgeries(kind=["", "skilled", "", "skilled", ""])
    pairs = with_random_negatives(given_pairs, seed=seed)
    listed, group_of = pairs.all_pairs(), {0: "v", 1: "v", 3: "w", 4: "w", 6: "x", 7: "x"}
    assert (listed.first[:5].tolist(), listed.second[:5].tolist()) == (FIRST, SECOND)
    assert listed.target.tolist() == [*TARGET, 0, 0]
    assert pairs.kind is not None
    assert pairs.group is not None
    assert pairs.kind.tolist() == ["", "skilled", "", "skilled", "", "random", "random"]
    for first, second, group in zip(listed.first[5:], listed.second[5:], pairs.group[5:], strict=True):
        assert group_of[int(first)] == group != group_of[int(second)]


def test_every_pair_of_groups_is_drawn() -> None:
    rng = np.random.default_rng(0)
    groups = [f"w{k // 4}" for k in range(40)]
    pairs = PairDataset.from_pairs(
        range(80), np.arange(40) * 2, np.arange(40) * 2 + 1, (np.arange(40) % 4 == 0).astype(int), group=groups
    )
    added = with_random_negatives(pairs, seed=int(rng.integers(100)))
    assert len(added) == 40 + 30
    assert added.kind is not None
    assert set(added.kind[:40].tolist()) == {"", "same group"}
    assert len(set(added.all_pairs().first[40:].tolist())) > 8


@pytest.mark.parametrize(
    "columns",
    [
        {"group": None},
        {"kind": ["", "skilled", "", "simple", ""]},
        {"kind": ["", "random", "", "random", ""]},
        {"group": ["v", "v", "v", "v", "v"]},
        {"group": ["v", "w", "w", "w", "x"]},
    ],
    ids=["no groups", "two kinds", "random", "one group", "a pair of two groups"],
)
def test_nothing_is_added(columns: dict[str, Any]) -> None:
    pairs = forgeries(**columns)
    assert with_random_negatives(pairs) is pairs
