"""Whatever `SimilarityModel.encode` takes, as batches of pixels: files are decoded ahead of the net."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Generator, Hashable, Iterable, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pairsim.images import PictureLike, Preprocessing

Images: TypeAlias = Tensor | PictureLike | Iterable[PictureLike]

_MOST_THREADS = 4
_PICTURES_A_TASK = 8
"""Pictures that a thread reads in one go: few, so that the first batch is there soon."""
QUICK_S = 3e-4
"""A picture read in less is mostly Python's own work, which threads do not share."""


@dataclass(frozen=True)
class ImageBatches:
    """Images on their way to the net.

    Attributes:
        batches: uint8 or preprocessed `[n, C, H, W]`; to be used up once, and closed.
        num_images: Images in all batches, or `None` where only the end will tell.
        places: For each image that was asked for, its place in the batches; `None` if they are those images in order.
    """

    batches: Generator[Tensor]
    num_images: int | None
    places: Tensor | None = None


def image_batches(images: Images, preprocessing: Preprocessing, batch_size: int) -> ImageBatches:
    """Cut images into batches, reading pictures on the way.

    Args:
        images: A tensor `[N, C, H, W]`; or one or several pictures (see `read_image`), in a sequence, a generator or
            an array `[N, H, W, C]`. In a sequence, a path or object that comes twice is read once.
        preprocessing: How pictures are read.
        batch_size: Images in a batch; the last has what is left.

    Returns:
        The batches, which raise what reading raises, in the order of the images.

    Raises:
        TypeError: If `images` is a dataset or loader.
    """
    if isinstance(images, Tensor) and images.ndim == 4:
        tensor = images
        parts = (tensor[k : k + batch_size] for k in range(0, len(tensor), batch_size))
        return ImageBatches(parts, len(tensor))
    pictures = as_pictures(images)
    if not isinstance(pictures, list):
        return ImageBatches(_read_ahead(pictures, preprocessing, batch_size), None)
    unique, places = _without_repeats(pictures)
    # threads are not worth it for a pair, nor for pixels, which hold on to Python's lock
    if len(unique) <= 2 or all(isinstance(picture, Tensor | np.ndarray) for picture in unique):
        batches = (_read(unique[k : k + batch_size], preprocessing) for k in range(0, len(unique), batch_size))
    else:
        batches = _read_ahead(unique, preprocessing, batch_size)
    return ImageBatches(batches, len(unique), None if len(unique) == len(pictures) else torch.tensor(places))


def is_single(images: object) -> bool:
    """Whether this is one picture: a path, array, PIL image or a tensor without a batch dimension."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim != 4
    return isinstance(images, str | os.PathLike) or hasattr(images, "__array_interface__")


def as_pictures(images: Images) -> Iterable[PictureLike]:
    """One or several pictures as a list, or as what gives them one by one.

    Raises:
        TypeError: If `images` is a dataset or loader.
    """
    if isinstance(images, Dataset | DataLoader):
        kind = type(images).__name__
        raise TypeError(f"Expected images or paths, got a {kind}. Use pairsim.encode_dataset(model, dataset).")
    if is_single(images):
        return [cast("PictureLike", images)]
    several = cast("Iterable[PictureLike]", images)
    return list(several) if isinstance(several, Sized) else several


def _without_repeats(pictures: Sequence[PictureLike]) -> tuple[list[PictureLike], list[int]]:
    """Each path and each object once, and where each picture is among them."""
    places: dict[Hashable, int] = {}
    unique: list[PictureLike] = []
    found = []
    for picture in pictures:
        key = os.fspath(picture) if isinstance(picture, str | os.PathLike) else id(picture)
        place = places.setdefault(key, len(unique))
        if place == len(unique):
            unique.append(picture)
        found.append(place)
    return unique, found


def _read(pictures: Sequence[PictureLike], preprocessing: Preprocessing) -> Tensor:
    return torch.stack([read_pixels(picture, preprocessing) for picture in pictures])


def read_pixels(picture: PictureLike, preprocessing: Preprocessing) -> Tensor:
    """A picture as `Preprocessing.read` gives it; pixels that are so already do not go through Pillow."""
    if isinstance(picture, Tensor | np.ndarray) and picture.dtype in (torch.uint8, np.uint8):
        shape, size, channels = tuple(picture.shape), preprocessing.image_size, preprocessing.channels
        if isinstance(picture, Tensor):
            if shape == (channels, *size):
                return picture.detach().cpu()
        elif shape in (size, (*size, 1)) and channels == 1:
            return torch.tensor(np.ascontiguousarray(picture)).view(1, *size)
        elif shape == (*size, 3) and channels == 3:
            return torch.tensor(np.ascontiguousarray(picture)).permute(2, 0, 1)
    return preprocessing.read(picture)


def _read_ahead(pictures: Iterable[PictureLike], preprocessing: Preprocessing, batch_size: int) -> Generator[Tensor]:
    """Batches of pictures, read in threads ahead of the net unless the first few were quick to read."""
    size = min(_PICTURES_A_TASK, batch_size)
    source = iter(pictures)
    tasks = iter(lambda: list(islice(source, size)), [])
    first = next(tasks, [])
    if not first:
        return
    started = time.perf_counter()
    pixels = _read(first, preprocessing)
    if (time.perf_counter() - started) / len(first) < QUICK_S:
        parts: Generator[Tensor] = (_read(task, preprocessing) for task in tasks)
    else:
        parts = _read_in_threads(tasks, preprocessing, ahead=2 * -(-batch_size // size))
    with contextlib.closing(parts):
        rest = [pixels]
        while rest:
            if sum(map(len, rest)) < batch_size and (part := next(parts, None)) is not None:
                rest.append(part)
                continue
            joined = torch.cat(rest)
            yield joined[:batch_size]
            rest = [joined[batch_size:]] if len(joined) > batch_size else []
            if not rest and (part := next(parts, None)) is not None:
                rest = [part]


def _read_in_threads(
    tasks: Iterable[list[PictureLike]], preprocessing: Preprocessing, *, ahead: int
) -> Generator[Tensor]:
    """The pictures of each task in order, with so many tasks being read ahead: decoding leaves Python's lock."""
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pairsim-read")
    waiting: deque[Future[Tensor]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(_read, task, preprocessing))
            if len(waiting) >= ahead + threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
