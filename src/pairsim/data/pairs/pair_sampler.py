"""Draw pairs: pair k of an epoch is a pure function of seed, epoch and k."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pairsim._common.choices import NEGATIVES, Negatives
from pairsim._common.numbers import real_number, whole_number
from pairsim._common.storage import sha256
from pairsim.data.class_index import ClassIndex, IntArray, check_index
from pairsim.data.random import Int64Array, random_below, stream_key
from pairsim.errors import DataError

_CHUNK = 32_768  # pairs per step, so that temporary arrays stay in the processor's cache


@dataclass(frozen=True)
class PairIndices:
    """Pairs as image numbers.

    Attributes:
        first: Image number of the first image, int64 `[n]`.
        second: Image number of the second image, int64 `[n]`.
        target: 1 = same class, 0 = different, uint8 `[n]`.
    """

    first: Int64Array
    second: Int64Array
    target: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.target)

    def hash(self) -> str:
        """Return the SHA-256 of the pairs in their order; it is the same on every machine."""
        columns = (self.first.astype("<i8"), self.second.astype("<i8"), self.target.astype("u1"))
        return sha256(b"".join(column.tobytes() for column in columns))


class PairSampler:
    """Draw positive and negative pairs of a class index.

    A positive pair is a uniform image among those whose class has at least two images, and another image of its class.
    A negative pair is a uniform image and an image of another class: of a uniformly chosen class (`"class"`, the usual
    choice), or uniform among all images of the other classes (`"instance"`). An image is never paired with itself.

    Balance is exact: write `positive_fraction` as the fraction a/q in lowest terms (q at most 1,000, to which other
    values are rounded). Each aligned group of q consecutive pairs holds exactly a positives, in random order. With
    one half, pairs 2m and 2m + 1 are one positive and one negative.

    Args:
        index: The images of each class.
        positive_fraction: Share of positive pairs, in [0, 1].
        seed: Any whole number.
        negatives: `"class"` or `"instance"`.

    Raises:
        ValueError: If `positive_fraction` is outside [0, 1] or `negatives` is neither of the two.
        DataError: If positives are wanted and no class has two images, or negatives and there is only one class.

    Example:
        >>> sampler = PairSampler(ClassIndex.from_labels(np.array([0, 0, 1, 1])), seed=3)
        >>> sampler.draw(0, np.arange(4)).target.sum()
        np.uint64(2)
    """

    def __init__(
        self, index: ClassIndex, *, positive_fraction: float = 0.5, seed: int = 0, negatives: Negatives = "class"
    ) -> None:
        check_index(index)
        positive_fraction = real_number(positive_fraction, "positive_fraction")
        if not 0.0 <= positive_fraction <= 1.0:  # also catches NaN
            raise ValueError(f"Expected positive_fraction to be in [0, 1], got {positive_fraction}.")
        if negatives not in NEGATIVES:
            raise ValueError(f'Expected negatives to be "class" or "instance", got {negatives!r}.')
        self.index = index
        self.positive_fraction = positive_fraction
        self.seed: int = whole_number(seed, "seed")
        self.negatives: Negatives = negatives
        share = Fraction(positive_fraction).limit_denominator(1000)
        self._num_positive, self._group_size = share.numerator, share.denominator
        self._strides = np.array([n for n in range(1, self._group_size + 1) if math.gcd(n, self._group_size) == 1])
        if self._num_positive > 0 and index.counts.max() < 2:
            raise DataError(
                "Expected a class with at least two images to draw positive pairs from, found "
                f"{index.num_classes} classes of one image each. Add images, or set positive_fraction=0."
            )
        if self._num_positive < self._group_size and index.num_classes < 2:
            raise DataError(
                f"Expected at least two classes to draw negative pairs from, found only {index.classes[0].item()!r}. "
                "Add images of another class, or set positive_fraction=1."
            )
        # Positions in index.order of images whose class has several; None: all of them.
        self._paired: IntArray | None = None
        if index.counts.min() < 2:
            self._paired = np.flatnonzero(np.repeat(index.counts > 1, index.counts))

    def draw(self, epoch: int, positions: npt.NDArray[np.integer]) -> PairIndices:
        """Draw the pairs at some positions of an epoch.

        Args:
            epoch: Whole number >= 0.
            positions: Whole numbers k >= 0 `[n]`, in any order.

        Returns:
            `n` pairs.
        """
        first = np.empty(len(positions), np.int64)
        second = np.empty(len(positions), np.int64)
        target = np.empty(len(positions), np.uint8)
        for start in range(0, len(positions), _CHUNK):
            part = slice(start, start + _CHUNK)
            first[part], second[part], target[part] = self._draw(epoch, np.asarray(positions[part], np.int64))
        return PairIndices(first, second, target)

    def stream(self, epoch: int, num_pairs: int, *, start: int = 0, batch_size: int = 65_536) -> Iterator[PairIndices]:
        """Yield the pairs `start` to `num_pairs` of an epoch in order, `batch_size` at a time."""
        for begin in range(start, num_pairs, batch_size):
            yield self.draw(epoch, np.arange(begin, min(begin + batch_size, num_pairs)))

    def _draw(self, epoch: int, k: Int64Array) -> tuple[Int64Array, Int64Array, npt.NDArray[np.bool_]]:
        """Draw pairs as positions in `index.order`, and look up their images."""
        index = self.index
        target = self._targets(epoch, k)
        first = random_below(self._key("first", epoch), k, index.num_images)
        if self._paired is not None:
            among_paired = random_below(self._key("first-positive", epoch), k, max(len(self._paired), 1))
            first[target] = self._paired[among_paired[target]]
        code = index.codes[index.order[first]].astype(np.int64)
        second = np.empty_like(first)
        # One of the n - 1 other images of the class; positions from the first image on are shifted by one.
        own = code[target]
        other = index.offsets[own] + random_below(self._key("second", epoch), k[target], index.counts[own] - 1)
        second[target] = other + (other >= first[target])
        second[~target] = self._other_class(epoch, k[~target], code[~target])
        return index.order[first].astype(np.int64), index.order[second].astype(np.int64), target

    def _targets(self, epoch: int, k: Int64Array) -> npt.NDArray[np.bool_]:
        """Permute the slots of each group by (stride j + shift) mod q at random; the first a slots are positive."""
        group, slot = np.divmod(k, self._group_size)
        shift = random_below(self._key("shift", epoch), group, self._group_size)
        if len(self._strides) > 1:
            slot *= self._strides[random_below(self._key("stride", epoch), group, len(self._strides))]
        return (slot + shift) % self._group_size < self._num_positive

    def _other_class(self, epoch: int, k: Int64Array, code: Int64Array) -> Int64Array:
        """Draw images of other classes."""
        key = self._key("second", epoch)
        if self.negatives == "instance":
            other = random_below(key, k, self.index.num_images - self.index.counts[code])
            return other + np.where(other >= self.index.offsets[code], self.index.counts[code], 0)
        other = random_below(self._key("class", epoch), k, self.index.num_classes - 1)
        other += other >= code
        return self.index.offsets[other] + random_below(key, k, self.index.counts[other])

    def _key(self, purpose: str, epoch: int) -> int:
        return stream_key(purpose, self.seed, epoch)
