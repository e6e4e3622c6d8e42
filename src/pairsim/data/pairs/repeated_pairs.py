"""Warn of pairs that a list has more than once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pairsim._common.numbers import counted

if TYPE_CHECKING:
    from pairsim.data.pairs.pair_dataset import PairDataset


def warn_of_repeats(pairs: PairDataset, names: Sequence[object]) -> None:
    """Warn if given pairs are listed with both targets, or again with the same one, in either order.

    Args:
        pairs: Given pairs.
        names: Name of each image, for the message.
    """
    listed, num_images = pairs.all_pairs(), len(names)
    keys = np.minimum(listed.first, listed.second) * num_images + np.maximum(listed.first, listed.second)
    distinct, number = np.unique(keys, return_inverse=True)
    counts = np.bincount(2 * number + listed.target, minlength=2 * len(distinct)).reshape(-1, 2)
    both, notes = np.flatnonzero(counts.all(axis=1)), []
    if both.size:
        first, second = (names[image] for image in divmod(int(distinct[both[0]]), num_images))
        what = f"{counted(both.size, 'pair')} {'is' if both.size == 1 else 'are'} listed with both targets"
        notes.append(f"{what}, such as {first} and {second}. Keep the right one.")
    again = int((counts - 1).clip(min=0).sum())
    if again:
        what = f"{counted(again, 'repeated pair')} {'counts' if again == 1 else 'count'} each time"
        notes.append(f"{what}. Remove repeats that are not intended.")
    if notes:
        warnings.warn(" ".join(notes), stacklevel=3)
