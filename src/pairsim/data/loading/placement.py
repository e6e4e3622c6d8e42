"""Choose where the images of a training run are kept: on the device, in host memory, or on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pairsim.data.image_sets import ImageFiles, ImageTensors, images_of
from pairsim.data.loading.loader import num_workers
from pairsim.data.loading.mapped_images import MappedImages
from pairsim.data.loading.pixel_cache import cached_images
from pairsim.data.loading.resident import image_shape, make_resident, memory_budget, why_not_repeatable
from pairsim.data.random_transforms import is_known_fixed, random_transform
from pairsim.data.unreadable import all_named
from pairsim.errors import DataError
from pairsim.images import Preprocessing


@dataclass(kw_only=True)
class Placement:
    """Put datasets where their images are read fastest, and record what was done.

    Args:
        device: Device that trains.
        resident: Whether images are held on the device: `True` always, `False` never, `None` where they fit and are
            known to be the same every time.
        memory_budget_mb: Megabytes for all images together; by default a quarter of what is free.
        cache_dir: Folder for decoded pictures on disk; `None` keeps none.
        channels_last: Whether images that are moved anyway get the channels-last memory layout.
        workers: Reading processes; `None` chooses.
        progress: Whether to show progress bars; by default for long work on a terminal.
        shared_by: Processes that hold images of their own on the device.
        notes: A line for each thing done.
    """

    device: torch.device
    resident: bool | None = None
    memory_budget_mb: int | None = None
    cache_dir: Path | None = None
    channels_last: bool = True
    workers: int | None = None
    progress: bool | None = None
    shared_by: int = 1
    notes: list[str] = field(default_factory=list)
    _used: int = 0

    @cached_property
    def budget(self) -> int:
        """Bytes for all images together on the device."""
        return memory_budget(self.device, self.memory_budget_mb) // self.shared_by

    def cached(self, dataset: Any) -> Any:
        """Return picture files as decoded pixels on disk where `cache_dir` is given; any other dataset itself.

        Raises:
            ImageReadError: If a picture cannot be read; the message names it.
            RunError: If the cache cannot be written.
        """
        dataset = images_of(dataset)
        if self.cache_dir is None or isinstance(dataset, ImageTensors | MappedImages):
            return dataset
        if not isinstance(dataset, ImageFiles) or dataset.image_size is None:
            self.notes.append("cache_dir is not used: only picture files of one image_size can be cached.")
            return dataset
        with all_named(dataset):
            images, note = cached_images(dataset, self.cache_dir, workers=self.workers, progress=self.progress)
        self.notes.append(note)
        return images

    def place(self, dataset: Any, labels: Any, preprocessing: Preprocessing, *, what: str = "Images") -> Any:
        """Put a dataset where its images are read fastest.

        Args:
            dataset: Map-style, not empty.
            labels: One label per image.
            preprocessing: Reads items that are PIL images, arrays or paths.
            what: Name of the images in the notes.

        Returns:
            `ImageTensors` on the device, or the dataset itself.

        Raises:
            DataError: If `resident` is `True` and the images do not fit the budget or change from reading to reading.
            ImageReadError: If a file cannot be read; the message names it.
        """
        dataset = images_of(dataset)
        shape, dtype = image_shape(dataset, preprocessing)
        size = len(dataset) * math.prod(shape) * dtype.itemsize
        described = f"{len(dataset):,} x {' x '.join(map(str, shape))} {str(dtype).removeprefix('torch.')}"
        there = isinstance(dataset, ImageTensors) and dataset.images.device == self.device
        reason = None if there else self._why_not_resident(dataset, size, f"{what.lower()}: {described}", preprocessing)
        if reason is not None:
            self.notes.append(f"{what} {self._read_by(dataset)}: {described}, as {reason}.")
            return dataset
        used = f"{_megabytes(size)} of a budget of {_megabytes(self.budget)}"
        self.notes.append(f"{what} resident on {self.device}: {described}, {used}.")
        if there:
            # The layout is changed once for all, where there is room for the copy.
            if not self.channels_last or shape[0] == 1 or self._used + size > self.budget:
                return dataset
            self._used += size
            return ImageTensors(dataset.images.contiguous(memory_format=torch.channels_last), dataset.targets)
        self._used += size
        return make_resident(
            dataset,
            labels=labels,
            preprocessing=preprocessing,
            device=self.device,
            channels_last=self.channels_last,
            workers=self.workers,
            progress=self.progress,
        )

    def _why_not_resident(self, dataset: Any, size: int, described: str, preprocessing: Preprocessing) -> str | None:
        """Return why images stay where they are, as a clause; `None` if they are to be held on the device.

        Raises:
            DataError: If they must be held and do not fit.
        """
        left = self.budget - self._used
        if self.resident is False:
            return "resident=False was asked for"
        # Pictures of several sizes do not fit one tensor.
        several_sizes = isinstance(dataset, ImageFiles) and dataset.image_size is None
        is_fixed = isinstance(dataset, ImageTensors | MappedImages) or is_known_fixed(dataset)
        if self.resident is None and (several_sizes or not is_fixed):
            name = random_transform(dataset)
            if name is not None:
                return f"they have the random transform {name}"
            return "they are not known to be the same every time (if they are, resident=True holds them in memory)"
        if size > left and self.resident:
            raise DataError(
                f"Expected images of at most {_megabytes(left)} for resident=True on {self.device}, "
                f"found {_megabytes(size)} ({described}). "
                "Raise memory_budget_mb, use a smaller image_size, or do not ask for resident=True."
            )
        if size > left:
            return f"their {_megabytes(size)} are more than the {_megabytes(left)} left of the budget"
        return None if self.resident else why_not_repeatable(dataset, preprocessing)

    def _read_by(self, dataset: Any) -> str:
        if isinstance(dataset, ImageTensors):
            return f"in memory and copied to {self.device} batch by batch"
        workers = num_workers(dataset, self.workers)
        source = f"the cache {dataset.path}" if isinstance(dataset, MappedImages) else "their dataset"
        by = f"{workers} workers" if workers > 1 else "1 worker" if workers else "the training process"
        return f"read from {source} by {by} as they are needed"


def _megabytes(size: int) -> str:
    return f"{math.ceil(size / 1e6):,} MB"
