"""Choose the images of batch b of epoch e: pure functions of seed, epoch and b."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.data.class_index import ClassIndex, check_index
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
        pairs: Source of the pairs; given pairs are shuffled each epoch.
        batch_size: Pairs in a batch; the last batch of an epoch has the rest.
        num_pairs: Pairs in an epoch, other ones in each epoch; by default, and at most, those of the source.
    """

    def __init__(self, pairs: PairDataset, batch_size: int, *, num_pairs: int | None = None) -> None:
        self.pairs = pairs
        self.batch_size = batch_size
        self.num_pairs: int = min(len(pairs), num_pairs or len(pairs))
        self.num_batches: int = math.ceil(self.num_pairs / batch_size)
        self.num_images: int = 2 * self.num_pairs
        self._order: tuple[int, Int64Array] = (-1, np.empty(0, np.int64))

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Return image numbers `[2n]` and float targets `[n]`."""
        positions = np.arange(number * self.batch_size, min((number + 1) * self.batch_size, self.num_pairs))
        if self.pairs.is_fixed_list:
            if self._order[0] != epoch:
                self._order = (epoch, permutation(stream_key("shuffle", self.pairs.seed, epoch), len(self.pairs)))
            positions = self._order[1][positions]
        pairs = self.pairs.pairs_at(positions, epoch=epoch)
        return np.concatenate((pairs.first, pairs.second)), torch.from_numpy(pairs.target).float()


class ClassBalancedBatches:
    """Batches made of small groups of images of one class, so that every batch has positive pairs.

    Each class is shuffled and split into groups of `images_per_class`; the rest is spread over the groups of the class,
    and a smaller class is one group. The groups of a class are spread evenly over the epoch. Every image occurs exactly
    once an epoch. Batches differ in size by one image at most.

    Classes of one group of the data (`groups`) come one after the other, so that they are in one batch: the genuine and
    the forged signatures of a writer are compared. This holds for as many classes as fit into half a batch; others are
    spread as without groups.

    Args:
        index: The images of each class.
        batch_size: Maximum number of images in a batch.
        images_per_class: Minimum size of a group.
        groups: What each image belongs to besides its class `[N]`, text or whole numbers; `None` without groups.
        seed: Any whole number.

    Raises:
        ValueError: If `batch_size` or `images_per_class` is below 1, or there is not one group for each image.
    """

    def __init__(
        self,
        index: ClassIndex,
        batch_size: int,
        *,
        images_per_class: int = 4,
        groups: npt.NDArray[Any] | None = None,
        seed: int = 0,
    ) -> None:
        check_index(index)
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
        # A slot is a place in the epoch for a group of each class that is bound to others.
        bound = np.arange(index.num_classes)
        if groups is not None:
            together = index.bound_classes(groups)
            size = np.bincount(together)[together] * images_per_class
            bound = np.where(2 * size <= batch_size, together, bound)
        slots = np.zeros_like(self._num_groups)
        np.maximum.at(slots, bound, self._num_groups)
        self._first_slot = (np.cumsum(slots) - slots)[bound]
        self._num_slots = slots[bound]
        self._order: tuple[int, Int64Array] = (-1, np.empty(0, np.int64))

    def epoch_order(self, epoch: int) -> Int64Array:
        """Return the order of all image numbers `[N]` in an epoch."""
        if self._order[0] == epoch:
            return self._order[1]
        index = self.index
        bits = random_bits(stream_key("order", self.seed, epoch), np.arange(index.num_images))
        shuffled = np.lexsort((bits, index.codes))  # sorted by class, at random within it
        code = index.codes[shuffled].astype(np.int64)
        rank = np.arange(index.num_images) - index.offsets[code]
        group = rank * self._num_groups[code] // index.counts[code]
        slot, num_slots = group, self._num_slots[code]
        if not np.array_equal(self._num_slots, self._num_groups):  # a class with fewer groups than slots takes some
            offsets = random_bits(stream_key("offsets", self.seed, epoch), np.arange(index.num_classes))
            offset = (offsets % self._num_slots.astype(np.uint64)).astype(np.int64)
            slot = (group * num_slots + offset[code]) // self._num_groups[code]
        last_slot = int((self._first_slot + self._num_slots).max())
        jitter = random_bits(stream_key("groups", self.seed, epoch), np.arange(last_slot)) * 2.0**-64
        time = (slot + jitter[self._first_slot[code] + slot]) / num_slots
        # A stable sort keeps a group together, and those of a slot, which have equal times, one after the other.
        self._order = (epoch, shuffled[np.argsort(time, kind="stable")].astype(np.int64))
        return self._order[1]

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Return image numbers `[n]` and class numbers int64 `[n]`.

        Args:
            epoch: Number of the epoch, from 0.
            number: Number of the batch in it, from 0.
        """
        images = self.epoch_order(epoch)[self._limits[number] : self._limits[number + 1]]
        return images, torch.from_numpy(self.index.codes[images].astype(np.int64))


class PartialBatches:
    """The images of each batch that one of several processes embeds; the targets are those of the whole batch.

    Args:
        plan: The whole batches.
        part: Maps the size of a batch to the slice of it that this process embeds.
    """

    def __init__(self, plan: BatchPlan, part: Callable[[int], slice]) -> None:
        self.plan = plan
        self.part = part
        self.num_batches: int = plan.num_batches
        self.num_images: int = plan.num_images

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:
        """Return image numbers of the part, and the targets of the whole batch.

        For an empty part the first image is returned, so that no batch is empty.
        """
        images, targets = self.plan.batch(epoch, number)
        own = images[self.part(len(images))]
        return own if len(own) else images[:1], targets


class SequentialBatches:
    """Images once and in order, the same in every epoch; to embed a dataset.

    Args:
        indices: Image numbers `[n]`.
        batch_size: Images in a batch; the last batch has the rest.
    """

    def __init__(self, indices: Int64Array, batch_size: int) -> None:
        self.indices = indices
        self.batch_size = batch_size
        self.num_images: int = len(indices)
        self.num_batches: int = math.ceil(len(indices) / batch_size)

    def batch(self, epoch: int, number: int) -> tuple[Int64Array, Tensor]:  # noqa: ARG002  the same in every epoch
        """Return image numbers `[n]`, as array and as tensor."""
        images = self.indices[number * self.batch_size : (number + 1) * self.batch_size]
        return images, torch.from_numpy(images)
