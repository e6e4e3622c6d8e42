"""Split labelled images, each class in the same proportion or by class, and record the split of a run.

A run records its validation images in `split.json`. The file holds the fingerprint of the labels of the whole set, the
number of validation images, and one bit per image, 1 = validation, most significant bit first, in base64.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairsim._common import json_files, storage
from pairsim.data.class_index import ClassIndex, check_index
from pairsim.data.image_sets import subset
from pairsim.data.random import Int64Array, random_bits, stream_key
from pairsim.errors import RunError

FILE_NAME = "split.json"
FORMAT = "pairsim-split"
FORMAT_VERSION = 1
TEST_FRACTION = 0.2
"""Share of a dataset without test images that is held out for testing."""


def stratified_split(
    index: ClassIndex,
    fraction: float,
    *,
    seed: int = 0,
    names: Sequence[str] | None = None,
    groups: npt.NDArray[Any] | None = None,
) -> tuple[Int64Array, Int64Array]:
    """Hold out a share of the images of every class.

    Args:
        index: The images of each class.
        fraction: Share to hold out, in (0, 1), rounded to a whole number of images in each class; every class keeps at
            least one image.
        seed: Any whole number; the images held out depend on it and on the number of images, or on `names`.
        names: One stable name per image. The split then does not depend on the order of the images, and adding or
            removing an image moves at most one other image of its class to the other side.
        groups: The group of each image `[N]`, text or whole numbers. Groups are then held out whole, in the order of a
            hash of their names, until every class has its share, but for groups that hold all images of a class that
            are left, and for those that would make it twice the share of all classes, unless a class would
            then have none. A class may get more than its share, or less.

    Returns:
        Image numbers kept and held out, each ascending.

    Raises:
        ValueError: If `fraction` is not in (0, 1).

    Example:
        >>> kept, held = stratified_split(ClassIndex.from_labels(np.repeat([0, 1], 10)), 0.2)
        >>> len(kept), len(held)
        (16, 4)
    """
    check_index(index)
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"Expected the fraction to hold out to be in (0, 1), got {fraction}.")
    share = np.minimum(np.floor(index.counts * fraction + 0.5).astype(np.int64), index.counts - 1)
    if groups is not None:
        is_held = _held_groups(index, share, groups, seed)
        return np.flatnonzero(~is_held), np.flatnonzero(is_held)
    if names is None:
        keys = random_bits(stream_key("split", seed), np.arange(index.num_images))
    else:
        keys = _name_keys(names, seed)
    by_class = np.lexsort((keys, index.codes))
    rank = np.arange(index.num_images) - index.offsets[index.codes[by_class]]
    held = rank < share[index.codes[by_class]]
    return np.sort(by_class[~held]).astype(np.int64), np.sort(by_class[held]).astype(np.int64)


def _name_keys(names: Iterable[Any], seed: int) -> npt.NDArray[np.uint64]:
    """Return a hash of each name; names of files need not be UTF-8."""
    return np.array([int.from_bytes(_digest(f"{seed}:{name}"), "little") for name in names], dtype=np.uint64)


def _held_groups(index: ClassIndex, share: Int64Array, groups: npt.NDArray[Any], seed: int) -> npt.NDArray[np.bool_]:
    """Return whether each image is in a group that is held out."""
    names, numbers = np.unique(groups, return_inverse=True)
    parts, sizes = np.unique(numbers * index.num_classes + index.codes.astype(np.int64), return_counts=True)
    starts = np.searchsorted(parts, np.arange(len(names) + 1) * index.num_classes)
    missing, left, held = share.copy(), index.counts.copy(), np.zeros(len(names), dtype=bool)
    order = np.argsort(_name_keys(names.tolist(), seed), kind="stable").tolist()
    for passes_over in (True, False):  # first those that fit, then others for classes that have none
        for group in order:
            part = slice(starts[group], starts[group + 1])
            classes, size = parts[part] % index.num_classes, sizes[part]
            wanted = missing[classes] > 0
            if passes_over:
                fits = (index.counts - left).sum() + size.sum() < 2 * share.sum()
            else:
                wanted &= missing[classes] == share[classes]
                fits = not held[group]
            if fits and wanted.any() and (left[classes] > size).all():
                held[group] = True
                missing[classes] -= size
                left[classes] -= size
    return held[numbers]


def hold_out_test(dataset: Any, split: str) -> Any:
    """Select the images of one split of a dataset without a test set: one in five of each class is in `"test"`.

    Args:
        dataset: One of those in `image_sets`, with its labels as `targets`.
        split: `"test"`, or `"train"` for the other images.
    """
    train, test = stratified_split(ClassIndex.from_labels(dataset.targets), TEST_FRACTION)
    return subset(dataset, test if split == "test" else train)


def split_by_class(
    index: ClassIndex, *, unseen: float | Iterable[Any], groups: npt.NDArray[Any] | None = None, seed: int = 0
) -> tuple[Int64Array, Int64Array]:
    """Split the classes into seen and unseen ones, to test a model on classes that it was not trained on.

    Either side needs two classes: with one there is no negative pair to train on or to test with. To keep classes for
    validation too, split the seen classes again, as `pairsim train --unseen` does.

    Args:
        index: The images of each class.
        unseen: Share of the classes, in (0, 1), rounded to a whole number of classes, and at least two; or the labels
            of the unseen classes, a list, set or array.
        groups: The group of each image `[N]`, text or whole numbers, such as the writer of genuine and forged
            signatures. Classes that share a group, directly or through other classes, go to the same side, so that no
            group is on both. A share is then met as nearly as whole groups allow.
        seed: Any whole number. The classes of a share depend on it and on their labels, not on the order or number of
            images; without groups, adding or removing a class moves at most one other class to the other side.

    Returns:
        Image numbers of the seen and of the unseen classes, each ascending; no class and no group is in both.

    Raises:
        ValueError: If a share is not in (0, 1), a label is not in the dataset, the groups of seen and unseen labels
            overlap, or either side has fewer than two classes.

    Example:
        >>> index = ClassIndex.from_labels(np.array(["cat", "dog", "cow", "emu", "cat"]))
        >>> seen, unseen = split_by_class(index, unseen=["cat", "emu"])
        >>> seen.tolist(), unseen.tolist()
        ([1, 2], [0, 3, 4])
    """
    check_index(index)
    labels = index.classes.tolist()
    bound = np.arange(len(labels)) if groups is None else index.bound_classes(groups)
    if isinstance(unseen, int | float | np.number):
        share = float(unseen)
        if not 0.0 < share < 1.0:
            raise ValueError(
                f"Expected the share of unseen classes to be in (0, 1), got {unseen}. "
                f"Give labels as a list: [{unseen}]."
            )
        chosen = _chosen_classes(labels, bound, max(int(len(labels) * share + 0.5), 2), seed)
    else:
        chosen = _named_classes(labels, unseen)
        split_groups = np.intersect1d(bound[chosen], np.delete(bound, chosen))
        if len(split_groups):
            some = [label for label, number in zip(labels, bound, strict=True) if number == split_groups[0]]
            raise ValueError(
                f"Expected classes of one group to be all seen or all unseen, found {_some(some)} on both sides, which "
                "share groups. Name all of them, or none."
            )
    if not 2 <= len(chosen) <= len(labels) - 2:
        sets = len(np.unique(bound))
        tied = "" if sets == len(labels) else f" Groups bind the classes into {sets} set{'' if sets == 1 else 's'}."
        raise ValueError(
            f"Expected at least two unseen and two seen classes, as pairs of different classes need them, got "
            f"{len(chosen)} unseen of {len(labels)} classes.{tied} Choose another share or other labels, or add "
            "classes."
        )
    is_unseen = np.isin(np.arange(len(labels)), chosen)[index.codes]
    return np.flatnonzero(~is_unseen), np.flatnonzero(is_unseen)


def _chosen_classes(labels: Sequence[Any], bound: Int64Array, wanted: int, seed: int) -> list[int]:
    """Choose about as many classes as are wanted, in the order of a hash of the first label of those that are bound."""
    parts: dict[int, list[int]] = {}
    for number, first in enumerate(bound.tolist()):
        parts.setdefault(first, []).append(number)
    chosen: list[int] = []
    for first in sorted(parts, key=lambda number: _digest(f"classes:{seed}:{labels[number]}")):
        missing = wanted - len(chosen)
        if missing > 0 and len(parts[first]) <= 2 * missing:  # which comes nearer to the number wanted
            chosen += parts[first]
    if not chosen:
        chosen = min(parts.values(), key=len)
    return sorted(chosen)


def _named_classes(labels: Sequence[Any], named: Any) -> list[int]:
    """Return the class numbers of labels."""
    if isinstance(named, str):
        raise ValueError(f"Expected a share or a collection of labels, got {named!r}. Write [{named!r}].")
    wanted = named.tolist() if hasattr(named, "tolist") else list(named)
    numbers = {label: number for number, label in enumerate(labels)}
    unknown = [label for label in wanted if label not in numbers]
    if unknown:
        raise ValueError(
            f"Expected unseen to name classes of the dataset, found {len(unknown)} that are not: {_some(unknown)}. "
            f"Its labels are {_some(labels)}."
        )
    return sorted({numbers[label] for label in wanted})


def _some(labels: Sequence[Any]) -> str:
    return ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")


def _digest(text: str) -> bytes:
    # Of the bytes of a file's name, which need not be UTF-8.
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()


@dataclass(frozen=True, eq=False)
class ValidationSplit:
    """Which images of a set are held out for validation.

    Attributes:
        held_out: Numbers of the validation images, int64 `[V]`, ascending.
        data: Fingerprint of the whole set (`ClassIndex.fingerprint`).
    """

    held_out: Int64Array
    data: Mapping[str, Any]


def write_split(run: Path, split: ValidationSplit | None) -> None:
    """Write the split to a run folder; `None` removes the file of an earlier run.

    Raises:
        RunError: If the file cannot be written.
    """
    if split is None:
        (run / FILE_NAME).unlink(missing_ok=True)
        return
    is_held_out = np.zeros(split.data["num_images"], dtype=bool)
    is_held_out[split.held_out] = True
    values = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **split.data,
        "num_held_out": len(split.held_out),
        "held_out": base64.b64encode(np.packbits(is_held_out).tobytes()).decode(),
    }
    storage.write_file(run / FILE_NAME, json_files.sealed(values))


def read_split(run: Path) -> ValidationSplit | None:
    """Read the split of a run folder; `None` if it has no file for it.

    Raises:
        RunError: If the file is damaged or of a newer format.
    """
    path = run / FILE_NAME
    if not storage.is_file(path):
        return None
    values = json_files.read_sealed(path)
    try:
        if values.get("format") != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {values.get('format')!r}")
        if values["format_version"] > FORMAT_VERSION:
            raise ValueError(f"its format version {values['format_version']} needs a newer pairsim")
        data = {name: values[name] for name in ("num_images", "num_classes", "labels")}
        packed = np.frombuffer(base64.b64decode(values["held_out"], validate=True), dtype=np.uint8)
        held_out = np.flatnonzero(np.unpackbits(packed, count=data["num_images"]))
        if len(packed) != -(-data["num_images"] // 8) or len(held_out) != values["num_held_out"]:
            raise ValueError(f"expected {values['num_held_out']} of {data['num_images']} images, found others")
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"Expected the validation split of a run in {path}, but: {error}.") from error
    return ValidationSplit(held_out, data)
