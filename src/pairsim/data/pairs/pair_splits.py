"""Split given pairs into pairs for training and pairs for validation, so that no picture is on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pairsim.data.pairs.pair_dataset import PairDataset
from pairsim.data.pairs.pair_lists import connected
from pairsim.data.random import Int64Array, random_bits, stream_key
from pairsim.errors import DataError

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PairSplit:
    """The result of `split_pairs`.

    Attributes:
        train: Pairs to train on.
        val: Pairs for validation; `None` if there are too few.
        note: One line on how they were split and what was dropped.
    """

    train: PairDataset
    val: PairDataset | None
    note: str


def split_pairs(pairs: PairDataset, fraction: float, *, seed: int = 0) -> PairSplit:
    """Hold out a share of given pairs for validation.

    Pairs with groups are split by group. Without groups, pairs that are linked by a common picture stay together; where
    that would link most of them, only positive pairs link, and a picture without one goes with most of its partners.
    Pairs of two pictures on different sides are dropped.
    If nothing can be held out in this way, pairs are held out at random, and a picture may be on both sides.

    Args:
        pairs: Given pairs (`PairDataset.from_pairs`, `PairDataset.from_csv`).
        fraction: Share of the positive pairs to hold out, in (0, 1), reached or just exceeded.
        seed: Any whole number.

    Returns:
        Both parts, and a note.

    Raises:
        DataError: If the pairs are drawn from labels; such pairs are drawn from split images instead.
        ValueError: If `fraction` is not in (0, 1).

    Example:
        >>> from pairsim.data import PairDataset
        >>> images = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png", "g.png", "h.png"]
        >>> first, second, target = [0, 0, 2, 4, 4, 6], [1, 2, 3, 5, 6, 7], [1, 0, 1, 1, 0, 1]
        >>> pairs = PairDataset.from_pairs(images, first, second, target, group=list("vvvwww"))
        >>> split = split_pairs(pairs, 0.5)
        >>> len(split.train), len(split.val)
        (3, 3)
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"Expected the fraction to hold out to be in (0, 1), got {fraction}.")
    if not pairs.is_fixed_list:
        raise DataError(
            "Expected given pairs to split, got pairs that are drawn from labels. Split the images instead, with "
            "stratified_split."
        )
    listed = pairs.all_pairs()
    num_positive = int(listed.target.sum())
    if min(num_positive, len(listed) - num_positive) < 2:
        note = "Too few pairs to split off validation data: the model of the last epoch counts as the best."
        return PairSplit(pairs, None, note)
    positive = listed.target == 1
    images, inverse = np.unique(np.concatenate((listed.first, listed.second)), return_inverse=True)
    first, second = inverse.astype(np.int64).reshape(2, -1)
    ways: list[tuple[str, Int64Array]] = []
    if pairs.group is not None:
        groups = groups_of_images(pairs)[images]
        alone = groups < 0  # each such image is a unit of its own
        groups[alone] = groups.max(initial=-1) + 1 + np.arange(np.count_nonzero(alone))
        ways.append(("by group", groups))
    else:
        how = "so that no picture is on both sides"
        linked = _components(first, second, len(images))
        if np.bincount(linked[first]).max() <= len(first) / 2:
            ways.append((how, linked))
        alike = _components(first[positive], second[positive], len(images))
        alone = ~np.isin(np.arange(len(images)), np.concatenate((first[positive], second[positive])))
        ways.append((how, _with_partners(alike, alone, first, second)))
    for how, units in ways:
        held = _held(units, first[positive], fraction, seed)[units]
        train, val = ~held[first] & ~held[second], held[first] & held[second]
        if _has_both(positive, train) and _has_both(positive, val):
            dropped = len(listed) - int(train.sum()) - int(val.sum())
            note = f"Split off {int(val.sum()):,} of {len(listed):,} pairs as validation data, {how}."
            if dropped:
                note = f"{note[:-1]}; {dropped:,} pairs of two pictures on different sides were dropped."
            return PairSplit(chosen_pairs(pairs, train), chosen_pairs(pairs, val), note)
    val = np.zeros(len(listed), dtype=np.bool_)
    keys = random_bits(stream_key("validation-pairs", seed), np.arange(len(listed)))
    for target in (positive, ~positive):
        numbers = np.flatnonzero(target)
        size = min(max(round(fraction * len(numbers)), 1), len(numbers) - 1)
        val[numbers[np.argsort(keys[numbers], kind="stable")[:size]]] = True
    note = (
        f"Split off {int(val.sum()):,} of {len(listed):,} pairs as validation data, at random: pictures are on both "
        "sides, as no other split leaves both kinds of pairs. Results on them will look better than on other pictures."
    )
    return PairSplit(chosen_pairs(pairs, ~val), chosen_pairs(pairs, val), note)


def groups_of_images(pairs: PairDataset) -> Int64Array:
    """Return the group of each image of a dataset: that of its positive pairs, or else the only one of its pairs.

    Args:
        pairs: Given pairs with groups.

    Returns:
        Number of the group among the sorted ones `[N]`, -1 for images whose group is not known.
    """
    assert pairs.group is not None
    listed = pairs.all_pairs()
    codes = np.unique(pairs.group, return_inverse=True)[1].astype(np.int64)
    found = np.full(len(pairs.dataset), -1, dtype=np.int64)
    seen = np.zeros(len(found), dtype=np.bool_)
    for chosen in (listed.target == 1, np.ones(len(listed), dtype=np.bool_)):
        ends = np.concatenate((listed.first[chosen], listed.second[chosen]))
        lowest, highest = np.full(len(found), codes.max() + 1), np.full(len(found), -1)
        np.minimum.at(lowest, ends, np.tile(codes[chosen], 2))
        np.maximum.at(highest, ends, np.tile(codes[chosen], 2))
        one = ~seen & (lowest == highest)
        found[one] = lowest[one]
        seen[ends] = True
    return found


def chosen_pairs(pairs: PairDataset, chosen: BoolArray) -> PairDataset:
    """Return some given pairs, of the same dataset."""
    listed = pairs.pairs_at(np.flatnonzero(chosen))
    kind, group = (None if text is None else text[chosen] for text in (pairs.kind, pairs.group))
    return PairDataset.from_pairs(pairs.dataset, listed.first, listed.second, listed.target, kind=kind, group=group)


def _components(first: Int64Array, second: Int64Array, num_images: int) -> Int64Array:
    """Return the group of linked images that each image is in."""
    units = np.arange(num_images) + num_images  # those without a link
    if len(first):
        group = connected(first, second)
        units[first], units[second] = group, group
    return np.unique(units, return_inverse=True)[1].astype(np.int64)


def _with_partners(units: Int64Array, alone: BoolArray, first: Int64Array, second: Int64Array) -> Int64Array:
    """Put each image that is alone in its unit into that of most of its partners that are not, such as a forgery."""
    joined = units.copy()
    images, partners = np.concatenate((first, second)), np.concatenate((second, first))
    useful = alone[images] & ~alone[partners]
    links, counts = np.unique(np.stack((images[useful], units[partners[useful]])), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")  # the last assignment counts
    joined[links[0, order]] = links[1, order]
    return joined


def _held(units: Int64Array, positive_images: Int64Array, fraction: float, seed: int) -> BoolArray:
    """Choose units until they have a share of the positive pairs; of units without one, that share."""
    num_units = int(units.max()) + 1
    counts = np.bincount(units[positive_images], minlength=num_units)
    keys = random_bits(stream_key("validation-units", seed), np.arange(num_units))
    held: BoolArray = (counts == 0) & (keys < np.uint64(fraction * 2**64))
    wanted, filled = fraction * counts.sum(), 0
    most = max(2 * wanted, counts[counts > 0].min())  # no large unit where smaller ones do
    for unit in np.argsort(keys, kind="stable").tolist():
        if filled < wanted and counts[unit] > 0 and filled + counts[unit] <= most:
            held[unit] = True
            filled += int(counts[unit])
    return held


def _has_both(positive: BoolArray, chosen: BoolArray) -> bool:
    return bool((positive & chosen).any() and (~positive & chosen).any())
