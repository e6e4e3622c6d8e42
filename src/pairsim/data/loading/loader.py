"""Load batches of images on the device: selected from memory there, or read by a `DataLoader` and copied."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pairsim.data.augment import Augmentation
from pairsim.data.generators import seeded_generators
from pairsim.data.image_sets import ImageTensors, fetch_images, gather, images_of
from pairsim.data.loading.batches import BatchPlan
from pairsim.data.loading.mapped_images import MappedImages
from pairsim.data.loading.turns import quarter_turned
from pairsim.data.loading.workers import POLL_S, Watch, read_by_workers, shared, why_no_workers
from pairsim.data.random import Int64Array, stream_key
from pairsim.errors import PairsimError
from pairsim.images import Preprocessing

Batch: TypeAlias = tuple[Tensor, Tensor]  # images and targets


@dataclass(eq=False)
class _PlannedBatches(Dataset[Batch | PairsimError]):
    """Item (epoch, b) is the whole batch b of that epoch, so that a worker needs no state."""

    dataset: Any
    plan: BatchPlan
    preprocessing: Preprocessing | None
    seed: int
    turns: bool
    watch: Watch | None = None

    def __getitem__(self, item: tuple[int, int]) -> Batch | PairsimError:
        epoch, number = item
        numbers, targets = self.plan.batch(epoch, number)
        indices = numbers % len(self.dataset) if self.turns else numbers
        if isinstance(self.dataset, ImageTensors | MappedImages):
            return shared(self._turned(fetch_images(self.dataset, indices), numbers), targets)
        # A dataset's random transforms draw from global generators. Seeding those by batch makes augmentation the
        # same for any number of workers and after a resume.
        with seeded_generators(stream_key("transforms", self.seed, epoch, number)):
            try:
                if self.watch is None:
                    images = fetch_images(self.dataset, indices, self.preprocessing)
                else:
                    images = fetch_images(self.dataset, indices, self.preprocessing, begin=self.watch.begin)
                    self.watch.end()
                return shared(self._turned(images, numbers), targets)
            except PairsimError as error:
                # Returned, as an error raised in a worker would arrive with the worker's traceback as its message.
                return error

    def _turned(self, images: Tensor, numbers: Int64Array) -> Tensor:
        return quarter_turned(images, torch.from_numpy(numbers // len(self.dataset))) if self.turns else images


class _EpochItems:
    """The items of the epoch set last. Setting others does not change an iteration that has begun."""

    items: Iterable[tuple[int, int]] = ()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.items)


class BatchLoader:
    """Load the batches of a plan, from any start, with their images.

    Images in memory (`ImageTensors`) are selected by the training process, as workers would only copy them; on a GPU
    the image numbers of a whole epoch are sent there at once. Any other dataset is read by a `DataLoader` whose workers
    make whole batches and are kept over epochs. Both give the same batches.

    Args:
        dataset: Items are `(image, ...)`.
        plan: Selects the images of each batch.
        preprocessing: Reads items that are PIL images, arrays or paths.
        num_workers: Reading processes; 0 reads in this process.
        pin_memory: Whether batches are copied to a GPU from page-locked memory, while it computes.
        seed: Seeds the dataset's random transforms, by epoch and batch.
        device: Device of the batches; by default that of the dataset.
        channels_last: Whether images get the channels-last memory layout.
        augment: Applied to the images of each batch on the device.
        turns: Whether numbers of the plan also stand for quarter turns, as of `turned_labels`.
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
        turns: bool = False,
    ) -> None:
        self.plan = plan
        self.dataset: Any = images_of(dataset)
        self.augment = augment
        self._channels_last = channels_last
        self._batches = _PlannedBatches(self.dataset, plan, preprocessing, seed, turns)
        self._items = _EpochItems()
        self._loader: DataLoader[Any] | None = None
        self._stream: torch.cuda.Stream | None = None
        in_memory = isinstance(self.dataset, ImageTensors)
        is_resident = in_memory and device in (None, self.dataset.images.device)
        self._on_device = is_resident and self.dataset.images.device.type != "cpu"
        if pin_memory and device is not None and device.type == "cuda" and not is_resident:
            self._stream = torch.cuda.Stream(device)
        self._device = device if self._stream is None else None  # gets batches one by one
        if not in_memory:
            if num_workers > 0:
                self._batches.watch = Watch(num_workers, self.dataset)
            self._loader = DataLoader(
                self._batches,
                batch_size=None,
                sampler=self._items,
                num_workers=num_workers,
                persistent_workers=num_workers > 0,
                timeout=POLL_S if num_workers > 0 else 0,
                generator=torch.Generator().manual_seed(0),  # not the caller's; batches have seeds of their own
            )

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield batches `start` to the last of an epoch: images `[n, C, H, W]` and the targets of the plan.

        Raises:
            DataError: If processes that read images cannot be started, one ends early, or one hangs, which reading an
                image for more than 20 seconds counts as; the message names what it read.
            PairsimError: Raised by the dataset, for images that cannot be read or do not fit together.
        """
        batches = self._picked_on_device(epoch, start) if self._on_device else self._read(epoch, start)
        if self._stream is not None:
            batches = _sent_ahead(batches, self._stream)
        for number, (images, targets) in enumerate(batches, start=start):
            changed = images if self.augment is None else self.augment(images, epoch, number)
            yield changed.contiguous(memory_format=torch.channels_last) if self._channels_last else changed, targets

    def _picked_on_device(self, epoch: int, start: int) -> Iterator[Batch]:
        planned = [self.plan.batch(epoch, number) for number in range(start, self.plan.num_batches)]
        if not planned:
            return
        # One copy for the whole epoch: copies of single batches would delay the kernels of the step.
        parts = [torch.from_numpy(indices) for indices, _ in planned], [targets for _, targets in planned]
        sent = [torch.cat(part).to(self.dataset.images.device).split([len(p) for p in part]) for part in parts]
        num_images = len(self.dataset)
        for numbers, targets in zip(*sent, strict=True):
            if self._batches.turns:
                images = gather(self.dataset.images, numbers % num_images)
                yield quarter_turned(images, numbers // num_images), targets
            else:
                yield gather(self.dataset.images, numbers), targets

    def _read(self, epoch: int, start: int) -> Iterator[Batch]:
        self._items.items = [(epoch, number) for number in range(start, self.plan.num_batches)]
        by_number = map(self._batches.__getitem__, self._items)
        for batch in by_number if self._loader is None else read_by_workers(self._loader, self._batches.watch):
            if isinstance(batch, PairsimError):
                raise batch
            images, targets = batch
            if self._device is not None:
                images, targets = (part.to(self._device, non_blocking=True) for part in batch)
            yield images, targets


def _sent_ahead(batches: Iterable[Batch], stream: torch.cuda.Stream) -> Iterator[Batch]:
    """Yield batches on a CUDA device; the copy of batch n + 1 has begun when batch n is returned.

    PyTorch keeps the page-locked memory and uses it again when the copy from it has arrived.

    Args:
        batches: Tensors in host memory.
        stream: Only for copies, which run beside the computations of the device's current stream.
    """
    sent = (_send(batch, stream) for batch in batches)
    following = next(sent, None)
    while following is not None:
        (images, targets), arrival = following
        following = next(sent, None)
        current = torch.cuda.current_stream(stream.device)
        current.wait_event(arrival)
        for tensor in (images, targets):
            tensor.record_stream(current)  # its memory belongs to the side stream, which would reuse it too early
        yield images, targets


def _send(batch: Batch, stream: torch.cuda.Stream) -> tuple[list[Tensor], torch.cuda.Event]:
    with torch.cuda.stream(stream):
        sent = [tensor.pin_memory().to(stream.device, non_blocking=True) for tensor in batch]
        return sent, stream.record_event()


class TimedBatches:
    """Batches, with the time that the loop over them has waited for the next one.

    The host's clock is read around each `next`. `seconds` is the time in which the loop could not go on: reading,
    selecting, augmenting and changing the layout in this process, or waiting for a worker. A GPU may compute meanwhile,
    so there `seconds` is an upper limit of its idle time for lack of data.

    Args:
        batches: Any iterator.

    Attributes:
        seconds: Total time waited.

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
    """Return the number of reading processes: 0 for images in memory, else as wanted, by default one a core up to 4.

    Where none can be started it is 0, with a warning that states the reason.
    """
    dataset = images_of(dataset)
    if isinstance(dataset, ImageTensors) or wanted == 0:
        return 0
    reason = why_no_workers(dataset)
    if reason is not None:
        text = f"Images are read by this process alone: {reason}, or ask for 0 workers."
        warnings.warn(text, stacklevel=1)
        return 0
    return wanted if wanted is not None else min(4, os.cpu_count() or 1)
