"""Splitting labelled images, each class in the same proportion."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from pairsim.data.class_index import ClassIndex
from pairsim.data.random import Int64Array, random_bits, stream_key


def stratified_split(
    index: ClassIndex, fraction: float, *, seed: int = 0, names: Sequence[str] | None = None
) -> tuple[Int64Array, Int64Array]:
    """Hold out a share of the images of every class.

    Args:
        index: The images of each class.
        fraction: Share to hold out, in (0, 1); each class gives its share rounded to a whole number, and a class of
            at least two images keeps one at least.
        seed: Any whole number; which images are held out depends on it and on their number, or on `names`.
        names: One stable name per image; the split then does not depend on their order, and an image that comes or
            goes moves at most one other of its class to the other side.

    Returns:
        Image numbers kept and held out, each ascending.

    Raises:
        ValueError: If `fraction` is not in (0, 1).

    Example:
        >>> kept, held = stratified_split(ClassIndex.from_labels(np.repeat([0, 1], 10)), 0.2)
        >>> len(kept), len(held)
        (16, 4)
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"Expected the fraction to hold out to be in (0, 1), got {fraction}.")
    if names is None:
        keys = random_bits(stream_key("split", seed), np.arange(index.num_images))
    else:
        digests = (hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest() for name in names)
        keys = np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
    by_class = np.lexsort((keys, index.codes))
    rank = np.arange(index.num_images) - index.offsets[index.codes[by_class]]
    share = np.minimum(np.floor(index.counts * fraction + 0.5).astype(np.int64), index.counts - 1)
    held = rank < share[index.codes[by_class]]
    return np.sort(by_class[~held]).astype(np.int64), np.sort(by_class[held]).astype(np.int64)
