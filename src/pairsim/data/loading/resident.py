"""Whole datasets in memory, on the device that trains: what fits there, and the one pass that puts it there."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pairsim.data.generators import seeded_generators
from pairsim.data.image_sets import ImageTensors, MappedImages, fetch_images
from pairsim.data.labels import read_labels
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.random_transforms import differing_item, random_transform
from pairsim.errors import DataError
from pairsim.images import Preprocessing

BUDGET_SHARE = 0.25
"""Share of the free memory that images may take where no budget is given: the step and other programs need room too."""

_READ_AT_ONCE = 256
_WORTH_WORKERS_S = 2.0
_FALLBACK_FREE = 2**30


def free_memory(device: torch.device) -> int:
    """Bytes that are free: on a CUDA device, or of the machine's memory for any other, within a container's limit.

    Where the system does not say, a gigabyte is assumed.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what PyTorch holds in reserve is free for tensors, though not for other programs
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError, KeyError):  # "max" where there is no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        found.append(limit - used + int(kept["inactive_file"]))  # copies of files, which give way
    if not found and hasattr(os, "sysconf"):
        with contextlib.suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(min(found), 0) if found else _FALLBACK_FREE


def memory_budget(device: torch.device, megabytes: int | None = None) -> int:
    """Bytes that images may take on a device: as many megabytes (of a million bytes), or a quarter of what is free.

    Example:
        >>> memory_budget(torch.device("cpu"), 5)
        5000000
    """
    return int(free_memory(device) * BUDGET_SHARE) if megabytes is None else megabytes * 1_000_000


def image_shape(dataset: Any, preprocessing: Preprocessing | None = None) -> tuple[tuple[int, int, int], torch.dtype]:
    """Shape `(C, H, W)` and dtype of a dataset's first image, which is read for it."""
    with seeded_generators(0):  # the caller's are not drawn from
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
    """All images of a dataset in order, in batches `[n, C, H, W]`, with a progress bar.

    Args:
        dataset: Map-style, not empty.
        preprocessing: Reads items that are PIL images, arrays or paths.
        workers: Reading processes; by default up to 4 where reading takes some seconds.
        progress: Whether to show the bar; by default where there is a terminal.
        purpose: What stands before the bar.

    Raises:
        DataError: If images differ in shape, are not images, or have pixels that are not finite.
        ImageReadError: If a file cannot be read; the message names it.
    """
    shape, dtype = image_shape(dataset, preprocessing)
    if workers is None:
        began = time.perf_counter()
        fetch_images(dataset, np.array([len(dataset) // 2]), preprocessing)
        worth = (time.perf_counter() - began) * len(dataset) > _WORTH_WORKERS_S
        workers = num_workers(dataset, None) if worth else 0
    loader = BatchLoader(
        dataset,
        SequentialBatches(np.arange(len(dataset)), _READ_AT_ONCE),
        preprocessing=preprocessing,
        num_workers=workers,
    )
    shown = None if progress is None else not progress
    with tqdm(total=len(dataset), desc=purpose, unit=" images", file=sys.stderr, disable=shown, leave=False) as bar:
        for images, numbers in loader.epoch(0):
            if images.shape[1:] != shape or images.dtype != dtype:
                raise DataError(
                    f"Expected all images to be alike, found {list(shape)} {dtype} at index 0 and "
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
        device: Where the images are held.
        channels_last: Whether images of several channels are laid out with channels last.
        workers: Reading processes; by default up to 4 where reading takes some seconds.
        progress: Whether to show a progress bar; by default where there is a terminal.

    Returns:
        The images `[N, C, H, W]`, dtype as given, with their labels.

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
    check_repeatable(dataset, preprocessing)
    targets = read_labels(dataset, labels)
    return hold(
        dataset,
        targets,
        preprocessing=preprocessing,
        device=torch.device(device),
        channels_last=channels_last,
        workers=workers,
        progress=progress,
    )


def hold(
    dataset: Any,
    labels: Any,
    *,
    preprocessing: Preprocessing | None,
    device: torch.device,
    channels_last: bool,
    workers: int | None,
    progress: bool | None,
) -> ImageTensors:
    """`make_resident` of a dataset that has been found to be the same every time."""
    shape, dtype = image_shape(dataset, preprocessing)
    layout = torch.channels_last if channels_last and shape[0] > 1 else torch.contiguous_format
    held = torch.empty((len(dataset), *shape), dtype=dtype, device=device, memory_format=layout)
    done = 0
    for images in read_through(dataset, preprocessing, workers=workers, progress=progress):
        held[done : done + len(images)] = images
        done += len(images)
    return ImageTensors(held, labels)


def check_repeatable(dataset: Any, preprocessing: Preprocessing | None = None) -> None:
    """Refuse a dataset whose images change from one reading to the next.

    Raises:
        DataError: Naming the random transform, or an item that differed when it was read twice.
    """
    reason = why_not_repeatable(dataset, preprocessing)
    if reason is not None:
        raise DataError(
            f"Expected a dataset that gives the same image every time, as each is read once and held in memory, "
            f"found {reason}. Take it out and use augment=, or do not ask for resident=True."
        )


def why_not_repeatable(dataset: Any, preprocessing: Preprocessing | None = None) -> str | None:
    """What makes a dataset's images change from one reading to the next, if anything is found."""
    name = random_transform(dataset)
    if name is not None:
        return f"the random transform {name}"
    if isinstance(dataset, ImageTensors | MappedImages):
        return None
    place = differing_item(dataset, preprocessing)
    return None if place is None else f"image {place} changed when it was read twice"
