"""Label the pictures of a folder by its class folders or a metadata file, in splits or without."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from pairsim._common.choices import Split
from pairsim.data.named.metadata_files import FILE, GROUP, LABEL, SPLIT_NAMES, MetadataRow, read_metadata
from pairsim.errors import DataError, printable
from pairsim.images.folders import FolderScan, LeftOut, left_out_of

_MAX_COLUMNS = 6


@dataclass(frozen=True)
class LabelledPicture:
    """A picture below a folder with its class; its split, if the folder has splits; and its group, if it has one."""

    name: str
    label: str
    split: Split | None
    group: str | None = None


@dataclass
class FolderLabels:
    """The labelled pictures of a folder, in the order of the scan.

    Attributes:
        group_column: Name of the column of groups in metadata files.
        pictures: The pictures.
        notes: What else was decided, a sentence each.
        left_out: What has no label.
        has_groups: Whether a metadata file gives groups.
    """

    group_column: str = GROUP
    pictures: list[LabelledPicture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    has_groups: bool = False


def label_pictures(
    found: FolderScan, class_level: int, group_column: str = GROUP, *, alone: bool = False
) -> FolderLabels:
    """Label the pictures of a folder.

    A metadata file with labels goes before class folders, and its column of splits before folders of splits.

    Args:
        found: Its pictures.
        class_level: Which folders are classes: those directly in it, or in a split (1), those in these (2), ...
        group_column: Name of the column of groups in a metadata file.
        alone: Whether, in a folder without metadata and splits, a picture outside the class folders is a class of its
            own, with its name; it is left out otherwise.

    Returns:
        The labelled pictures, at least one, and what has no label.

    Raises:
        DataError: If no picture has a class, it is not clear which folders are splits and which are classes, a metadata
            file has a wrong row, or the name of a class is no text.
    """
    labels = FolderLabels(group_column)
    files = _metadata_files(found)
    table = _read_table(found, files.get(""), labels)
    if table is not None:
        if class_level != 1:
            raise DataError(
                f"Expected class folders for the class level {class_level}, found labels in {files['']}. "
                "Use --class-level 1 (class_level=1), or move that file."
            )
        _label_by_table(found, files[""], table, None, labels)
        if not any(picture.split for picture in labels.pictures):
            _split_by_folder(found, labels)
    else:
        splits = _split_folders(found, files, labels)
        by_folder: dict[str, Split | None] = {} if splits else {"": None}
        for folder, split in splits.items():
            table = _read_table(found, files.get(folder), labels)
            if table is None:
                by_folder[folder] = split
            else:
                _label_by_table(found, files[folder], table, split, labels)
        _label_by_folder(found, by_folder, class_level, labels, alone=alone)
        if splits:
            outside = [name for name in found.names if posixpath.dirname(name).partition("/")[0] not in splits]
            _leave_out(labels, "pictures outside the folders of the splits", outside)
    if not labels.pictures:
        level = "" if class_level == 1 else f" at level {class_level}"
        notes = [*labels.notes, *([] if class_level == 1 else ["Use a lower --class-level (class_level)"])]
        raise DataError(
            f"Expected {found.folder} to have one sub-folder per class{level} with pictures in it, or a metadata.csv "
            f"with the columns {FILE} and {LABEL}, found {', '.join(map(str, labels.left_out))}. "
            + " ".join(f"{note}." for note in notes)
        )
    labels.notes += _case_notes(labels.pictures)
    order = {name: number for number, name in enumerate(found.names)}
    labels.pictures.sort(key=lambda picture: order[picture.name])
    used = {""}
    for name in found.names:
        folder = posixpath.dirname(name)
        while folder not in used:
            used.add(folder)
            folder = posixpath.dirname(folder)
    empty = [name for name in found.folders if name not in used and posixpath.dirname(name) in used]
    _leave_out(labels, "folders without pictures", empty, folders=True)
    return labels


def _case_notes(pictures: Sequence[LabelledPicture]) -> list[str]:
    """Return a sentence on classes of no common split whose names differ only in case; in one split they are meant."""
    splits: dict[str, set[Split | None]] = {}
    for picture in pictures:
        splits.setdefault(picture.label, set()).add(picture.split)
    alike: dict[str, list[str]] = {}
    for label in sorted(splits):
        alike.setdefault(label.casefold(), []).append(label)
    pairs = [
        pair for names in alike.values() for pair in pairwise(names) if splits[pair[0]].isdisjoint(splits[pair[1]])
    ]
    if not pairs:
        return []
    some = " and ".join(map(printable, pairs[0]))
    return [f"Classes of different splits differ only in case, such as {some}: rename one if they are the same"]


def _leave_out(labels: FolderLabels, reason: str, names: Sequence[str], *, folders: bool = False) -> None:
    if names:
        files, number = (0, len(names)) if folders else (len(names), 0)
        labels.left_out.append(left_out_of(reason, names, files=files, folders=number))


def _metadata_files(found: FolderScan) -> dict[str, str]:
    """Return the metadata file directly in the folder, and in each folder that is directly in it."""
    files: dict[str, str] = {}
    for name in found.metadata:
        folder = posixpath.dirname(name)
        if folder in files:
            raise DataError(
                f"Expected one metadata file in {found.folder / folder}, found {files[folder]} and {name}. Remove one."
            )
        files[folder] = name
    return {folder: name for folder, name in files.items() if "/" not in folder}


def _read_table(found: FolderScan, file: str | None, labels: FolderLabels) -> list[MetadataRow] | None:
    """Read a metadata file; `None` if there is none, or it has no labels, which is noted."""
    if file is None:
        return None
    columns, table = read_metadata(found.folder / file, labels.group_column)
    if table:
        labels.has_groups |= any(row.group is not None for row in table)
        labels.notes.append(f"Labels from {file}")
        return table
    some = printable(", ".join(columns[:_MAX_COLUMNS]) + (", ..." if len(columns) > _MAX_COLUMNS else ""))
    has = f"the columns {some}" if columns else "no columns"
    labels.notes.append(
        f"{file} is not used, as it has {has}, and no rows with {FILE} and {LABEL}: classes are the folders"
    )
    return None


def _label_by_table(
    found: FolderScan, file: str, table: Sequence[MetadataRow], split: Split | None, labels: FolderLabels
) -> None:
    """Label the pictures that a metadata file lists; those that it does not list are left out."""
    folder = posixpath.dirname(file)
    inside = [name for name in found.names if not folder or name.startswith(f"{folder}/")]
    known = {unicodedata.normalize("NFC", name): name for name in inside} | {name: name for name in inside}
    rows: dict[str, int] = {}
    for row in table:
        names = [posixpath.normpath(posixpath.join(folder, file)) for file in (row.file, row.file.replace("\\", "/"))]
        names += [unicodedata.normalize("NFC", name) for name in names]
        name = next((known[name] for name in names if name in known), None)
        where = f"row {row.number} of {found.folder / file}"
        if name is None:
            path = found.folder / names[1]
            what = "does not exist"
            if os.path.isabs(row.file):
                what = f"is not relative: paths begin in the folder of {posixpath.basename(file)}"
            elif os.path.lexists(path):
                what = (
                    "is not read as one: it is hidden, has another ending, or leads to a picture that is there anyway"
                )
            raise DataError(
                f"Expected {where} to name a picture of {found.folder / folder}, but {path} {what}. Fix it."
            )
        if name in rows:
            raise DataError(
                f"Expected {where} to name another picture than row {rows[name]}, found {name} twice. Remove one."
            )
        if split and row.split not in (None, split):
            raise DataError(f"Expected {where} to have the split of its folder, {split}, found {row.split}. Fix it.")
        rows[name] = row.number
        labels.pictures.append(LabelledPicture(name, row.label, split or row.split, row.group))
    _leave_out(labels, f"pictures not listed in {file}", [name for name in inside if name not in rows])


def _label_by_folder(
    found: FolderScan, splits: Mapping[str, Split | None], level: int, labels: FolderLabels, *, alone: bool
) -> None:
    """Label pictures by the folders at a level below folders, which may be those of splits."""
    classes, deeper, outside = set[str](), set[str](), []
    for name in found.names:
        folder, _, inside = name.partition("/") if "" not in splits else ("", "", name)
        if folder not in splits:
            continue
        parts = inside.split("/")
        label = "/".join(parts[:level])
        if len(parts) <= level and not (alone and not folder):
            outside.append(name)
            continue
        classes.add(label)
        if len(parts) > level + 1:
            deeper.add("/".join(parts[: level + 1]))
        labels.pictures.append(LabelledPicture(name, label, splits[folder]))
    _leave_out(labels, "pictures outside the class folders", outside)
    if deeper and not alone:
        more = f"{len(deeper):,} class{'' if len(deeper) == 1 else 'es'}"
        labels.notes.append(
            f"Pictures in folders inside the classes, such as {printable(min(deeper))}, belong to these classes; "
            f"--class-level {level + 1} (class_level={level + 1}) gives {more} instead"
        )


def _split_by_folder(found: FolderScan, labels: FolderLabels) -> None:
    """Put pictures that a metadata file lists into the splits of their folders, where all are in such folders."""
    tops = {picture.name: posixpath.dirname(picture.name).partition("/")[0] for picture in labels.pictures}
    named = {top for top in tops.values() if top.casefold() in SPLIT_NAMES}
    if not named:
        return
    other = next((name for name, top in tops.items() if top not in named), None)
    if other is not None:
        raise DataError(
            f"Expected all pictures of {found.folder} in folders of splits or none, found the folder {min(named)} and "
            f"{other}. Is {min(named)} a split? Then add a column split to the metadata file, else rename that folder."
        )
    splits = _splits_of(found.folder, named)
    labels.pictures = [
        LabelledPicture(picture.name, picture.label, splits[tops[picture.name]], picture.group)
        for picture in labels.pictures
    ]


def _split_folders(found: FolderScan, files: Iterable[str], labels: FolderLabels) -> dict[str, Split]:
    """Return the folders that are splits; none if the folders are classes.

    A folder is a split if it has the name of one and holds class folders or a metadata file.

    Raises:
        DataError: If it is not clear.
    """
    tops, nested = set[str](), set(files)
    below: dict[str, set[str]] = {}
    for name in found.names:
        top, *folders = name.split("/")[:-1] or [""]
        tops.add(top)
        if folders:
            nested.add(top)
            below.setdefault(top, set()).add(folders[0])
    tops.discard("")
    named = sorted(top for top in tops if top.casefold() in SPLIT_NAMES)
    others = sorted(tops.difference(named))
    splits = [top for top in named if top in nested]
    if splits and others:
        raise DataError(
            f"Expected folders of splits or of classes in {found.folder}, found {', '.join(splits)} beside "
            f"{others[0]}. Is {splits[0]} a split? Then move {others[0]} elsewhere. Is it a class? Then rename it."
        )
    if named and others:
        labels.notes.append(f"The folders {', '.join(named)} are read as classes, because they lie beside others")
        return {}
    if named and not splits:
        raise DataError(
            f"Expected class folders in {found.folder / named[0]}, found pictures directly in it. Is {named[0]} a "
            "split? Then put a folder for each class into it. Is it a class? Then rename it."
        )
    inner = below.get(others[0], set()) if len(others) == 1 else set()
    if any(SPLIT_NAMES.get(name.casefold()) == "train" for name in inner):
        raise DataError(
            f"Expected folders of splits or of classes in {found.folder}, found only {others[0]}, which holds "
            f"{', '.join(sorted(inner))}. Give {found.folder / others[0]}."
        )
    return _splits_of(found.folder, named)


def _splits_of(folder: Path, names: Iterable[str]) -> dict[str, Split]:
    """Return the split of each folder of this kind.

    Raises:
        DataError: If two are the same split.
    """
    splits: dict[str, Split] = {}
    for name in sorted(names):
        split = SPLIT_NAMES[name.casefold()]
        if split in splits.values():
            other = next(other for other, its in splits.items() if its == split)
            raise DataError(
                f"Expected one folder for the split {split} in {folder}, found {other} and {name}. Which one is it? "
                "Rename or remove the other."
            )
        splits[name] = split
    return splits
