"""The image and the label in the items of any dataset: tuples, dictionaries, and tables with typed columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from pairsim.errors import DataError

_IMAGES = ("image", "img", "images", "pixel_values", "picture", "photo")
_LABELS = ("label", "labels", "target", "targets", "fine_label", "class", "category")
_NO_LABEL = -1  # of a class label column


def check_map_style(dataset: Any) -> None:
    """Check that this is a dataset of images that can be read in any order.

    Raises:
        TypeError: If it is a loader, a collection of splits, a list of pairs, a path, or has no length; the message
            says what to pass instead.
    """
    kind, what = type(dataset).__name__, ""
    if isinstance(dataset, DataLoader):
        what = (
            "Pass loader.dataset; its sampler is not used: for some of the images pass Subset(loader.dataset, indices)."
        )
    elif isinstance(dataset, Mapping):
        names = ", ".join(map(repr, dataset))
        what = f"Pass one of its parts, {names}, such as data[{next(iter(dataset), '')!r}]."
    elif callable(getattr(dataset, "all_pairs", None)):
        what = "Pass its .dataset."
    elif hasattr(dataset, "iloc"):
        what = "Pass pairsim.data.ImageFiles(table['path'], table['label']), with the names of its columns."
    elif isinstance(dataset, str | os.PathLike):
        what = "Pass pairsim.load_data(path) for a folder of pictures."
    elif not isinstance(dataset, Sized) or isinstance(dataset, IterableDataset):
        what = "Iterable datasets cannot be paired: load them into a list or a map-style dataset first."
    if what:
        raise TypeError(f"Expected a map-style dataset with a length, got {kind}. {what}")


def image_of(item: Any) -> Any:
    """Return the image of an item: the first of `(image, ...)`, the image of a dictionary, or the item itself.

    Raises:
        DataError: If a dictionary does not have exactly one image.

    Example:
        >>> image_of(("a.png", 3)), image_of({"label": 3, "img": "a.png"}), image_of("a.png")
        ('a.png', 'a.png', 'a.png')
    """
    if isinstance(item, Mapping):
        return item[_name_of(item, _IMAGES, "image", [name for name, value in item.items() if _is_picture(value)])]
    return item[0] if isinstance(item, tuple | list) else item


def label_of(item: Any) -> Any:
    """Return the label of an item: the second of `(image, label, ...)`, or that of a dictionary.

    Raises:
        DataError: If it has none.

    Example:
        >>> label_of(("a.png", 3, "more")), label_of({"label": 3, "img": "a.png"})
        (3, 3)
    """
    if isinstance(item, Mapping):
        return item[_name_of(item, _LABELS, "label", [])]
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(f"Expected items (image, label), found {type(item).__name__}.")
    return item[1]


def column_labels(dataset: Any) -> Iterable[Any] | None:
    """Return the labels of a table with typed columns, as of Hugging Face `datasets`, without decoding its images.

    Returns:
        The names of the classes where the column has them, else its values; `None` if this is not such a table, or has
        no column of labels.

    Raises:
        DataError: If several columns may be the labels, or an image has none.
    """
    features = getattr(dataset, "features", None)
    if not isinstance(features, Mapping):
        return None
    classes = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    if not classes and not any(name in features for name in _LABELS):
        return None
    column = _name_of(dict.fromkeys(classes) or features, _LABELS, "label", classes)
    plain = dataset.with_format(None) if hasattr(dataset, "with_format") else dataset  # a transform may need the images
    values: Sequence[Any] = plain[column][:]
    names = getattr(features[column], "names", None)
    if not names:
        return values
    if _NO_LABEL in values:
        raise DataError(
            f"Expected a label for every image, found {_NO_LABEL} (no label) in column {column!r} at index "
            f"{list(values).index(_NO_LABEL)}. Pass a split that has labels, or labels=[...]."
        )
    return [value if value is None else names[value] for value in values]


def _name_of(columns: Mapping[Any, Any], known: Sequence[str], what: str, by_type: Sequence[Any]) -> Any:
    """The name of a column: the first of the known ones that is there, else the only one of the right type."""
    found = [name for name in known if name in columns][:1] or list(by_type)
    if len(found) != 1:
        raise DataError(
            f"Expected one {what} in each item, under a name such as {known[0]!r}, found the names "
            f"{', '.join(map(repr, columns))}. Rename one to {known[0]!r}."
        )
    return found[0]


def _is_picture(value: Any) -> bool:
    """Whether a value is a PIL image, or an array or tensor of at least two dimensions."""
    return (hasattr(value, "__array_interface__") or hasattr(value, "ndim")) and getattr(value, "ndim", 2) >= 2
