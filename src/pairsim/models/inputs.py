"""Turn the images that `SimilarityModel.encode` takes into batches of pixels, and read files ahead of the net."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pairsim._common.ordered_map import ordered_map
from pairsim.errors import DataError
from pairsim.images import PictureFile, PictureLike, Preprocessing
from pairsim.images.preprocessing import CUT

Images: TypeAlias = Tensor | PictureLike | Iterable[PictureLike]
Result = TypeVar("Result")

_MAX_THREADS = 8
_TIMED_PICTURES = 8
"""Pictures that are read first, without threads, to see how long reading takes."""
QUICK_S = 3e-4
"""A picture that is read in less time is mostly Python's own work, which threads do not share."""


@dataclass(frozen=True)
class ImageBatches:
    """Batches of images for the net.

    Attributes:
        batches: uint8 or preprocessed `[n, C, H, W]`; iterate over them once, then close them.
        num_images: Images in all batches, or `None` if only the end of a generator shows it.
        indices: For each image that was asked for, its row in the batches; `None` if they are those images in order.
    """

    batches: Generator[Tensor]
    num_images: int | None
    indices: Tensor | None = None


def image_batches(images: Images, preprocessing: Preprocessing, batch_size: int) -> ImageBatches:
    """Cut images into batches, reading pictures on the way.

    Args:
        images: A tensor `[N, C, H, W]`; or one or several pictures (see `read_image`), in a sequence, a generator or
            an array `[N, H, W, C]`. In a sequence, a path or object that comes twice is read once.
        preprocessing: How pictures are read.
        batch_size: Images in a batch; the last has what is left.

    Returns:
        The batches in the order of the images. Iterating raises what reading raises.

    Raises:
        TypeError: If `images` is a dataset or loader.
    """
    if isinstance(images, Tensor) and images.ndim == 4:
        tensor = images
        parts = (tensor[k : k + batch_size] for k in range(0, len(tensor), batch_size))
        return ImageBatches(parts, len(tensor))
    pictures = as_pictures(images)
    if not isinstance(pictures, list):
        return ImageBatches(_read_batches(pictures, preprocessing, batch_size), None)
    keys: list[Hashable] = [os.fspath(p) if isinstance(p, str | os.PathLike) else id(p) for p in pictures]
    unique = dict(zip(keys, pictures, strict=True))
    row_of = {key: row for row, key in enumerate(unique)}
    indices = None if len(unique) == len(keys) else torch.tensor([row_of[key] for key in keys])
    return ImageBatches(_read_batches(unique.values(), preprocessing, batch_size), len(unique), indices)


def is_single(images: object) -> bool:
    """Return whether this is one picture: a path, file in memory, array, PIL image or a tensor without a batch."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim != 4
    return isinstance(images, str | os.PathLike | PictureFile) or hasattr(images, "__array_interface__")


def joined_pair(first: Images, second: Images) -> Images | None:
    """Return two single images as one input of `image_batches`; `None` if there are several, or they do not join."""
    if is_single(first) and is_single(second):
        return cast("Images", [first, second])
    if isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape:
        joins = len(first) == 1 and (first.dtype, first.device) == (second.dtype, second.device)
        if joins:
            both = torch.cat((first, second))
            if CUT in vars(first) and CUT in vars(second):
                vars(both)[CUT] = True
            return both
    return None


def finite_images(images: Tensor) -> Tensor:
    """Return which images `[n, C, H, W]` have finite pixels only, bool `[n]`, without waiting for the device."""
    if not images.is_floating_point():
        return torch.ones(len(images), dtype=torch.bool, device=images.device)
    return images.isfinite().flatten(1).all(dim=1)


def check_finite(finite: Tensor, embeddings: Tensor) -> None:
    """Check that images and their embeddings are finite.

    Args:
        finite: From `finite_images` of all images, bool `[N]`.
        embeddings: `[N, D]`.

    Raises:
        DataError: If embeddings are not; names the first image.
        ValueError: If pixels are not; names the first image.
    """
    if bad := (~finite).nonzero().flatten().tolist():
        raise ValueError(
            f"Expected finite pixels, found NaN or infinity in image {bad[0]}"
            f"{f' and {len(bad) - 1:,} more' if bad[1:] else ''}. Check how images are scaled, or remove them."
        )
    if bad := (~embeddings.isfinite().all(dim=1)).nonzero().flatten().tolist():
        raise DataError(
            f"Expected finite embeddings, the net gives NaN for image {bad[0]}, of finite pixels and with finite "
            'weights. Use precision="fp32" and images of the scale of training.'
        )


def check_no_dataset(images: object) -> None:
    """Check that these are images, and not items with labels or a loader.

    Raises:
        TypeError: If they are.
    """
    first = images[0] if isinstance(images, list | tuple) and images else None
    typed_columns = hasattr(images, "features") and not isinstance(images, Tensor | np.ndarray)  # of Hugging Face
    if isinstance(images, Dataset | DataLoader | Mapping) or isinstance(first, list | tuple | Mapping) or typed_columns:
        of = "" if first is None else f" of {type(first).__name__}"
        raise TypeError(
            f"Expected images or paths, got a {type(images).__name__}{of}. Use pairsim.encode_dataset(model, dataset)."
        )
    if not isinstance(images, Iterable) and not is_single(images):
        raise TypeError(f"Expected images or paths, got {type(images).__name__}.")


def as_pictures(images: Images) -> Iterable[PictureLike]:
    """Return one or several pictures as a list; a generator is returned as it is.

    Raises:
        TypeError: If `images` is a dataset or loader.
    """
    check_no_dataset(images)
    if is_single(images):
        return [cast("PictureLike", images)]
    several = cast("Iterable[PictureLike]", images)
    return list(several) if isinstance(several, Sized) else several


def read_pixels(picture: PictureLike, preprocessing: Preprocessing) -> Tensor:
    """Read a picture as `Preprocessing.read` does; pixels of the right size and channels do not go through Pillow."""
    if isinstance(picture, Tensor | np.ndarray) and picture.dtype in (torch.uint8, np.uint8):
        shape, size, channels = tuple(picture.shape), preprocessing.image_size, preprocessing.channels
        if isinstance(picture, Tensor):
            if shape == (channels, *size):
                return picture.detach().cpu()
        elif channels in (1, 3) and (shape == (*size, channels) or (channels == 1 and shape == size)):
            return torch.tensor(np.ascontiguousarray(picture)).view(*size, channels).permute(2, 0, 1)
    return preprocessing.read(picture)


def _read_batches(pictures: Iterable[PictureLike], preprocessing: Preprocessing, batch_size: int) -> Generator[Tensor]:
    results = read_ahead(partial(read_pixels, preprocessing=preprocessing), pictures, batch_size)
    with contextlib.closing(results):
        while batch := list(islice(results, batch_size)):
            yield torch.stack(batch)


def read_ahead(
    read: Callable[[PictureLike], Result], pictures: Iterable[PictureLike], batch_size: int
) -> Generator[Result]:
    """Read pictures in order, in threads ahead of the net unless the first few are quick to read.

    Args:
        read: Reads one picture.
        pictures: Taken one by one, at most two batches ahead.
        batch_size: Pictures in a batch.
    """
    source = iter(pictures)
    started = time.perf_counter()
    first = [read(picture) for picture in islice(source, min(_TIMED_PICTURES, batch_size))]
    quick = time.perf_counter() - started < QUICK_S * len(first)
    threads = 0 if quick else min(_MAX_THREADS, os.cpu_count() or 1)
    rest = ordered_map(read, source, threads=threads, ahead=2 * batch_size, name="pairsim-read")
    with contextlib.closing(rest):
        yield from first
        yield from rest
