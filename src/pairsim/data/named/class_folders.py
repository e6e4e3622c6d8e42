"""Folders of labelled pictures: with one sub-folder per class, or a metadata file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from pairsim._common.choices import Fit, OnError, Split
from pairsim.data.class_index import ClassIndex
from pairsim.data.image_sets import ImageFiles, LabelledData, LabelledImages
from pairsim.data.named.folder_account import FolderAccount
from pairsim.data.named.folder_labels import FolderLabels, LabelledPicture, label_pictures
from pairsim.data.named.metadata_files import GROUP
from pairsim.data.named.picture_groups import group_by_pattern
from pairsim.data.random import Int64Array
from pairsim.data.splits import TEST_FRACTION, stratified_split
from pairsim.data.unreadable import unreadable, unreadable_error
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError
from pairsim.images import Preprocessing, read_image
from pairsim.images.folders import left_out_of, scan

_MAX_DEFAULT_SIZE = 64


def load_folder(
    folder: Path,
    split: Split | Literal["all"],
    image_size: tuple[int, int] | None,
    channels: int | None,
    preprocessing: Preprocessing | None,
    *,
    class_level: int,
    groups: str | None,
    fit: Fit,
    white: int | None,
    on_error: OnError,
) -> LabelledData:
    """Load one split of a folder; see `load_data` for the arguments.

    Raises:
        DataError: If there is no labelled picture, its folders are not clear, there are too few to hold out any, or a
            picture has no group.
        DatasetNotFoundError: If the folder does not have the split.
        ImageReadError: If a folder cannot be read, or no picture.
    """
    found = scan(folder, on_error, expected="one sub-folder per class with pictures")
    labels = label_pictures(found, class_level, groups or GROUP)
    if groups is not None:
        _set_groups(labels, groups)
    splits = _splits(labels, hold_out=split != "all")
    pictures = labels.pictures if split == "all" else splits.get(split)
    skipped, num_checked = set[str](), 0
    if pictures and on_error == "skip":
        # after the split, so that test images are the same ones whether pictures are skipped or not
        paths = [folder / picture.name for picture in pictures]
        num_checked, damaged = len(paths), unreadable(paths, preprocessing.white if preprocessing else white)
        if len(damaged) == len(pictures):
            raise unreadable_error(paths, damaged)
        skipped = {pictures[index].name for index in damaged}
    if skipped:
        pictures, labels.pictures, *parts = (
            [picture for picture in part if picture.name not in skipped]
            for part in (pictures or (), labels.pictures, *splits.values())
        )
        splits = dict(zip(splits, parts, strict=True))
        labels.left_out.append(left_out_of("pictures that cannot be read", skipped, files=len(skipped)))
    account = FolderAccount(
        folder=folder,
        num_pictures=len(found.names),
        num_labelled=len(labels.pictures),
        num_classes=len({picture.label for picture in labels.pictures}),
        splits={name: len(splits[name]) for name in get_args(Split) if name in splits},
        classes={name: tuple(sorted({picture.label for picture in splits[name]})) for name in splits},
        notes=tuple(labels.notes),
        left_out=(*labels.left_out, *found.left_out),
        num_checked=num_checked,
        num_unreadable=len(skipped),
    )
    if pictures is None and split == "test" and labels.pictures[0].split is None:
        raise DataError(
            f"Expected images to hold out of {folder} for test, found too few: each class keeps at least one, and each "
            "group is whole. Add images or a split test, or keep whole classes for the test with --unseen."
        )
    if pictures is None:
        there = " or ".join(account.splits)
        hint = "" if "train" in splits else " If these folders are classes, rename them."
        raise DatasetNotFoundError(f"Expected a folder {folder / split}, found none. Use the split {there}.{hint}")
    paths = [folder / picture.name for picture in pictures]
    targets = [picture.label for picture in pictures]
    if preprocessing is None:
        try:
            preprocessing = default_preprocessing(paths, image_size, channels, white, fit)
        except ImageReadError as error:
            damaged = unreadable(paths, white)
            raise (unreadable_error(paths, damaged) if damaged else error) from error
    files = ImageFiles(paths, targets, preprocessing=preprocessing)
    return LabelledData(
        dataset=LabelledImages(files, files.targets),
        class_names=tuple(sorted(set(targets))),
        image_size=preprocessing.image_size,
        channels=preprocessing.channels,
        source=str(folder.resolve()),
        groups=_groups(pictures),
        account=account,
    )


def default_preprocessing(
    paths: Sequence[str | os.PathLike[str]],
    image_size: tuple[int, int] | None,
    channels: int | None,
    white: int | None,
    fit: Fit,
) -> Preprocessing:
    """Return how to read pictures of a folder.

    Args:
        paths: The pictures, at least one.
        image_size: Height and width; by default those of the first picture, at most 64.
        channels: 1 or 3; by default 1 if a sample of all is grey, else 3.
        white: Value of white of samples of more than 8 bits.
        fit: How pictures of other proportions get their size.

    Raises:
        ImageReadError: If a picture cannot be read.
    """
    if image_size is None or channels is None:
        height, width = read_image(paths[0], channels=3, white=white).shape[1:]
        scale = min(1.0, _MAX_DEFAULT_SIZE / max(height, width))
        size = (max(round(height * scale), 8), max(round(width * scale), 8))
        some = paths[:: max(len(paths) // 16, 1)]
        samples = [read_image(path, channels=3, image_size=size, white=white) for path in some]
        is_grey = all(bool((image == image[:1]).all()) for image in samples)
        image_size, channels = image_size or size, channels or (1 if is_grey else 3)
    return Preprocessing(image_size=image_size, channels=channels, white=white, fit=fit)


def _set_groups(labels: FolderLabels, groups: str) -> None:
    """Give each picture the group of a pattern, unless a column of this name gave it, and note how many there are."""
    pictures = labels.pictures
    if not labels.has_groups:
        pictures = labels.pictures = group_by_pattern(pictures, groups)
    names = _groups(pictures)
    number = 0 if names is None else len(np.unique(names))
    how = f"by {'the column' if labels.has_groups else 'the pattern'} {groups}"
    if number == 1:
        labels.notes.append(f"All pictures are in one group {how}: it cannot be split")
    elif number == len(pictures):
        labels.notes.append(f"Each picture is a group of its own {how}: no picture is kept with another")
    else:
        labels.notes.append(f"{number:,} groups {how}")
    sides: dict[str, set[Split | None]] = {}
    for picture in labels.pictures:
        if picture.group is not None:
            sides.setdefault(picture.group, set()).add(picture.split)
    torn = sorted(name for name, splits in sides.items() if len(splits) > 1)
    if torn:
        labels.notes.append(f"{len(torn):,} of the groups are in several splits of the folder, such as {torn[0]}")


def _splits(labels: FolderLabels, *, hold_out: bool) -> dict[Split, list[LabelledPicture]]:
    """Return the pictures of each split; without splits one in five of each class, or whole groups, is held out.

    Without `hold_out`, pictures without splits stay together, and none are returned.
    """
    pictures = labels.pictures
    splits: dict[Split, list[LabelledPicture]] = {}
    if pictures[0].split is not None:
        for picture in pictures:
            assert picture.split is not None, "all or none have a split"
            splits.setdefault(picture.split, []).append(picture)
        return splits
    if not hold_out:
        return {}
    groups = _groups(pictures)
    index = ClassIndex.from_labels(np.array([picture.label for picture in pictures]))
    names = [picture.name for picture in pictures]
    train, test = stratified_split(index, TEST_FRACTION, names=names, groups=groups)
    how = "one in five of each class" if groups is None else "about one in five of each class, in whole groups"
    nothing = "No test images are held out: each class would lose all or none of its images"
    labels.notes.append(f"Test images are held out: {how}" if len(test) else nothing)
    halves: dict[Split, Int64Array] = {"train": train, "test": test}
    return {split: [pictures[number] for number in numbers] for split, numbers in halves.items() if len(numbers)}


def _groups(pictures: list[LabelledPicture]) -> npt.NDArray[np.str_] | None:
    """Return the group of each picture, its own if it has none; `None` if no picture has a group."""
    if all(picture.group is None for picture in pictures):
        return None
    return np.array(
        [f"picture {picture.name}" if picture.group is None else f"group {picture.group}" for picture in pictures]
    )
