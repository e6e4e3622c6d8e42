"""Images together with their labels, which are read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt
from torch.utils.data import Dataset

from pairsim.data.class_index import ClassIndex
from pairsim.data.labels import read_labels


@dataclass(frozen=True, eq=False)
class LabelledImages(Dataset[tuple[Any, Any]]):
    """A dataset with its labels, which are read once and passed on with the images.

    It is a dataset itself: items are `(image, label)`.

    Attributes:
        dataset: Map-style; items are `(image, ...)` or images.
        targets: Label of each image `[N]`, whole numbers or strings (see `read_labels`).

    Example:
        >>> images = LabelledImages.of([("first.png", 3), ("second.png", 7)])
        >>> images.targets.tolist(), images.index.counts.tolist(), LabelledImages.of(images) is images
        ([3, 7], [1, 1], True)
    """

    dataset: Any
    targets: npt.NDArray[Any]

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
        if labels is None and isinstance(dataset, LabelledImages):
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
    """

    targets: npt.NDArray[Any] = field(init=False, repr=False, compare=False)
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    source: str

    def __post_init__(self) -> None:
        images = LabelledImages.of(self.dataset)
        object.__setattr__(self, "dataset", images.dataset)
        object.__setattr__(self, "targets", images.targets)


def images_of(dataset: Any) -> Any:
    """Return the dataset inside `LabelledImages`; any other dataset as it is."""
    while isinstance(dataset, LabelledImages):
        dataset = dataset.dataset
    return dataset


def image_of(item: Any) -> Any:
    """Return the image of an item `(image, ...)`; any other item as it is."""
    return item[0] if isinstance(item, tuple | list) else item
