"""Datasets of labelled images: with labels that are read once; in memory, or picture files."""

from __future__ import annotations

import copy
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from pairsim.data.class_index import ClassIndex
from pairsim.data.items import check_map_style, image_of
from pairsim.data.labels import read_labels, subset_indices
from pairsim.data.loading.mapped_images import MappedImages
from pairsim.data.random import Int64Array
from pairsim.errors import DataError, ImageReadError, PairsimError
from pairsim.images import Fit, Interpolation, Preprocessing, read_image

if TYPE_CHECKING:
    from pairsim.data.named.folder_account import FolderAccount


@dataclass(frozen=True, eq=False)
class LabelledImages(Dataset[tuple[Any, Any]]):
    """A dataset with its labels, which are read once and passed on with the images.

    It is a dataset itself: items are `(image, label)`.

    Attributes:
        dataset: Map-style; items are `(image, ...)`, dictionaries or images.
        targets: Label of each image `[N]`, whole numbers or strings: an array, or anything that `read_labels` takes.
        groups: What each image belongs to besides its class, such as the writer of genuine and forged signatures: text
            or whole numbers `[N]`. Images of a group are not split, and its classes come in the same batches (see
            `ClassBalancedBatches`). `None` without groups.

    Example:
        >>> images = LabelledImages.of([("first.png", 3), ("second.png", 7)])
        >>> images.targets.tolist(), images.index.counts.tolist(), LabelledImages.of(images) is images
        ([3, 7], [1, 1], True)
    """

    dataset: Any
    targets: npt.NDArray[Any]
    groups: npt.NDArray[Any] | None = field(default=None, repr=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        targets: Any = self.targets
        if not isinstance(targets, np.ndarray):
            object.__setattr__(self, "targets", read_labels(self.dataset, targets))

    @classmethod
    def of(cls, dataset: Any, labels: Any = None) -> LabelledImages:
        """Return a dataset with its labels; `LabelledImages` are returned as they are.

        Args:
            dataset: Map-style; items are `(image, label)`, or images where `labels` are given.
            labels: One label per image, instead of the dataset's own.

        Raises:
            DataError: If labels are missing or not usable (see `read_labels`).
            TypeError: If the dataset has no length.
        """
        if labels is None and isinstance(dataset, LabelledImages) and not _reads_itself(dataset):
            return dataset
        return LabelledImages(images_of(dataset), read_labels(dataset, labels))

    @cached_property
    def index(self) -> ClassIndex:
        """The images of each class, computed on first use."""
        return ClassIndex.from_labels(self.targets)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return image_of(self.dataset[index]), self.targets[index].item()


@dataclass(frozen=True)
class LabelledData(LabelledImages):
    """One split of a dataset, with what is known about it.

    It is a dataset itself and can be passed wherever a labelled dataset is expected.

    Attributes:
        dataset: The images; items are `(image, label)`, images as uint8 `[C, H, W]`. If `LabelledImages` are given, it
            is the dataset inside, and their labels are not read again.
        class_names: A name for each class, in the order of the sorted labels.
        image_size: Height and width.
        channels: 1 grey, 3 colour.
        source: Where it was read from, for records.
        groups: As for `LabelledImages`, from the metadata file or `--groups`: text `[N]`.
        account: What was read from a folder, and what was left out; `None` for other data.
    """

    targets: npt.NDArray[Any] = field(init=False, repr=False, compare=False)
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    source: str
    account: FolderAccount | None = None

    def __post_init__(self) -> None:
        images = LabelledImages.of(self.dataset)
        object.__setattr__(self, "dataset", images.dataset)
        object.__setattr__(self, "targets", images.targets)


def images_of(dataset: Any) -> Any:
    """Return the dataset inside `LabelledImages`; any other dataset as it is.

    A class that is derived from one of this module, with a `__getitem__` of its own, is put into a `Subset`, so that
    its images are read by it.

    Raises:
        TypeError: If it is not a map-style dataset of images.
    """
    while isinstance(dataset, LabelledImages) and not _reads_itself(dataset):
        dataset = dataset.dataset
    check_map_style(dataset)
    return Subset(dataset, range(len(dataset))) if _reads_itself(dataset) else dataset


def _reads_itself(dataset: Any) -> bool:
    kinds: tuple[type[Any], ...] = (LabelledImages, ImageTensors, ImageFiles, MappedImages)
    return any(isinstance(dataset, kind) and type(dataset).__getitem__ is not kind.__getitem__ for kind in kinds)


class ImageTensors(Dataset[tuple[Tensor, Any]]):
    """Labelled images in one tensor in memory; batches are selected from it without a loader.

    Args:
        images: `[N, C, H, W]` or `[N, H, W]` (grey), uint8 pixels or preprocessed floating point, on any device. A
            channels_last layout is kept in every batch.
        labels: One label per image: whole numbers or strings.

    Raises:
        DataError: If the shapes do not fit or pixels are not finite.
        TypeError: If the images are not a tensor.

    Example:
        >>> ImageTensors(torch.zeros(2, 28, 28, dtype=torch.uint8), [0, 1])[1][0].shape
        torch.Size([1, 28, 28])
    """

    def __init__(self, images: Tensor, labels: Any) -> None:
        if not isinstance(images, Tensor):
            raise TypeError(
                f"Expected images as one tensor, got {type(images).__name__}. Use torch.from_numpy or torch.stack."
            )
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
    """Labelled picture files, each decoded when it is accessed.

    Args:
        paths: One file per image.
        labels: One label per image: whole numbers or strings.
        image_size: Height and width that every picture is resized to; `None` keeps each picture's own.
        channels: 1 for grey, 3 for colour.
        preprocessing: The preprocessing of a model, to read pictures as the model does. It sets size, channels, fit,
            interpolation and white; `image_size` and `channels` are then ignored.

    Raises:
        DataError: If there is not one label per file.
        TypeError: If `paths` is one path.
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
        if isinstance(paths, str | os.PathLike):
            raise TypeError(f"Expected a list of paths, got one: {os.fspath(paths)}. Put it in a list.")
        self.paths: list[str] = [os.fspath(path) for path in paths]
        self.targets: npt.NDArray[Any] = read_labels(self.paths, labels)
        self.preprocessing = preprocessing
        self.image_size: tuple[int, int] | None = image_size
        self.channels: int = channels
        self.resizing: tuple[Fit, Interpolation] = "stretch", "bilinear"
        self.white: int | None = None
        if preprocessing is not None:
            self.image_size, self.channels = preprocessing.image_size, preprocessing.channels
            self.resizing = preprocessing.fit, preprocessing.interpolation
            self.white = preprocessing.white

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        fit, interpolation = self.resizing
        path, size = self.paths[index], self.image_size
        options: dict[str, Any] = {"fit": fit, "interpolation": interpolation, "white": self.white}
        return read_image(path, channels=self.channels, image_size=size, **options), self.targets[index].item()


def gather(images: Tensor, indices: Tensor) -> Tensor:
    """Select images `[n, C, H, W]` by `indices`, int64 `[n]` on the same device; the memory layout is kept."""
    if images.is_contiguous() or not images.is_contiguous(memory_format=torch.channels_last):
        return images.index_select(0, indices)  # many times as fast as images[indices]
    # As rows of channels-last pixels, images are copied whole; index_select on the 4-D view copies value by value.
    return images.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)


def subset(dataset: Any, indices: npt.NDArray[np.integer]) -> Any:
    """Select images of a dataset; the result is of the same kind where that is faster than a `Subset`."""
    if isinstance(dataset, LabelledImages):
        groups = None if dataset.groups is None else dataset.groups[indices]
        labelled = LabelledImages(subset(dataset.dataset, indices), dataset.targets[indices], groups=groups)
        if not isinstance(dataset, LabelledData):
            return labelled
        present = np.unique(dataset.index.codes[indices]).tolist()
        names = tuple(dataset.class_names[code] for code in present)
        return replace(dataset, dataset=labelled, class_names=names, groups=groups)
    if not isinstance(dataset, ImageTensors | ImageFiles | MappedImages):
        return Subset(dataset, indices.tolist())
    part = copy.copy(dataset)
    part.targets = dataset.targets[indices]
    if isinstance(part, ImageTensors):
        part.images = _picked(part, indices.astype(np.int64))
    elif isinstance(part, ImageFiles):
        part.paths = [part.paths[index] for index in indices.tolist()]
    else:
        part.indices = part.indices[indices]
    return part


def joined(first: LabelledData, second: LabelledData) -> LabelledData:
    """Join two splits of a dataset in memory, with the same classes."""
    images = torch.cat([first.dataset.images, second.dataset.images])
    return replace(first, dataset=ImageTensors(images, np.concatenate([first.targets, second.targets])))


def in_memory(dataset: Any) -> Any:
    """Return a dataset as `ImageTensors` where its pixels are in memory already, otherwise the dataset itself.

    This holds for torchvision's MNIST family without a transform, for a `TensorDataset` of images and one label each,
    and for a `Subset` of either. `LabelledImages` give the dataset inside. A derived class with a `__getitem__` of its
    own may change images, so it is returned as it is.
    """
    dataset = images_of(dataset)
    if type(dataset) is Subset:
        whole = None if _reads_itself(dataset.dataset) else in_memory(dataset.dataset)
        return subset(whole, subset_indices(dataset)) if isinstance(whole, ImageTensors) else dataset
    reads = getattr(type(dataset), "__getitem__", None)
    mnist = getattr(sys.modules.get("torchvision.datasets"), "MNIST", None)  # imported where there is one
    plain = getattr(dataset, "transform", None) is None and getattr(dataset, "transforms", None) is None
    if plain and mnist is not None and reads is mnist.__getitem__ and dataset.data.dtype == torch.uint8:
        return ImageTensors(dataset.data, read_labels(dataset))
    if reads is TensorDataset.__getitem__ and [t.ndim for t in dataset.tensors] == [4, 1]:
        return ImageTensors(dataset.tensors[0], read_labels(dataset))
    return dataset


def check_finite(images: Tensor, indices: Sequence[int] | Int64Array) -> None:
    """Check that no pixel is NaN or infinite.

    Raises:
        DataError: If one is; the message names the first such image.
    """
    if not images.is_floating_point() or bool(torch.isfinite(images.sum())):
        return
    bad = torch.nonzero(~torch.isfinite(images).flatten(1).all(dim=1))
    if len(bad):
        raise DataError(
            f"Expected finite pixels, found NaN or infinite values in image {int(indices[int(bad[0])])}. "
            "Check the transform, or remove the image."
        )


def fetch_images(
    dataset: Any,
    indices: Int64Array,
    preprocessing: Preprocessing | None = None,
    *,
    begin: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Read images of a dataset as one batch.

    Args:
        dataset: Items are `(image, ...)` or images; an image is a tensor, or a picture where `preprocessing` is given.
        indices: Image numbers `[n]`; an image that occurs twice is read once.
        preprocessing: Reads items that are PIL images, arrays or paths.
        begin: Called with the number of each image before it is read.

    Returns:
        `[n, C, H, W]`, uint8 or floating point.

    Raises:
        DataError: If images differ in shape, are not images, or have pixels that are not finite, or the dataset raises
            an error of its own; the message has the number of the item.
        ImageReadError: If a file cannot be read; the message names it.
    """
    dataset = images_of(dataset)
    if isinstance(dataset, ImageTensors):
        return _picked(dataset, indices)
    if isinstance(dataset, MappedImages):
        return dataset.batch(indices)
    unique, inverse = np.unique(indices, return_inverse=True)
    numbers = unique.tolist()
    images = []
    at_once = hasattr(dataset, "__getitems__")
    with _named(f"items {numbers[0]} to {numbers[-1]}"):
        items = cast("list[Any]", dataset.__getitems__(numbers)) if at_once else [None] * len(numbers)
    for item, number in zip(items, numbers, strict=True):
        with _named(f"item {number}"):
            begin(number)
            images.append(_as_tensor(image_of(item if at_once else dataset[number]), number, preprocessing))
    for image, number in zip(images, numbers, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"Expected all images to have one shape, found {list(images[0].shape)} at index {numbers[0]} "
                f"and {list(image.shape)} at index {number}. Add a resize to the dataset's transform."
            )
        if image.is_floating_point() != images[0].is_floating_point():
            raise DataError(
                f"Expected all images as pixels or all in floating point, found {images[0].dtype} at index "
                f"{numbers[0]} and {image.dtype} at index {number}. Use one transform for all."
            )
    batch = torch.stack(images)
    check_finite(batch, unique)
    return batch[torch.from_numpy(inverse)]


@contextmanager
def _named(items: str) -> Iterator[None]:
    """Raise errors of a dataset's own code as errors that name its items; they may come from another process."""
    try:
        yield
    except (PairsimError, MemoryError, Warning):  # warnings are errors if the caller has set this
        raise
    except Exception as error:
        kind = ImageReadError if isinstance(error, OSError) else DataError
        what = " ".join(f"{type(error).__name__}: {error}".split())
        named = kind(f"Expected to read {items} of the dataset, but it failed with {what}. Check the dataset.")
        named.add_note(traceback.format_exc())  # the cause does not come with it from another process
        raise named from error


def _picked(images: ImageTensors, indices: Int64Array) -> Tensor:
    return gather(images.images, torch.from_numpy(indices).to(images.images.device))


def _as_tensor(image: Any, number: int, preprocessing: Preprocessing | None) -> Tensor:
    if isinstance(image, Tensor):
        pixels = image[None] if image.ndim == 2 else image
        if pixels.ndim != 3:
            raise DataError(f"Expected image {number} to have shape [C, H, W], got {list(pixels.shape)}.")
        return pixels
    if preprocessing is not None and not isinstance(image, int | float):
        try:
            return preprocessing.read(image)
        except (TypeError, ValueError) as error:
            raise DataError(f"{error} It is the image of item {number}.") from error
    raise DataError(
        f"Expected item {number} to be (image, label) with the image as a tensor [C, H, W], got "
        f"{type(image).__name__}. Add a transform such as torchvision.transforms.v2.PILToTensor()."
    )
