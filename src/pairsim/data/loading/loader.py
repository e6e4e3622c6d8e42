"""Batches of images on the device: picked from memory there, or read by a `DataLoader` and copied."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pairsim.data.augment import Augmentation
from pairsim.data.generators import seeded_generators
from pairsim.data.image_sets import ImageTensors, MappedImages, fetch_images, gather
from pairsim.data.loading.batches import BatchPlan
from pairsim.data.loading.staging import CudaLane, StagingRing
from pairsim.data.random import stream_key
from pairsim.errors import PairsimError
from pairsim.images import Preprocessing


class _PlannedBatches(Dataset[tuple[Tensor, Tensor] | PairsimError]):
    """Item (epoch, b) is the whole batch b of that epoch, so that a worker needs no state."""

    def __init__(self, dataset: Any, plan: BatchPlan, preprocessing: Preprocessing | None, seed: int) -> None:
        self.dataset = dataset
        self.plan = plan
        self.preprocessing = preprocessing
        self.seed = seed

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor] | PairsimError:
        epoch, number = item
        indices, extra = self.plan.batch(epoch, number)
        if isinstance(self.dataset, ImageTensors | MappedImages):
            return fetch_images(self.dataset, indices), extra
        # A dataset's random transforms draw from global generators: seeding those by batch makes augmentation the
        # same for any number of workers and after a resume.
        with seeded_generators(stream_key("transforms", self.seed, epoch, number)):
            try:
                return fetch_images(self.dataset, indices, self.preprocessing), extra
            except PairsimError as error:
                # Handed over as a value: raised in a worker it would arrive with the worker's traceback as its text.
                return error


class _EpochSampler(Sampler[tuple[int, int]]):
    def __init__(self, num_batches: int) -> None:
        super().__init__()
        self.num_batches = num_batches
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch  # of now: the generator runs on while another epoch may be asked for
        return ((epoch, number) for number in range(self.start, self.num_batches))

    def __len__(self) -> int:
        return self.num_batches - self.start


class BatchLoader:
    """The batches of a plan, from any start, with their images.

    Images that are in memory (`ImageTensors`) are picked by the training process where they are, as workers would
    only copy them about; on a GPU the image numbers of a whole epoch are sent there at once. Any other dataset is
    read by a `DataLoader` whose workers make whole batches and stay alive over epochs. Either way gives the same
    batches.

    Args:
        dataset: Items are `(image, ...)`.
        plan: Which images make up each batch.
        preprocessing: Reads items that are PIL images, arrays or paths.
        num_workers: Reading processes; 0 reads in this process.
        pin_memory: Whether batches go to a GPU through page-locked memory, while it computes. Without `device` they
            are handed out in such memory.
        seed: Seeds the dataset's random transforms, by epoch and batch.
        device: Where batches are handed out; by default where the dataset has them.
        channels_last: Whether images are laid out with channels last.
        augment: What is done to the images of each batch on the device.
    """

    def __init__(
        self,
        dataset: Any,
        plan: BatchPlan,
        *,
        preprocessing: Preprocessing | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        device: torch.device | None = None,
        channels_last: bool = False,
        augment: Augmentation | None = None,
    ) -> None:
        self.plan = plan
        self.dataset: Any = dataset
        self.augment = augment
        self._device = device
        self._channels_last = channels_last
        self._batches = _PlannedBatches(dataset, plan, preprocessing, seed)
        self._sampler = _EpochSampler(plan.num_batches)
        staged = pin_memory and device is not None and device.type == "cuda"
        self._ring = StagingRing(CudaLane(device)) if staged and not self._is_resident and device is not None else None
        self._pin_memory = pin_memory and device is None
        self._loader: DataLoader[Any] | None = None
        if not isinstance(dataset, ImageTensors):
            self._loader = DataLoader(
                self._batches,
                batch_size=None,
                sampler=self._sampler,
                num_workers=num_workers,
                pin_memory=self._pin_memory,
                persistent_workers=num_workers > 0,
                generator=torch.Generator().manual_seed(0),  # else it draws from the caller's; seeds come by batch
            )

    @property
    def _is_resident(self) -> bool:
        """Whether the images are in memory on the very device that batches are wanted on."""
        if not isinstance(self.dataset, ImageTensors):
            return False
        return self._device is None or self._device == self.dataset.images.device

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start` to the last of an epoch: images `[n, C, H, W]` and what the plan says of them.

        Raises:
            PairsimError: What the dataset raised, of images that cannot be read or do not fit together.
        """
        if self._is_resident and self.dataset.images.device.type != "cpu":
            batches = self._picked_on_device(epoch, start)
        else:
            batches = self._sent(self._read(epoch, start))
        for number, (images, extra) in enumerate(batches, start=start):
            changed = images if self.augment is None else self.augment(images, epoch, number)
            yield changed.contiguous(memory_format=torch.channels_last) if self._channels_last else changed, extra

    def _picked_on_device(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        planned = [self.plan.batch(epoch, number) for number in range(start, self.plan.num_batches)]
        if not planned:
            return
        device = self.dataset.images.device
        # One copy for the whole epoch: one for each batch would stand in the way of the step's kernels.
        indices = torch.cat([torch.from_numpy(numbers) for numbers, _ in planned]).to(device)
        extras = torch.cat([extra for _, extra in planned]).to(device)
        parts = indices.split([len(numbers) for numbers, _ in planned])
        extra_parts = extras.split([len(extra) for _, extra in planned])
        for index, extra in zip(parts, extra_parts, strict=True):
            yield gather(self.dataset.images, index), extra

    def _read(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._sampler.epoch, self._sampler.start = epoch, start
        source = (self._batches[item] for item in self._sampler) if self._loader is None else iter(self._loader)
        for batch in source:
            if isinstance(batch, PairsimError):
                raise batch
            pin = self._pin_memory and self._loader is None
            yield (batch[0].pin_memory(), batch[1].pin_memory()) if pin else (batch[0], batch[1])

    def _sent(self, batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        if self._ring is not None:
            yield from cast("Iterator[tuple[Tensor, Tensor]]", self._ring(batches))
            return
        for images, extra in batches:
            if self._device is None:
                yield images, extra
            else:
                yield images.to(self._device, non_blocking=True), extra.to(self._device, non_blocking=True)


class TimedBatches:
    """Batches, and how long the loop over them has waited for the next one.

    The host's clock is read around each `next`, so `seconds` is time in which the loop could not go on: reading,
    picking, augmenting and laying out in this process, or standing still until a worker is done. A GPU works on what
    it was given meanwhile, so there it is the most that the device may have been idle for want of data.

    Args:
        batches: Any iterator.

    Attributes:
        seconds: Waited so far.

    Example:
        >>> timed = TimedBatches(iter([(1, 2), (3, 4)]))
        >>> list(timed), timed.seconds < 1.0
        ([(1, 2), (3, 4)], True)
    """

    def __init__(self, batches: Iterator[tuple[Any, Any]]) -> None:
        self._batches = batches
        self.seconds: float = 0.0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self

    def __next__(self) -> tuple[Any, Any]:
        began = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - began


def num_workers(dataset: Any, wanted: int | None) -> int:
    """Reading processes for a dataset: none for images in memory, else as wanted, by default one a core up to 4."""
    if isinstance(dataset, ImageTensors):
        return 0
    return wanted if wanted is not None else min(4, os.cpu_count() or 1)
