"""Read the labels of any dataset, without decoding images where possible."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set, Sized
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from pairsim._common.arrays import as_array
from pairsim._common.progress import progress_bar
from pairsim.data.items import check_map_style, column_labels, label_of
from pairsim.errors import DataError

_ITEMS_COMPARED = 16
"""Items of a wrapper that are read, to see whether it changes labels."""
_MAX_FLOAT = 2.0**53
"""From here on, floating point does not hold every whole number."""
_ATTRIBUTES = ("targets", "labels", "_labels")
_MIXED = "Expected labels of one kind, found text and numbers mixed. Convert them all to text."


def read_labels(dataset: Any, labels: Any = None) -> npt.NDArray[Any]:
    """Read the label of every image of a dataset.

    The first of these is used: `labels`; the labels of the dataset inside a `Subset` or `ConcatDataset`; the label
    column of a Hugging Face dataset, with the names of its classes; the attributes `.targets`, `.labels` and `.samples`
    (path and label); the last tensor of a `TensorDataset`; the labels of the dataset inside another wrapper
    (`.dataset`), if some items that are read have these. A `target_transform` is applied to each distinct label once.
    If there is none of these, the dataset is read once from end to end, with a progress bar and a hint. One-hot labels
    become class numbers.

    Args:
        dataset: Map-style dataset whose items are `(image, label, ...)` or dictionaries with keys such as `"image"` and
            `"label"`, or anything with a length where `labels` are given.
        labels: One label per image, instead of the dataset's own: ints, strings, a tensor, an array or a column.

    Returns:
        One-dimensional array with one label per image, of whole numbers or strings.

    Raises:
        DataError: If there is not one label per image, labels are missing, NaN, too large, or neither whole numbers nor
            text, or the indices of a `Subset` are none.
        TypeError: If the dataset has no length, or is a loader or a collection of splits.

    Example:
        >>> read_labels(range(3), labels=["cat", "dog", "cat"]).tolist()
        ['cat', 'dog', 'cat']
    """
    check_map_style(dataset)
    found = _labels_of(dataset) if labels is None else as_labels(labels)
    assert found is not None, "they are read if they are not stored"
    if len(found) != len(dataset):
        raise DataError(
            f"Expected one label for each of {len(dataset)} images, found {len(found)} labels. "
            "Pass labels= in the order of the dataset."
        )
    return found


def _labels_of(dataset: Any, *, read: bool = True) -> npt.NDArray[Any] | None:
    """Return the labels of a dataset; None where they are not stored and `read` is false."""
    if isinstance(dataset, ConcatDataset):
        parts = [_labels_of(part, read=read) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        if len({part.dtype.kind == "U" for part in known if len(part)}) > 1:
            raise DataError(_MIXED)  # numpy would turn numbers into text, and 1 and "1" into one class
        joined = np.concatenate(known)
        # numpy joins unsigned and signed 64-bit numbers in floating point, which cannot hold them all
        return joined if joined.dtype.kind != "f" else as_labels([label for part in known for label in part.tolist()])
    stored = _stored_labels(dataset)
    return _labels_by_reading(dataset) if stored is None and read else stored


def _stored_labels(dataset: Any) -> npt.NDArray[Any] | None:
    """Return labels that are known without reading an image, or None."""
    if isinstance(dataset, Subset):
        inner = _labels_of(dataset.dataset, read=False)
        return None if inner is None else inner[subset_indices(dataset)]
    columns = column_labels(dataset)
    if columns is not None:
        return as_labels(columns)
    for name in _ATTRIBUTES:
        values = getattr(dataset, name, None)
        if values is not None and not callable(values):
            return _transformed(dataset, as_labels(values))
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, Sequence) and all(isinstance(item, tuple | list) and len(item) == 2 for item in samples[:1]):
        return _transformed(dataset, as_labels([label for _, label in samples]))
    is_tensors = isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__
    if is_tensors and dataset.tensors[-1].ndim == 1 and len(dataset.tensors) > 1:
        return as_labels(dataset.tensors[-1])
    wrapped = getattr(dataset, "dataset", None)
    # A wrapper with another number of items selects or repeats some, and which ones is not known.
    inner = _labels_of(wrapped, read=False) if isinstance(wrapped, Sized) and len(wrapped) == len(dataset) else None
    if inner is None:
        return None
    labels = _transformed(dataset, inner)
    return labels if _are_of_items(labels, dataset) else None


def subset_indices(dataset: Subset[Any]) -> npt.NDArray[np.int64]:
    """Return the indices of a `Subset`, from 0.

    Raises:
        DataError: If they are not whole numbers, or there are no such images.
    """
    indices, size = np.asarray(dataset.indices), len(dataset.dataset)  # type: ignore[arg-type]
    if indices.size == 0:
        return np.zeros(0, dtype=np.int64)
    if indices.dtype.kind not in "iu":
        advice = " Pass mask.nonzero()[0] for a mask." if indices.dtype.kind == "b" else ""
        raise DataError(f"Expected the indices of a Subset to be whole numbers, got {indices.dtype}.{advice}")
    wrong = indices[(indices < -size) | (indices >= size)]
    if wrong.size:
        raise DataError(f"Expected the indices of a Subset to be below its {size:,} images, got {wrong.flat[0]}.")
    return np.where(indices < 0, indices + size, indices).astype(np.int64)


def _are_of_items(labels: npt.NDArray[Any], dataset: Any) -> bool:
    """Return whether some items of a wrapper have these labels, or other names of the same classes."""
    seen: set[tuple[Any, Any]] = set()
    for index in np.unique(np.linspace(0, len(labels) - 1, min(_ITEMS_COMPARED, len(labels))).astype(int)).tolist():
        try:
            found = as_labels([label_of(dataset[index])])[0]
        except Exception:  # such items cannot tell; what fails here fails again where the image is needed
            return True
        seen.add((labels[index].item(), found.item()))
    if all(isinstance(label, str) == isinstance(found, str) for label, found in seen):
        return all(label == found for label, found in seen)
    return len(seen) == len({label for label, _ in seen}) == len({found for _, found in seen})


def _transformed(dataset: Any, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    transform = getattr(dataset, "target_transform", None)
    if transform is None:
        return labels
    distinct, inverse = np.unique(labels, return_inverse=True)
    return as_labels([transform(value) for value in distinct.tolist()])[inverse]


def _labels_by_reading(dataset: Any) -> npt.NDArray[Any]:
    name = type(dataset).__name__
    hint = f"Reading every item of {name} for its label (pass labels=[...] to skip this)"
    values = []
    with progress_bar(len(dataset), hint, "images") as bar:
        for index in range(len(dataset)):
            try:
                values.append(label_of(dataset[index]))
            except DataError as error:
                raise DataError(f"{error} See item {index} of {name}, or pass labels=[...].") from error
            bar.update()
    return as_labels(values)


def as_labels(values: Any) -> npt.NDArray[Any]:
    """Convert labels to a one-dimensional array of whole numbers or strings, as `read_labels` does.

    Raises:
        DataError: If they are not one label per image, are missing, or neither whole numbers nor text.
        TypeError: If they are not a list, array or column.
    """
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise TypeError(f"Expected a list or array with one label per image, got {type(values).__name__}.")
    if hasattr(values, "to_numpy"):  # a column of a table
        values = values.to_numpy()
    array = as_array(values, "labels") if isinstance(values, torch.Tensor | np.ndarray) else np.empty(0, dtype=object)
    if array.dtype.kind in "OT":
        array = _array_of(list(values))
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "biuf" and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all():
        array = array.argmax(axis=1)  # one-hot
    if array.ndim != 1:
        raise DataError(
            f"Expected one label per image, found labels of shape {list(array.shape)} that are not one-hot. "
            "Pass labels= with a single class per image."
        )
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise DataError(
                f"Expected a label for every image, found {bad.size} NaN or infinite, the first at index {bad[0]}. "
                "Remove those images or label them."
            )
        if not np.array_equal(array, np.floor(array)):
            raise DataError(
                "Expected labels to be whole numbers or text, found fractions. Pass class numbers or names."
            )
        if array.size and np.abs(array).max() >= _MAX_FLOAT:
            raise DataError(
                f"Expected labels in floating point below 2**53, found {np.abs(array).max():.0f}, which may stand for "
                "several classes. Pass whole numbers or text."
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "biuUS":
        raise DataError(f"Expected labels to be whole numbers or text, found {array.dtype}. Pass labels=[...].")
    return array.astype(str) if array.dtype.kind == "S" else array


def _array_of(items: list[Any]) -> npt.NDArray[Any]:
    kinds = set(map(type, items))
    if not kinds:
        return np.empty(0, dtype=np.int64)
    if any(issubclass(kind, torch.Tensor | np.ndarray | list | tuple) for kind in kinds):
        items = [_scalar(as_array(item, "labels")) for item in items]
        kinds = set(map(type, items))
        if kinds == {np.ndarray} and len({item.shape for item in items}) == 1:  # may be one-hot
            return np.stack(items)
    for index, item in enumerate(items if kinds - {int, bool, str} else ()):
        if item is None or (str in kinds and isinstance(item, float) and math.isnan(item)):
            raise DataError(f"Expected a label for every image, found {item} at index {index}. Label it or remove it.")
        if not isinstance(item, int | float | str | np.generic):
            raise DataError(
                f"Expected labels to be whole numbers or text, found {type(item).__name__} at index {index}. "
                "Pass labels=[...] with one class per image."
            )
    if len({issubclass(kind, str) for kind in kinds}) > 1:
        raise DataError(_MIXED)
    array = np.array(items)
    if array.dtype.kind in "fO" and all(issubclass(kind, int | np.integer) for kind in kinds):
        # numpy joins unsigned and signed 64-bit numbers in floating point, which cannot hold them all
        if min(items) < 0 or max(items) >= 2**64:
            raise DataError(
                f"Expected labels of at most 64 bits, found {min(items)} and {max(items)}. Pass them as text."
            )
        array = np.array([int(item) for item in items], dtype=np.uint64)
    return array


def _scalar(item: npt.NDArray[Any]) -> Any:
    """Return the value in an array of one element; any other array as it is."""
    return item.item() if item.size == 1 else item
