"""Which images make up batch b of epoch e: pure functions of seed, epoch and b."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pairsim.data.class_index import ClassIndex
from pairsim.data.pairs.pair_dataset import PairDataset
from pairsim.data.random import Int64Array, permutation, random_bits, stream_key


class BatchPlan(Protocol):
    """The batches of any epoch.

    Attributes:
        num_batches: Batches in an epoch.
        num_images: Image forwards in an epoch.
    """

    num_batches: int
    num_images: int

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Return image numbers and the targets of the objective.

        Args:
            epoch: Number of the epoch, from 0.
            number: Number of the batch in it, from 0.
        """
        ...


class PairBatches:
    """Batches of pairs: the first images, then the second images, with one target per pair.

    Args:
        pairs: Where the pairs come from; a fixed list of pairs is put in a new order each epoch.
        batch_size: Pairs in a batch; the last batch of an epoch has what is left.
        shuffle: Whether a fixed list is shuffled.
    """

    def __init__(self, pairs: PairDataset, batch_size: int, *, shuffle: bool = True) -> None:
        self.pairs = pairs
        self.batch_size = batch_size
        self.shuffle: bool = shuffle and pairs.is_fixed_list
        self._cached: tuple[int, Int64Array] | None = None
        self.num_batches: int = math.ceil(len(pairs) / batch_size)
        self.num_images: int = 2 * len(pairs)

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Image numbers `[2n]` and float targets `[n]`."""
        positions = np.arange(number * self.batch_size, min((number + 1) * self.batch_size, len(self.pairs)))
        if self.shuffle:
            positions = self._order(epoch)[positions]
        pairs = self.pairs.pairs_at(positions, epoch=epoch)
        return np.concatenate((pairs.first, pairs.second)), torch.from_numpy(pairs.target).float()

    def _order(self, epoch: int) -> Int64Array:
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, permutation(stream_key("shuffle", self.pairs.seed, epoch), len(self.pairs)))
        return self._cached[1]


class ClassBalancedBatches:
    """Batches in which classes come in small groups of images, so that every batch has positive pairs.

    Each class is shuffled and cut into groups of `images_per_class`; what does not divide is spread over the class's
    groups, and a smaller class is one group. A class's groups are spread evenly over the epoch. Every image appears
    exactly once an epoch. Batches differ in size by one image at most.

    Args:
        index: The images of each class.
        batch_size: Images in a batch, at most; all images if there are fewer.
        images_per_class: Size of a group, at least.
        seed: Any whole number.

    Raises:
        ValueError: If `batch_size` or `images_per_class` is below 1.
    """

    def __init__(self, index: ClassIndex, batch_size: int, *, images_per_class: int = 4, seed: int = 0) -> None:
        if batch_size < 1 or images_per_class < 1:
            raise ValueError(
                f"Expected batch_size and images_per_class to be at least 1, got {batch_size} and {images_per_class}."
            )
        self.index = index
        self.seed = seed
        self.num_images: int = index.num_images
        self.num_batches: int = math.ceil(index.num_images / batch_size)
        self._limits = np.linspace(0, index.num_images, self.num_batches + 1).round().astype(np.int64)
        self._num_groups = np.maximum(index.counts // images_per_class, 1)
        self._cached: tuple[int, Int64Array] | None = None

    def epoch_order(self, epoch: int) -> Int64Array:
        """All image numbers `[N]` in the order of an epoch."""
        if self._cached is not None and self._cached[0] == epoch:
            return self._cached[1]
        index = self.index
        bits = random_bits(stream_key("order", self.seed, epoch), np.arange(index.num_images))
        shuffled = np.lexsort((bits, index.codes))  # sorted by class, at random within it
        code = index.codes[shuffled].astype(np.int64)
        rank = np.arange(index.num_images) - index.offsets[code]
        group = rank * self._num_groups[code] // index.counts[code]
        first_group = np.concatenate(([0], np.cumsum(self._num_groups)[:-1]))
        jitter = random_bits(stream_key("groups", self.seed, epoch), np.arange(int(self._num_groups.sum()))) * 2.0**-64
        time = (group + jitter[first_group[code] + group]) / self._num_groups[code]
        # equal times are as good as impossible; a stable sort keeps a group together even then
        order = shuffled[np.argsort(time, kind="stable")].astype(np.int64)
        self._cached = (epoch, order)
        return order

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Image numbers `[n]` and class numbers int64 `[n]`.

        Args:
            epoch: Number of the epoch, from 0.
            number: Number of the batch in it, from 0.
        """
        images = self.epoch_order(epoch)[self._limits[number] : self._limits[number + 1]]
        return images, torch.from_numpy(self.index.codes[images].astype(np.int64))


class PartialBatches:
    """The part of each batch that one of several processes embeds; what the objective needs to know stays whole.

    Args:
        plan: The whole batches.
        part: Which of so many images are this process's own.
    """

    def __init__(self, plan: BatchPlan, part: Callable[[int], slice]) -> None:
        self.plan = plan
        self.part = part
        self.num_batches: int = plan.num_batches
        self.num_images: int = plan.num_images

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Image numbers of the part, and what belongs to the whole batch.

        A process without a part gets the first image, so that no batch is empty.
        """
        images, extra = self.plan.batch(epoch, number)
        own = images[self.part(len(images))]
        return own if len(own) else images[:1], extra


class SequentialBatches:
    """Images once and in order, the same in every epoch; for embedding a dataset.

    Args:
        places: Image numbers `[n]`.
        batch_size: Images in a batch; the last has what is left.
    """

    def __init__(self, places: Int64Array, batch_size: int) -> None:
        self.places = places
        self.batch_size = batch_size
        self.num_images: int = len(places)
        self.num_batches: int = math.ceil(len(places) / batch_size)

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:  # noqa: ARG002  the same in every epoch
        """Image numbers `[n]`, as array and as tensor."""
        images = self.places[number * self.batch_size : (number + 1) * self.batch_size]
        return images, torch.from_numpy(images)
