from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim import PairDataset
from pairsim.data import split_pairs
from pairsim.data.pairs.pair_splits import groups_of_images
from pairsim.errors import DataError

Row = tuple[int, int, int, str]


def listed(rows: Sequence[Row], *, groups: bool = True) -> PairDataset:
    first, second, target, group = (list(column) for column in zip(*rows, strict=True))
    images = [f"{number}.png" for number in range(max(*first, *second) + 1)]
    return PairDataset.from_pairs(images, first, second, target, group=group if groups else None)


def writers(count: int, *, genuine: int = 4, forged: int = 2, linked: int = 0) -> list[Row]:
    """Genuine and forged signatures of writers, and some pairs of two writers."""
    size, rows = genuine + forged, list[Row]()
    for writer in range(count):
        own = range(writer * size, writer * size + genuine)
        false = range(writer * size + genuine, (writer + 1) * size)
        rows += [(a, b, 1, f"w{writer}") for a, b in combinations(own, 2)]
        rows += [(a, b, 0, f"w{writer}") for a in own for b in false]
    rows += [(k % count * size, (k + 1) % count * size + 1, 0, f"w{k % count}") for k in range(linked)]
    return rows


def keys(pairs: PairDataset) -> list[tuple[int, int]]:
    found = pairs.all_pairs()
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True))


def pictures(pairs: PairDataset) -> set[int]:
    return {number for pair in keys(pairs) for number in pair}


@given(
    count=st.integers(4, 12), linked=st.integers(0, 12), groups=st.booleans(), seed=st.integers(0, 9),
    fraction=st.sampled_from([0.1, 0.25, 0.5]),
)  # fmt: skip
def test_no_picture_is_on_both_sides_and_only_linked_pairs_are_dropped(
    count: int, linked: int, groups: bool, seed: int, fraction: float
) -> None:
    rows = writers(count, linked=linked)
    split = split_pairs(listed(rows, groups=groups), fraction, seed=seed)
    assert split.val is not None
    assert not pictures(split.train) & pictures(split.val)
    kept = set(keys(split.train)) | set(keys(split.val))
    if groups:
        within = {(a, b) for a, b, *_ in rows[: len(rows) - linked]}
        assert within <= kept
    positives = sum(int(part.all_pairs().target.sum()) for part in (split.train, split.val))
    assert positives == sum(target for _, _, target, _ in rows)
    assert split.val.all_pairs().target.sum() >= fraction * positives - 1e-9
    dropped = len(rows) - len(split.train) - len(split.val)
    assert (f"; {dropped:,} pairs of two pictures on different sides were dropped." in split.note) is (dropped > 0)


def test_columns_stay_with_their_pairs() -> None:
    pairs = listed(writers(6))
    kinds = ["" if target else "skilled" for target in pairs.all_pairs().target]
    assert pairs.group is not None
    listing = pairs.all_pairs()
    pairs = PairDataset.from_pairs(
        pairs.dataset, listing.first, listing.second, listing.target, kind=kinds, group=pairs.group
    )
    split = split_pairs(pairs, 0.3)
    assert split.val is not None
    for part in (split.train, split.val):
        found = part.all_pairs()
        assert part.group is not None
        assert part.kind is not None
        assert part.group.tolist() == [f"w{number // 6}" for number in found.first]
        assert part.kind.tolist() == ["" if target else "skilled" for target in found.target]
        assert part.dataset is pairs.dataset
    assert split.note.endswith("pairs as validation data, by group.")
    assert keys(split_pairs(pairs, 0.3).train) == keys(split.train)
    assert keys(split_pairs(pairs, 0.3, seed=5).train) != keys(split.train)


def test_pairs_that_cannot_be_separated_are_split_at_random() -> None:
    chain = [(k, k + 1, 1, "v") for k in range(20)] + [(k, k + 2, 0, "v") for k in range(10)]
    split = split_pairs(listed(chain, groups=False), 0.2)
    assert split.val is not None
    assert "at random: pictures are on both sides" in split.note
    assert np.bincount(split.val.all_pairs().target).tolist() == [2, 4]
    assert sorted(keys(split.train) + keys(split.val)) == sorted((a, b) for a, b, *_ in chain)


def test_too_few_pairs() -> None:
    pairs = listed([(0, 1, 1, "v"), (1, 2, 0, "v"), (2, 3, 0, "v")])
    split = split_pairs(pairs, 0.5)
    assert split.train is pairs
    assert split.val is None
    assert split.note.startswith("Too few pairs")


def test_groups_of_images_are_those_of_their_positive_pairs() -> None:
    rows = [(0, 1, 1, "v"), (2, 3, 1, "w"), (0, 4, 0, "v"), (0, 2, 0, "v"), (1, 5, 0, "v"), (2, 5, 0, "w")]
    assert groups_of_images(listed(rows)).tolist() == [0, 0, 1, 1, 0, -1]


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"fraction to hold out to be in \(0, 1\), got 1.5"):
        split_pairs(listed(writers(2)), 1.5)
    drawn = PairDataset([("a", 0), ("b", 0), ("c", 1)])
    with pytest.raises(DataError, match="Expected given pairs to split, got pairs that are drawn from labels"):
        split_pairs(drawn, 0.5)
