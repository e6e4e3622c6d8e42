"""Index the images of each class in two arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pairsim._common.storage import sha256
from pairsim.data.labels import as_labels
from pairsim.data.random import Int64Array
from pairsim.errors import DataError

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class ClassIndex:
    """The images of each class: sorted order and offsets.

    The images of class `c` are `order[offsets[c]:offsets[c + 1]]`, ascending.

    Attributes:
        classes: The distinct labels `[C]`, ascending; the number of a class is its index here.
        codes: Class number of each image `[N]`.
        order: Image numbers `[N]`, sorted by class and then by number.
        offsets: Start of each class in `order`, `[C + 1]`.
        counts: Number of images of each class `[C]`.

    Example:
        >>> index = ClassIndex.from_labels(np.array(["b", "a", "b"]))
        >>> index.classes.tolist(), index.order.tolist(), index.offsets.tolist()
        (['a', 'b'], [1, 0, 2], [0, 1, 3])
    """

    classes: npt.NDArray[Any]
    codes: IntArray
    order: IntArray
    offsets: Int64Array
    counts: Int64Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", np.diff(self.offsets))

    @property
    def num_images(self) -> int:
        """Number of images, N."""
        return len(self.codes)

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.classes)

    @property
    def missing_kind(self) -> Literal["positive", "negative"] | None:
        """Kind of pairs these images lack, `"positive"` without two of a class, `"negative"` without two classes."""
        if self.counts.max() < 2:
            return "positive"
        return "negative" if self.num_classes < 2 else None

    @classmethod
    def from_labels(cls, labels: Any) -> ClassIndex:
        """Build the index with one sort.

        Args:
            labels: One label per image `[N]`, whole numbers or strings: an array, or anything that `read_labels` takes.

        Returns:
            The index; its classes are the sorted labels.

        Raises:
            DataError: If there are no labels, or they are neither whole numbers nor text.
        """
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind not in "biuU":
            labels = as_labels(labels)
        if len(labels) == 0:
            raise DataError("Expected a dataset with images, found none. Check the path, the split or the filter.")
        classes, codes = _encode(labels)
        counts = np.bincount(codes, minlength=len(classes))
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        # numpy sorts 16-bit numbers by radix, in linear time
        narrow = np.int32 if len(labels) <= np.iinfo(np.int32).max else np.int64
        order: IntArray = np.argsort(codes, kind="stable").astype(narrow)
        return cls(classes=classes, codes=codes, order=order, offsets=offsets)

    def bound_classes(self, groups: npt.NDArray[Any]) -> Int64Array:
        """Return for each class the lowest class that it is linked to by common groups, directly or through others.

        Args:
            groups: The group of each image `[N]`, text or whole numbers.

        Returns:
            Class numbers `[C]`, the same for the classes that belong together.

        Raises:
            ValueError: If there is not one group for each image.

        Example:
            >>> index = ClassIndex.from_labels(np.array(["a forged", "a genuine", "b forged", "b genuine"]))
            >>> index.bound_classes(np.array(["a", "a", "b", "b"])).tolist()
            [0, 0, 2, 2]
        """
        if len(groups) != self.num_images:
            raise ValueError(f"Expected one group for each of {self.num_images} images, got {len(groups)}.")
        numbers = np.unique(groups, return_inverse=True)[1]
        codes, linked = self.codes.astype(np.int64), np.arange(self.num_classes)
        while True:
            lowest = np.full(int(numbers.max()) + 1, self.num_classes)
            np.minimum.at(lowest, numbers, linked[codes])
            lower = linked.copy()
            np.minimum.at(lower, codes, lowest[numbers])
            if np.array_equal(lower, linked):
                return linked
            linked = lower

    def fingerprint(self) -> dict[str, Any]:
        """Return numbers and a hash of the labels that identify the data: `num_images`, `num_classes`, `labels`."""
        digest = sha256(self.codes.astype("<i8").tobytes())
        return {"num_images": self.num_images, "num_classes": self.num_classes, "labels": digest}


def check_index(index: ClassIndex) -> None:
    """Check that this is an index of classes, not their labels.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(index, ClassIndex):
        raise TypeError(f"Expected a ClassIndex, got {type(index).__name__}. Use ClassIndex.from_labels(labels).")


def _encode(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], IntArray]:
    """Return the distinct labels, ascending, and the index of each label among them, in the narrowest type."""
    low, high = (int(labels.min()), int(labels.max())) if labels.dtype.kind in "iub" else (0, 2**64)
    if high - low < max(65_536, 2 * len(labels)) and high <= np.iinfo(np.int64).max:  # count instead of sorting
        present = np.zeros(high - low + 1, dtype=bool)
        for part in _parts(labels):
            present[part.astype(np.int64) - low] = True
        values = np.flatnonzero(present)
        table = np.zeros(high - low + 1, dtype=_code_type(len(values)))
        table[values] = np.arange(len(values))
        classes = (values + low).astype(labels.dtype)
    else:
        table, classes = None, np.unique(labels)
    codes = np.empty(len(labels), dtype=_code_type(len(classes)))
    for part, out in zip(_parts(labels), _parts(codes), strict=True):
        out[:] = np.searchsorted(classes, part) if table is None else table[part.astype(np.int64) - low]
    return classes, codes


def _code_type(num_classes: int) -> type[np.uint16 | np.uint32]:
    return np.uint16 if num_classes <= 2**16 else np.uint32


def _parts(values: npt.NDArray[Any], size: int = 1 << 20) -> list[npt.NDArray[Any]]:
    """Split a long array into views, so that temporary copies stay small."""
    return [values[start : start + size] for start in range(0, len(values), size)]
