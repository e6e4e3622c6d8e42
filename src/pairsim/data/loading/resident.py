"""Hold whole datasets in memory, on the device that trains."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairsim._common.progress import progress_bar
from pairsim.data.generators import seeded_generators
from pairsim.data.image_sets import ImageTensors, fetch_images
from pairsim.data.labels import read_labels
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.random_transforms import differing_item, is_known_fixed, random_transform
from pairsim.errors import DataError
from pairsim.images import Preprocessing

BUDGET_SHARE = 0.25  # default share of the free memory for images; the step and other programs need the rest

_READ_AT_ONCE = 256
_MIN_SECONDS_FOR_WORKERS = 2.0
_DEFAULT_FREE_BYTES = 2**30


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a CUDA device, or of the machine for any other, within the limit of a container.

    Where the system gives no number, a gigabyte is assumed.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Memory reserved by PyTorch is free for tensors, though not for other programs.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError, KeyError):  # the limit is "max" where there is none
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        found.append(limit - used + int(kept["inactive_file"]))  # cached files, which can be dropped
    if not found:
        with contextlib.suppress(AttributeError, OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(min(found, default=_DEFAULT_FREE_BYTES), 0)


def memory_budget(device: torch.device, megabytes: int | None = None) -> int:
    """Return the bytes for images on a device: the given megabytes (of a million bytes), or a quarter of what is free.

    Example:
        >>> memory_budget(torch.device("cpu"), 5)
        5000000
    """
    return int(free_memory(device) * BUDGET_SHARE) if megabytes is None else megabytes * 1_000_000


def image_shape(dataset: Any, preprocessing: Preprocessing | None = None) -> tuple[tuple[int, int, int], torch.dtype]:
    """Read the first image of a dataset and return its shape `(C, H, W)` and dtype."""
    with seeded_generators(0):  # those of the caller stay unchanged
        image = fetch_images(dataset, np.zeros(1, np.int64), preprocessing)
    return (image.shape[1], image.shape[2], image.shape[3]), image.dtype


def read_through(
    dataset: Any,
    preprocessing: Preprocessing | None = None,
    *,
    workers: int | None = None,
    progress: bool | None = None,
    purpose: str = "reading images",
) -> Iterator[Tensor]:
    """Yield all images of a dataset in order, in batches `[n, C, H, W]`, with a progress bar.

    Args:
        dataset: Map-style, not empty.
        preprocessing: Reads items that are PIL images, arrays or paths.
        workers: Reading processes; by default up to 4 where reading takes some seconds.
        progress: Whether to show the bar; by default for long work on a terminal.
        purpose: Text before the bar.

    Raises:
        DataError: If images differ in shape, are not images, or have pixels that are not finite.
        ImageReadError: If a file cannot be read; the message names it.
    """
    if workers is None:
        began = time.perf_counter()
        fetch_images(dataset, np.array([len(dataset) // 2]), preprocessing)
        is_long = (time.perf_counter() - began) * len(dataset) > _MIN_SECONDS_FOR_WORKERS
        workers = None if is_long else 0
    plan = SequentialBatches(np.arange(len(dataset)), _READ_AT_ONCE)
    loader = BatchLoader(dataset, plan, preprocessing=preprocessing, num_workers=num_workers(dataset, workers))
    with progress_bar(len(dataset), purpose, "images", progress) as bar:
        for images, numbers in loader.epoch(0):
            if numbers[0] == 0:
                shape, dtype = images.shape[1:], images.dtype
            if images.shape[1:] != shape or images.dtype != dtype:
                raise DataError(
                    f"Expected images of one shape and dtype, found {list(shape)} {dtype} at index 0 and "
                    f"{list(images.shape[1:])} {images.dtype} at index {int(numbers[0])}. "
                    "Add a resize to the dataset's transform."
                )
            yield images
            bar.update(len(images))


def make_resident(
    dataset: Any,
    *,
    labels: Any = None,
    preprocessing: Preprocessing | None = None,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
    workers: int | None = None,
    progress: bool | None = None,
) -> ImageTensors:
    """Read a dataset once and hold it in memory.

    Args:
        dataset: Map-style; items are `(image, label)` with images as uint8, preprocessed floating point or pictures.
            It must give the same image every time.
        labels: One label per image, instead of the dataset's own.
        preprocessing: Reads items that are PIL images, arrays or paths.
        device: Device that holds the images.
        channels_last: Whether images of several channels get the channels-last memory layout.
        workers: Reading processes; by default up to 4 where reading takes some seconds.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        The images `[N, C, H, W]` in their own dtype, with their labels.

    Raises:
        DataError: If a transform is random, items differ when read twice, images differ in shape, or there are none.
        ImageReadError: If a file cannot be read; the message names it.

    Example:
        >>> images = make_resident([(torch.zeros(1, 8, 8), 3), (torch.ones(1, 8, 8), 7)], progress=False)
        >>> images.images.shape, images.targets.tolist()
        (torch.Size([2, 1, 8, 8]), [3, 7])
    """
    if len(dataset) == 0:
        raise DataError("Expected a dataset with images, found none. Check the split or the filter.")
    reason = why_not_repeatable(dataset, preprocessing)
    if reason is not None:
        raise DataError(
            f"Expected a dataset that gives the same image every time, as each is read once and held in memory, "
            f"found {reason}. Remove it and use augment=, or do not ask for resident=True."
        )
    targets = read_labels(dataset, labels)
    for number, images in enumerate(read_through(dataset, preprocessing, workers=workers, progress=progress)):
        if number == 0:
            layout = torch.channels_last if channels_last and images.shape[1] > 1 else torch.contiguous_format
            shape = (len(dataset), *images.shape[1:])
            held = torch.empty(shape, dtype=images.dtype, device=device, memory_format=layout)
        # from page-locked memory a copy to a GPU does not wait for the one before
        source = images.pin_memory() if held.is_cuda and not images.is_cuda else images
        held[number * _READ_AT_ONCE :][: len(images)].copy_(source, non_blocking=True)
    return ImageTensors(held, targets)


def why_not_repeatable(dataset: Any, preprocessing: Preprocessing | None = None) -> str | None:
    """Return what makes images change from one reading to the next, as a clause; `None` if nothing is found.

    This is a random transform, or an item that differs when it is read twice. Datasets that are known to be the same
    every time are not read.
    """
    name = random_transform(dataset)
    if name is not None:
        return f"the random transform {name}"
    if is_known_fixed(dataset):
        return None
    number = differing_item(dataset, preprocessing)
    return None if number is None else f"image {number} changed when it was read twice"
