"""Labelled images as datasets: in memory, in one mapped file, or as picture files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from pairsim.data.labels import read_labels
from pairsim.data.random import Int64Array
from pairsim.errors import DataError
from pairsim.images import Fit, Interpolation, Preprocessing, read_image


@runtime_checkable
class Labelled(Protocol):
    """A map-style dataset of `(image, label)`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


class ImageTensors(Dataset[tuple[Tensor, Any]]):
    """Labelled images in one tensor in memory; batches are picked from it, without a loader.

    Args:
        images: `[N, C, H, W]` or `[N, H, W]` (grey), uint8 pixels or preprocessed floating point, on any device. In
            channels_last layout they are handed out so, without converting batch by batch.
        labels: One label per image: whole numbers or strings.

    Raises:
        DataError: If the shapes do not fit or pixels are not finite.

    Example:
        >>> ImageTensors(torch.zeros(2, 28, 28, dtype=torch.uint8), [0, 1])[1][0].shape
        torch.Size([1, 28, 28])
    """

    def __init__(self, images: Tensor, labels: Any) -> None:
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4:
            raise DataError(f"Expected images to have shape [N, C, H, W] or [N, H, W], got {list(images.shape)}.")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise DataError(
                f"Expected images as uint8 pixels or floating point, got {images.dtype}. Use images.to(torch.uint8)."
            )
        check_finite(images, range(len(images)))
        self.images = images
        self.targets: npt.NDArray[Any] = read_labels(range(len(images)), labels)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.images[index], self.targets[index].item()


class ImageFiles(Dataset[tuple[Tensor, Any]]):
    """Labelled picture files, read when asked for.

    Args:
        paths: One file per image.
        labels: One label per image: whole numbers or strings.
        image_size: Height and width that every picture is resized to; `None` keeps each picture's own.
        channels: 1 for grey, 3 for colour.
        preprocessing: A model's, to read pictures as the model does: it decides size, channels, fit and
            interpolation, so that `image_size` and `channels` have no say.

    Raises:
        DataError: If there is not one label per file.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        labels: Any,
        *,
        image_size: tuple[int, int] | None = None,
        channels: int = 3,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.paths: list[str] = [os.fspath(path) for path in paths]
        self.targets: npt.NDArray[Any] = read_labels(self.paths, labels)
        self.preprocessing = preprocessing
        self.image_size: tuple[int, int] | None = image_size if preprocessing is None else preprocessing.image_size
        self.channels: int = channels if preprocessing is None else preprocessing.channels

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def resizing(self) -> tuple[Fit, Interpolation]:
        """How pictures get their size (see `read_image`)."""
        if self.preprocessing is None:
            return "stretch", "bilinear"
        return self.preprocessing.fit, self.preprocessing.interpolation

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        fit, interpolation = self.resizing
        pixels = read_image(
            self.paths[index],
            channels=self.channels,
            image_size=self.image_size,
            fit=fit,
            interpolation=interpolation,
        )
        return pixels, self.targets[index].item()


class MappedImages(Dataset[tuple[Tensor, Any]]):
    """Labelled images in a file of pixels, which the system reads as they are asked for and keeps as long as it can.

    Args:
        path: The file; it must stay as it is.
        offset: Bytes before the first pixel.
        shape: `(N, C, H, W)` of the uint8 pixels in it.
        targets: One label per place.
        places: Which images of the file these are `[n]`; all by default.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        shape: tuple[int, int, int, int],
        targets: npt.NDArray[Any],
        places: Int64Array | None = None,
    ) -> None:
        self.path = path
        self.offset = offset
        self.shape = shape
        self.places: Int64Array = np.arange(shape[0]) if places is None else places
        self.targets = targets
        self._pixels: npt.NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pixels": None}  # a worker maps the file for itself, instead of being sent its content

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.batch(np.array([index]))[0], self.targets[index].item()

    def batch(self, indices: npt.NDArray[np.integer]) -> Tensor:
        """Some images as uint8 `[n, C, H, W]`."""
        if self._pixels is None:
            # Read-only, unlike torch.from_file: a map that could be written to must not exceed the machine's memory.
            self._pixels = np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.offset, shape=self.shape)
        return torch.from_numpy(np.asarray(self._pixels).take(self.places[indices], axis=0))


def gather(images: Tensor, index: Tensor) -> Tensor:
    """Images `[n, C, H, W]` at the places `index`, int64 `[n]` on the same device, in the layout of `images`."""
    if images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
        return images.index_select(0, index)  # many times as fast as images[index]
    # As rows of pixels with channels last they are copied whole; index_select itself would go value by value.
    return images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)


def subset(dataset: Any, indices: npt.NDArray[np.integer]) -> Any:
    """Some images of a dataset, of the same kind where that is faster than a `Subset`."""
    places = indices.astype(np.int64)
    if isinstance(dataset, ImageTensors):
        index = torch.from_numpy(places).to(dataset.images.device)
        return ImageTensors(gather(dataset.images, index), dataset.targets[places])
    if isinstance(dataset, MappedImages):
        return MappedImages(
            dataset.path, dataset.offset, dataset.shape, dataset.targets[places], places=dataset.places[places]
        )
    if isinstance(dataset, ImageFiles):
        paths = [dataset.paths[place] for place in places.tolist()]
        return ImageFiles(
            paths,
            dataset.targets[places],
            image_size=dataset.image_size,
            channels=dataset.channels,
            preprocessing=dataset.preprocessing,
        )
    return Subset(dataset, places.tolist())


def in_memory(dataset: Any) -> Any:
    """A dataset as `ImageTensors` where its pixels are in memory anyway, otherwise the dataset itself.

    This holds for torchvision's MNIST family without a transform, for a `TensorDataset` of images and one label each,
    and for a `Subset` of either.
    """
    if type(dataset) is Subset:  # a class derived from it may change images
        whole = in_memory(dataset.dataset)
        return subset(whole, np.asarray(dataset.indices)) if isinstance(whole, ImageTensors) else dataset
    pixels = getattr(dataset, "data", None)
    plain = getattr(dataset, "transform", None) is None and getattr(dataset, "transforms", None) is None
    if plain and isinstance(pixels, Tensor) and pixels.dtype == torch.uint8 and pixels.ndim == 3:
        return ImageTensors(pixels, read_labels(dataset))
    if isinstance(dataset, torch.utils.data.TensorDataset) and [t.ndim for t in dataset.tensors] == [4, 1]:
        return ImageTensors(dataset.tensors[0], read_labels(dataset))
    return dataset


def check_finite(images: Tensor, indices: Sequence[int] | Int64Array) -> None:
    """Refuse NaN and infinite pixels.

    Raises:
        DataError: Naming the first image that has one.
    """
    if not images.is_floating_point() or bool(torch.isfinite(images.sum())):
        return
    finite = torch.isfinite(images).flatten(1).all(dim=1)
    if not bool(finite.all()):
        bad = int(torch.nonzero(~finite)[0])
        raise DataError(
            f"Expected finite pixels, found NaN or infinite values in image {int(indices[bad])}. "
            "Check the transform, or remove the image."
        )


def fetch_images(dataset: Any, indices: Int64Array, preprocessing: Preprocessing | None = None) -> Tensor:
    """The images at some places of a dataset as one batch.

    Args:
        dataset: Items are `(image, ...)` or images; an image is a tensor, or a picture when `preprocessing` is given.
        indices: Image numbers `[n]`; an image that is asked for twice is fetched once.
        preprocessing: Reads items that are PIL images, arrays or paths.

    Returns:
        `[n, C, H, W]`, uint8 or floating point.

    Raises:
        DataError: If images differ in shape, are not images, or have pixels that are not finite.
        ImageReadError: If a file cannot be read; the message names it.
    """
    if isinstance(dataset, ImageTensors):
        return gather(dataset.images, torch.from_numpy(indices).to(dataset.images.device))
    if isinstance(dataset, MappedImages):
        return dataset.batch(indices)
    unique, inverse = np.unique(indices, return_inverse=True)
    if hasattr(dataset, "__getitems__"):
        items = cast("list[Any]", dataset.__getitems__(unique.tolist()))
    else:
        items = [dataset[int(index)] for index in unique]
    images = [_as_tensor(item, int(index), preprocessing) for item, index in zip(items, unique, strict=True)]
    for image, index in zip(images, unique, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"Expected all images to have one shape, found {list(images[0].shape)} at index {int(unique[0])} "
                f"and {list(image.shape)} at index {int(index)}. Add a resize to the dataset's transform."
            )
    batch = torch.stack(images)
    check_finite(batch, unique)
    return batch[torch.from_numpy(inverse)]


def _as_tensor(item: Any, index: int, preprocessing: Preprocessing | None) -> Tensor:
    image = item[0] if isinstance(item, tuple | list) else item
    if isinstance(image, Tensor):
        if image.ndim == 2:
            image = image[None]
        if image.ndim != 3:
            raise DataError(f"Expected image {index} to have shape [C, H, W], got {list(image.shape)}.")
        return image
    if preprocessing is not None and not isinstance(image, int | float):
        return preprocessing.read(image)
    raise DataError(
        f"Expected item {index} to be (image, label) with the image as a tensor [C, H, W], got {type(image).__name__}. "
        "Add a transform such as torchvision.transforms.v2.PILToTensor()."
    )
