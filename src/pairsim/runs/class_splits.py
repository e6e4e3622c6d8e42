"""Keep whole classes of a run for validation and for the test, record them in `data.json`, and find them again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from pairsim._common import json_files, storage
from pairsim._common.choices import Split
from pairsim.data import ClassIndex, LabelledData, split_by_class
from pairsim.data.image_sets import subset
from pairsim.data.named.folder_account import FolderAccount
from pairsim.data.splits import ValidationSplit
from pairsim.errors import DataError, RunError, printable

FILE_NAME = "data.json"
VAL_FRACTION = 0.2
"""Share of the classes that are not for the test which is kept for validation."""

_MAX_SHOWN = 3
_SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, kw_only=True)
class ClassSplit:
    """The names of the classes that a run is trained on, and of those that it keeps for validation and for the test.

    Attributes:
        unseen: Share of the classes that was asked for, for the test.
        train: Classes to train on, in the order of their labels.
        val: Classes for validation: best epoch, threshold and calibration.
        test: Classes for the test.
    """

    unseen: float
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @classmethod
    def of(
        cls, images: LabelledData, unseen: float, *, val_fraction: float = VAL_FRACTION, seed: int = 0
    ) -> ClassSplit:
        """Split the classes of a dataset: first those of the test, then those for validation from the others.

        Args:
            images: All images of the dataset; its groups stay together.
            unseen: Share of the classes for the test, in (0, 1).
            val_fraction: Share of the other classes for validation, in (0, 1).
            seed: Any whole number; with the names of the classes it decides.

        Raises:
            DataError: If there are too few classes for training, validation and the test, or the data has splits of
                its own.
            ValueError: If a share is not in (0, 1).
        """
        if images.account is not None and images.account.splits:
            raise DataError(
                f"Expected a folder without splits to choose classes for the test from, found "
                f"{', '.join(images.account.splits)} in {images.source}. Leave out --unseen to use these, or put the "
                "classes of all splits into one folder."
            )
        if images.index.num_classes < 6:
            raise DataError(
                "Expected at least 6 classes to keep some unseen, two each for training, validation and test, found "
                f"{images.index.num_classes} in {images.source}. Add classes, or leave out --unseen."
            )
        groups = images.groups
        rest, test = split_by_class(images.index, unseen=unseen, groups=groups, seed=seed)
        others = ClassIndex.from_labels(images.targets[rest])
        try:
            kept, held = split_by_class(
                others, unseen=val_fraction, groups=None if groups is None else groups[rest], seed=seed
            )
        except ValueError as error:
            if not 0.0 < val_fraction < 1.0:
                raise
            raise DataError(
                f"Expected two classes each for training and validation, that share no group, besides those of the "
                f"test, found {others.num_classes} classes for both. Use a smaller --unseen or --val-fraction, or "
                "add classes or groups."
            ) from error
        numbers = {"train": rest[kept], "val": rest[held], "test": test}
        parts = {name: subset(images, part) for name, part in numbers.items()}
        for name, part in parts.items():
            if part.index.counts.max() < 2:
                raise DataError(
                    f"Expected a class with two images among the {part.index.num_classes} of {name}, as pairs of one "
                    "class need them, found none. Use another --seed or share, or add images."
                )
        return cls(unseen=unseen, **{name: part.class_names for name, part in parts.items()})

    @classmethod
    def from_record(cls, record: Mapping[str, Any], path: Path) -> ClassSplit | None:
        """Read it from the values of `data.json`; `None` if the run has none.

        Raises:
            RunError: If the values are damaged.
        """
        values = record.get("class_split")
        if values is None:
            return None
        try:
            names = {"train": record["class_names"], "val": values["val"], "test": values["test"]}
            return cls(unseen=float(values["unseen"]), **{name: tuple(map(str, part)) for name, part in names.items()})
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"Expected the classes of each split of a run in {path}, but: {error!r}.") from error

    def to_record(self) -> dict[str, Any]:
        """Return what `data.json` has beside the names of the training classes."""
        return {"unseen": self.unseen, "val": list(self.val), "test": list(self.test)}

    def parts(self, images: LabelledData, name: str) -> dict[Split, LabelledData]:
        """Select the images of each split by the names of their classes.

        Classes that are in none of the splits, as they came later, count as classes of the test: training did not have
        them. They are named in the account, and so are classes that are not there any more.

        Args:
            images: All images of the dataset.
            name: Its name, for the account of data that is no folder.

        Returns:
            The images of each split that has some.

        Raises:
            DataError: If images of one group are in several splits, as images or classes were added.
        """
        known: dict[str, Split] = {one: split for split in _SPLITS for one in getattr(self, split)}
        codes = {split: number for number, split in enumerate(_SPLITS)}
        sides = np.array([codes[known.get(one, "test")] for one in images.class_names])[images.index.codes]
        if images.groups is not None:
            _check_groups(sides, images.groups)
        parts = {
            split: subset(images, np.flatnonzero(sides == code))
            for split, code in codes.items()
            if (sides == code).any()
        }
        found = images.account or FolderAccount(
            folder=Path(name),
            num_pictures=len(images),
            num_labelled=len(images),
            num_classes=len(images.class_names),
            splits={},
            classes={},
            notes=(),
            left_out=(),
        )
        new, gone = (
            sorted(first - second)
            for first, second in ((set(images.class_names), set(known)), (set(known), set(images.class_names)))
        )
        notes = [*found.notes]
        notes += [f"New since the training, for the test: {_some(new)}"] if new else []
        notes += [f"Not there any more: {_some(gone)}"] if gone else []
        account = dataclasses.replace(
            found,
            splits={split: len(part) for split, part in parts.items()},
            classes={split: part.class_names for split, part in parts.items()},
            notes=tuple(notes),
        )
        return {split: dataclasses.replace(part, account=account) for split, part in parts.items()}


def held_classes(images: LabelledData, split: ValidationSplit | None) -> dict[str, list[str]]:
    """Return what `data.json` has of classes whose images are all validation images; empty without such classes.

    Args:
        images: The images that a run is trained on, with those that were split off them.
        split: What was split off, if anything was.
    """
    if split is None:
        return {}
    index = images.index
    held = np.bincount(index.codes[split.held_out], minlength=index.num_classes) == index.counts
    if not held.any():
        return {}
    names = np.array(images.class_names, dtype=object)
    return {"class_names": names[~held].tolist(), "val_class_names": names[held].tolist()}


def check_same_classes(run: Path, split: ClassSplit | None, groups: str | None) -> None:
    """Check that a run that is to be resumed was begun with the same classes and groups.

    Raises:
        RunError: If it was begun with others.
    """
    path = run / FILE_NAME
    if not (storage.is_file(path) and any(storage.is_folder(run / name) for name in ("checkpoints", "model"))):
        return
    record = json_files.read_sealed(path)
    begun = ClassSplit.from_record(record, path)
    again = "Give what it was begun with, or begin again with --resume never or another --out."
    if (begun is None) != (split is None):
        with_it, without = ("with", "without") if begun is not None else ("without", "with")
        raise RunError(f"Expected to resume {run} {with_it} --unseen, as it was begun, got it {without}. {again}")
    if record.get("groups") != groups:
        raise RunError(f"Expected to resume {run} with groups {record.get('groups')}, got {groups}. {again}")
    if begun is None or split is None:
        return
    for name in _SPLITS:
        before, now = set(getattr(begun, name)), set(getattr(split, name))
        if before != now:
            raise RunError(
                f"Expected to resume {run} with the same classes in {name}, found "
                f"{len(now - before)} others ({_some(sorted(now - before)) or 'none'}) and {len(before - now)} missing "
                f"({_some(sorted(before - now)) or 'none'}). {again}"
            )


def _check_groups(sides: np.ndarray[Any, Any], groups: np.ndarray[Any, Any]) -> None:
    names, numbers = np.unique(groups, return_inverse=True)
    low = np.full(len(names), len(_SPLITS))
    high = np.zeros(len(names), dtype=low.dtype)
    np.minimum.at(low, numbers, sides)
    np.maximum.at(high, numbers, sides)
    torn = np.flatnonzero(low < high)
    if len(torn):
        first = torn[0]
        raise DataError(
            f"Expected each group in one split of the run, found {len(torn)} in several, such as {names[first]} in "
            f"{_SPLITS[low[first]]} and {_SPLITS[high[first]]}. Remove the pictures or classes that came since the "
            "training, or train again."
        )


def _some(names: list[str]) -> str:
    return ", ".join(map(printable, names[:_MAX_SHOWN])) + (
        f" and {len(names) - _MAX_SHOWN:,} more" if len(names) > _MAX_SHOWN else ""
    )
