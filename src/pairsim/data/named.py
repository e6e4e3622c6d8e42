"""Datasets by name or folder: `mnist`, `fashion-mnist`, `digits`, or one sub-folder per class."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from pairsim._common.choices import Split
from pairsim.data.class_index import ClassIndex
from pairsim.data.image_sets import ImageFiles, ImageTensors, subset
from pairsim.data.splits import stratified_split
from pairsim.errors import DataError, DatasetNotFoundError, require
from pairsim.images import Preprocessing, folders

SPLITS: tuple[Split, ...] = get_args(Split)
TEST_FRACTION = 0.2
"""Share of the images of each class that is held out as test data where a dataset has no test set of its own."""

IMAGE_SUFFIXES = folders.IMAGE_SUFFIXES
_TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
NAMES = ("digits", *sorted(_TORCHVISION))
_LARGEST_DEFAULT_SIZE = 64


@dataclass(frozen=True)
class LabelledData:
    """One split of a dataset.

    Attributes:
        dataset: Items are `(image, label)`, images as uint8 `[C, H, W]`.
        class_names: A name for each class, in the order of the sorted labels.
        image_size: Height and width.
        channels: 1 grey, 3 colour.
        source: Where it came from, for the record.
    """

    dataset: Any
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    source: str


def data_root(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where named datasets are kept: `data_dir`, else `$PAIRSIM_DATA`, else the user's cache."""
    if data_dir is not None:
        return Path(data_dir)
    if os.environ.get("PAIRSIM_DATA"):
        return Path(os.environ["PAIRSIM_DATA"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pairsim"


def load_data(
    data: str | os.PathLike[str],
    split: Split,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    preprocessing: Preprocessing | None = None,
) -> LabelledData:
    """Load one split of a dataset.

    `train` has every image that is not in `test`; validation data is split off it by the trainer, unless a folder
    has a `val` of its own. Sets without a test set of their own hold out one image in five of each class, the same
    ones every time.

    Args:
        data: `"mnist"`, `"fashion-mnist"`, `"digits"`, or a folder with one sub-folder per class, optionally below
            `train`, `val` and `test`.
        split: `"train"`, `"val"` or `"test"`.
        data_dir: Where named datasets are kept (see `data_root`).
        image_size: Height and width for pictures from a folder; by default those of its first picture, at most 64.
        channels: 1 or 3 for pictures from a folder; by default 1 if the first pictures are grey.
        preprocessing: A model's, to read pictures from a folder as the model does: it decides size, channels, fit
            and interpolation, so that `image_size` and `channels` have no say.

    Returns:
        The images, their labels and what is known of them.

    Raises:
        DatasetNotFoundError: If the name or folder is unknown, or the data is neither there nor can be downloaded.
        DataError: If the folder has no images, the files of a named dataset are damaged, or a named dataset is asked
            for a split that it does not have.
        ValueError: If there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"Expected split to be one of {', '.join(SPLITS)}, got {split!r}.")
    name = os.fspath(data)
    if name in NAMES and split == "val":
        raise DataError(
            f"{name} has no validation split of its own: the trainer splits one off train. Use train or test."
        )
    if name == "digits":
        return _load_digits(split)
    if name in _TORCHVISION:
        return _load_torchvision(name, split, data_root(data_dir))
    folder = Path(name)
    if folder.is_dir():
        return _load_folder(folder, split, image_size, channels, preprocessing)
    near = difflib.get_close_matches(name.lower(), NAMES, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise DatasetNotFoundError(
        f"Expected one of {', '.join(NAMES)}, or a folder with one sub-folder per class, found neither at "
        f"{name!r}.{hint}"
    )


def _hold_out(dataset: Any, labels: Any, split: Split, names: Sequence[str] | None = None) -> Any:
    train, test = stratified_split(ClassIndex.from_labels(labels), TEST_FRACTION, names=names)
    return subset(dataset, test if split == "test" else train)


def _load_digits(split: Split) -> LabelledData:
    sklearn_datasets = require("sklearn.datasets", extra="digits", purpose="The dataset digits")
    bunch = sklearn_datasets.load_digits()
    # 17 grey levels, 0 to 16; 8 x 8 pixels are doubled so that two poolings leave something
    pixels = np.round(bunch.images * (255.0 / 16.0)).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    dataset = ImageTensors(torch.from_numpy(pixels), bunch.target)
    return LabelledData(
        dataset=_hold_out(dataset, dataset.targets, split),
        class_names=tuple(map(str, range(10))),
        image_size=(16, 16),
        channels=1,
        source="digits (scikit-learn, UCI optical recognition of handwritten digits)",
    )


def _load_torchvision(name: str, split: Split, root: Path) -> LabelledData:
    from torchvision import datasets

    kind = getattr(datasets, _TORCHVISION[name])
    places = [root, root / name]  # as torchvision lays it out below its root, or a folder for each dataset
    for place in places:
        raw = place / kind.__name__ / "raw"
        if not all((raw / Path(url).stem).is_file() for url, _ in kind.resources):
            continue
        try:
            found = kind(str(place), train=split == "train", download=False)
            break
        except Exception as error:  # torchvision raises whatever made it stumble, an AssertionError among them
            raise DataError(
                f"Expected whole IDX files of {name} in {raw}, but reading them failed ({_first_line(error)}). "
                f"Remove that folder and load {name} again."
            ) from error
    else:
        try:
            found = kind(str(root), train=split == "train", download=True)
        except Exception as error:  # torchvision raises whatever the failed download raised
            raise DatasetNotFoundError(
                f"Expected {name} in {' or '.join(str(p / kind.__name__ / 'raw') for p in places)}, found none, and "
                f"downloading failed ({_first_line(error)}). Connect to a network, or put the four IDX files "
                "there; --data-dir or PAIRSIM_DATA chooses another folder."
            ) from error
    return LabelledData(
        dataset=ImageTensors(found.data, found.targets),
        class_names=tuple(map(str, found.classes)),
        image_size=(28, 28),
        channels=1,
        source=f"{name} ({found.raw_folder})",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _load_folder(
    folder: Path,
    split: Split,
    image_size: tuple[int, int] | None,
    channels: int | None,
    preprocessing: Preprocessing | None,
) -> LabelledData:
    own_splits = (folder / "train").is_dir()
    place = folder / split if own_splits else folder
    if not place.is_dir() or (split == "val" and not own_splits):
        there = [name for name in SPLITS if (folder / name).is_dir()] if own_splits else ["train", "test"]
        raise DatasetNotFoundError(
            f"Expected a folder {folder / split}, found none. Use the split {' or '.join(there)}."
        )
    classes = sorted(entry.name for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    paths, labels = [], []
    for name in classes:
        files = sorted(p for p in (place / name).rglob("*") if folders.is_picture(p.relative_to(place)) and p.is_file())
        paths += files
        labels += [name] * len(files)
    if not paths:
        raise DataError(
            f"Expected {place} to have one sub-folder per class with pictures in it, found {len(classes)} sub-folders "
            f"and no picture ({', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    if preprocessing is not None:
        image_size, channels = preprocessing.image_size, preprocessing.channels
    elif image_size is None or channels is None:
        found_size, found_channels = _look_at(paths)
        image_size = image_size or found_size
        channels = channels or found_channels
    dataset: Any = ImageFiles(paths, labels, image_size=image_size, channels=channels, preprocessing=preprocessing)
    if not own_splits:
        names = [p.relative_to(place).as_posix() for p in paths]
        dataset = _hold_out(dataset, dataset.targets, split, names)
    return LabelledData(
        dataset=dataset,
        class_names=tuple(sorted(set(labels))),
        image_size=image_size,
        channels=channels,
        source=str(place.resolve()),
    )


def _look_at(paths: Sequence[Path]) -> tuple[tuple[int, int], int]:
    """A size and a number of channels that suit the first pictures."""
    from pairsim.images import read_image

    first = read_image(paths[0], channels=3)
    height, width = first.shape[1:]
    scale = min(1.0, _LARGEST_DEFAULT_SIZE / max(height, width))
    size = (max(round(height * scale), 8), max(round(width * scale), 8))
    step = max(len(paths) // 16, 1)
    samples = [read_image(path, channels=3, image_size=size) for path in paths[::step]]
    grey = all(bool((image[0] == image[1]).all() and (image[1] == image[2]).all()) for image in samples)
    return size, 1 if grey else 3
