"""Folders of pictures with one sub-folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pairsim._common.choices import Split
from pairsim.data.image_sets import ImageFiles, LabelledData, LabelledImages
from pairsim.data.splits import hold_out_test
from pairsim.errors import DataError, DatasetNotFoundError
from pairsim.images import Preprocessing, read_image
from pairsim.images.folders import IMAGE_SUFFIXES, list_pictures

_MAX_DEFAULT_SIZE = 64


def load_folder(
    folder: Path,
    split: Split,
    image_size: tuple[int, int] | None,
    channels: int | None,
    preprocessing: Preprocessing | None,
    *,
    white: int | None,
) -> LabelledData:
    """Load one split of a folder; see `load_data` for the arguments.

    Raises:
        DataError: If there is no picture.
        DatasetNotFoundError: If the folder does not have the split.
    """
    has_splits = (folder / "train").is_dir()
    root = folder / split if has_splits else folder
    if not root.is_dir() or (split == "val" and not has_splits):
        there = [name for name in get_args(Split) if (folder / name).is_dir()] if has_splits else ["train", "test"]
        raise DatasetNotFoundError(
            f"Expected a folder {folder / split}, found none. Use the split {' or '.join(there)}."
        )
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    pictures = [(path, name) for name in classes for path in list_pictures(root / name)]
    if not pictures:
        raise DataError(
            f"Expected {root} to have one sub-folder per class with pictures in it, found {len(classes)} sub-folders "
            f"and no picture ({', '.join(sorted(IMAGE_SUFFIXES))})."
        )
    paths, labels = zip(*pictures, strict=True)
    if preprocessing is None:
        if image_size is None or channels is None:
            # Height and width of the first picture, at most 64, and 1 channel if a sample of all is grey, else 3.
            height, width = read_image(paths[0], channels=3, white=white).shape[1:]
            scale = min(1.0, _MAX_DEFAULT_SIZE / max(height, width))
            size = (max(round(height * scale), 8), max(round(width * scale), 8))
            some = paths[:: max(len(paths) // 16, 1)]
            samples = [read_image(path, channels=3, image_size=size, white=white) for path in some]
            is_grey = all(bool((image == image[:1]).all()) for image in samples)
            image_size, channels = image_size or size, channels or (1 if is_grey else 3)
        preprocessing = Preprocessing(image_size=image_size, channels=channels, white=white)
    files = ImageFiles(paths, labels, preprocessing=preprocessing)
    if not has_splits:
        files = hold_out_test(files, split, [path.relative_to(root).as_posix() for path in paths])
    return LabelledData(
        dataset=LabelledImages(files, files.targets),
        class_names=tuple(sorted(set(labels))),
        image_size=preprocessing.image_size,
        channels=preprocessing.channels,
        source=str(root.resolve()),
    )
