"""Add random negative pairs to given pairs whose negatives are all of one kind."""

from __future__ import annotations

import numpy as np

from pairsim.data.class_index import ClassIndex
from pairsim.data.pairs.pair_dataset import PairDataset
from pairsim.data.pairs.pair_sampler import PairSampler
from pairsim.data.pairs.pair_splits import groups_of_images

RANDOM = "random"
_WITHIN = "same group"


def with_random_negatives(pairs: PairDataset, *, seed: int = 0) -> PairDataset:
    """Add as many random negative pairs as there are negative pairs, if all of these are within groups.

    A model that is trained on forgeries alone has not learned to tell two writers apart. Where the negative pairs are
    of one kind and no pair joins two groups, pairs of pictures of two different groups are added, of the kind "random".
    Both pictures are from positive pairs, such as genuine signatures.

    Args:
        pairs: Given pairs with groups. Two pictures of different groups must never show the same thing.
        seed: Any whole number; the pairs depend on it.

    Returns:
        The pairs with the added ones at the end, or `pairs` itself if there is nothing to add: without groups, with
        pairs between groups, with several kinds of negative pairs, or with positive pairs in fewer than two groups.

    Example:
        >>> from pairsim.data import PairDataset
        >>> images = ["a1.png", "a2.png", "a_forged.png", "b1.png", "b2.png"]
        >>> pairs = PairDataset.from_pairs(images, [0, 0, 3], [1, 2, 4], [1, 0, 1], group=["a", "a", "b"])
        >>> with_random_negatives(pairs).kind.tolist()
        ['', 'same group', '', 'random']
    """
    if pairs.group is None:
        return pairs
    listed = pairs.all_pairs()
    negative = listed.target == 0
    kinds = set() if pairs.kind is None else set(pairs.kind[negative].tolist())
    groups = groups_of_images(pairs)
    of_pairs = np.unique(pairs.group, return_inverse=True)[1]
    within = (groups[listed.first] == of_pairs) & (groups[listed.second] == of_pairs)
    pictures = np.unique(np.concatenate((listed.first[~negative], listed.second[~negative])))
    pictures = pictures[groups[pictures] >= 0]
    one_kind = negative.any() and len(kinds) <= 1 and RANDOM not in kinds and within[negative].all()
    if not one_kind or len(np.unique(groups[pictures])) < 2:
        return pairs
    sampler = PairSampler(ClassIndex.from_labels(groups[pictures]), positive_fraction=0.0, seed=seed)
    drawn = sampler.draw(0, np.arange(np.count_nonzero(negative)))
    first, second = pictures[drawn.first], pictures[drawn.second]
    names = np.unique(pairs.group)
    kind = np.where(negative, _WITHIN, "") if pairs.kind is None else pairs.kind
    return PairDataset.from_pairs(
        pairs.dataset,
        np.concatenate((listed.first, first)),
        np.concatenate((listed.second, second)),
        np.concatenate((listed.target, drawn.target)),
        kind=[*kind.tolist(), *[RANDOM] * len(drawn)],
        group=[*pairs.group.tolist(), *names[groups[first]].tolist()],
    )
