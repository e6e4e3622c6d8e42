"""Find the group of each image of an evaluation, by a column of a metadata file or a pattern in names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pairsim.data import ImageFiles, PairDataset
from pairsim.data.image_sets import images_of
from pairsim.data.named import NAMES, is_embedding_file
from pairsim.data.named.folder_labels import LabelledPicture, label_pictures
from pairsim.data.named.picture_groups import group_by_pattern
from pairsim.errors import DataError
from pairsim.images.folders import scan

Names: TypeAlias = Sequence[str | None]

PAIR_COLUMN = "group"
"""The column of a list of pairs that names the group of a pair."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupNames:
    """Groups for `evaluate`.

    Attributes:
        names: Its argument `groups`.
        by: What made them, in words.
    """

    names: Names | tuple[Names, Names]
    by: str


def find_group_names(dataset: Any, data: str, groups: str, class_level: int = 1) -> GroupNames:
    r"""Name the group of each image.

    Which images are in the dataset does not depend on it, unlike with `load_data(groups=)`.

    Args:
        dataset: A labelled dataset of picture files, or a `PairDataset`.
        data: The folder that it was read from.
        groups: "group" for the column of a list of pairs; or a column of the metadata file of the folder; or a regular
            expression that is searched in the name of the class, then in the path below the folder. Its first group in
            parentheses, or else the whole match, is the name.
        class_level: Which folders are classes.

    Returns:
        The groups; `None` for images that the column or pattern does not name.

    Raises:
        DataError: If no image has a group, or there are no picture files.
        ValueError: If it is no column and no regular expression.
    """
    if isinstance(dataset, PairDataset) and groups == PAIR_COLUMN and dataset.group is not None:
        return GroupNames(names=tuple(dataset.group.tolist()), by="the column group of the pairs")
    files = dataset.dataset if isinstance(dataset, PairDataset) else images_of(dataset)
    if data in NAMES or is_embedding_file(data) or not isinstance(files, ImageFiles):
        raise DataError(
            f"Expected a folder of pictures to find groups in by {groups!r}, got {data}. In Python, pass groups= to "
            "evaluate."
        )
    folder = Path(data)
    paths = [os.path.relpath(path, folder).replace(os.sep, "/") for path in files.paths]
    found = scan(folder, "skip")
    labelled = not isinstance(dataset, PairDataset) or bool(found.metadata)
    labels = label_pictures(found, class_level, groups) if labelled else None
    known = {} if labels is None else {picture.name: picture for picture in labels.pictures}
    if labels is not None and labels.has_groups:
        by_path: dict[str, str | None] = {name: picture.group for name, picture in known.items()}
        by = f"the column {groups}"
    else:
        pictures = [known.get(path) or LabelledPicture(path, "", None) for path in dict.fromkeys(paths)]
        by_path = {one.name: one.group for one in group_by_pattern(pictures, groups, needs_all=False)}
        by = f"the pattern {groups}"
    names = [by_path.get(path) for path in paths]
    if not any(names):
        raise DataError(
            f"Expected {groups!r} to name groups of the pictures in {data}, found none: it is no column of a metadata "
            "file that has values, and no pattern that matches the name of a class or a path. Change it."
        )
    if isinstance(dataset, PairDataset):
        pairs = dataset.all_pairs()
        return GroupNames(names=(tuple(names[k] for k in pairs.first), tuple(names[k] for k in pairs.second)), by=by)
    return GroupNames(names=tuple(names), by=by)
