"""Lists of pairs, which a hash in their file makes comparable between users."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import as_array
from pairsim._common.numbers import truth_value
from pairsim.data.pairs.pair_files import pairs_sha256, read_table, write_pair_file
from pairsim.data.random import Int64Array, random_bits, stream_key
from pairsim.errors import DataError

if TYPE_CHECKING:
    from pairsim.data.pairs.pair_dataset import PairDataset

_TEXTS = ("kind", "group")
"""Columns of text."""


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of images of a dataset, by number, with an optional fold, kind and group for each.

    Two lists with the same `sha256` have the same pairs, in the same order, with the same other columns. The
    numbers refer to a dataset. In a folder of images they change when a file is added; write paths there instead
    (`pairsim.data.pairs.pair_files.write_pair_file`).

    Attributes:
        first: Image number of each first image, int64 `[P]`, from 0.
        second: Image number of each second image, int64 `[P]`.
        target: 1 = same class, 0 = different, uint8 `[P]`.
        fold: Fold number of each pair, int64 `[P]`, from 0; see `pairsim.evaluation.k_fold_accuracy`.
        kind: Kind of each pair, text `[P]`, such as "skilled"; a positive pair may have an empty one.
        group: Group of each pair, text `[P]`, such as the writer.

    Raises:
        DataError: If there is no pair, lengths differ, a number is not a whole number from 0, a target is neither 0
            nor 1, a group or the kind of a negative pair is empty or no text, or an image is paired with itself.
        TypeError: If numbers have no regular shape.

    Example:
        >>> import tempfile
        >>> pairs = PairList([3, 0], [4, 2], [1, 0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pairs.save(f"{folder}/pairs.csv")
        ...     PairList.load(f"{folder}/pairs.csv").sha256 == pairs.sha256
        True
    """

    first: Int64Array
    second: Int64Array
    target: npt.NDArray[np.uint8]
    fold: Int64Array | None = None
    kind: npt.NDArray[Any] | None = None
    group: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        columns = {
            # text stays as it is: NumPy would make text of a number or NaN beside it
            name: np.asarray(values, dtype=object) if name in _TEXTS else as_array(values, name)
            for name, values in vars(self).items()
            if values is not None
        }
        shapes = {name: list(column.shape) for name, column in columns.items()}
        target = columns["target"]
        if any(column.shape != target.shape for column in columns.values()) or target.ndim != 1:
            raise DataError(f"Expected one value per pair in every column, [P], got shapes {shapes}.")
        if target.size == 0:
            raise DataError("Expected at least one pair, found none.")
        if target.dtype.kind not in "biuf" or not np.isin(target, (0, 1)).all():
            found = target[~np.isin(target, (0, 1))][:1].tolist()
            raise DataError(f"Expected every target to be 1 (same class) or 0 (different), got {found[0]!r}.")
        for name, column in columns.items():
            if name in _TEXTS:
                self._set_text(name, column)
                continue
            if name != "target" and (column.dtype.kind not in "iu" or column.min() < 0 or column.max() >= 2**63):
                beyond = column[(column < 0) | (column >= 2**63)] if column.dtype.kind in "iu" else column.dtype
                found = beyond[0] if isinstance(beyond, np.ndarray) else f"dtype {beyond}"
                raise DataError(f"Expected {name} to hold whole numbers from 0, got {found}.")
            # A read-only copy, so that the hash stays valid.
            locked = np.array(column, dtype=np.uint8 if name == "target" else np.int64)
            locked.setflags(write=False)
            object.__setattr__(self, name, locked)
        same = np.flatnonzero(self.first == self.second)
        if same.size:
            raise DataError(
                f"Expected two different images in every pair, found {same.size} pairs of an image with itself, "
                f"the first at position {same[0]}. Remove them: they carry no information on similarity."
            )

    def _set_text(self, name: str, column: npt.NDArray[Any]) -> None:
        """Keep a column of texts as a locked copy."""
        needed = column if name == "group" else column[np.asarray(self.target) == 0]
        if not all(isinstance(text, str) for text in column.tolist()) or not all(needed.tolist()):
            whose = "every pair" if name == "group" else "every negative pair"
            raise DataError(
                f"Expected {name} to hold a text for {whose}, got others or empty ones. "
                f"Fill them in, or leave {name} out."
            )
        locked = np.array(column.tolist(), dtype=np.str_)
        locked.setflags(write=False)
        object.__setattr__(self, name, locked)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def sha256(self) -> str:
        """SHA-256 of the pairs in their order, as written to the file; see `pairsim.data.pairs.pair_files`."""
        kind, group = self._texts()
        return pairs_sha256(*self._columns(), kind=kind, group=group)

    @classmethod
    def of(
        cls,
        pairs: PairDataset,
        *,
        folds: int | None = None,
        separate_images: bool = False,
        separate_by: npt.NDArray[Any] | None = None,
        seed: int = 0,
    ) -> PairList:
        """List the pairs of the current epoch of a `PairDataset`, and assign them to folds on request.

        Without `separate_images` the folds are random. Guaranteed: folds differ by at most one positive pair, by at
        most one negative pair, and by at most one pair. An image, and a pair that is listed twice, may be in several
        folds.

        With `separate_images` no image is in two folds, with `separate_by` no class or group of images, and no pair is
        left out. Pairs that are connected through these are in one fold. Each such group, the largest first, is put in
        the fold that lacks its targets most. Guaranteed: each fold has from half to twice its even share of the
        positive and of the negative pairs. Groups that are too few or too large for that raise an error; pairs drawn
        from all images usually are.

        Args:
            pairs: Its order is kept.
            folds: Number of folds, at least 2; without it the list has none.
            separate_images: Whether each image must be in one fold only.
            separate_by: Class or group of each image of the dataset `[N]`, which must be in one fold only.
            seed: Any whole number; it sets the folds, together with the pairs.

        Returns:
            The list.

        Raises:
            ValueError: If `folds` is below 2 or above the number of positive or negative pairs (a target that no pair
                has does not count), `separate_images` or `separate_by` is given without it, or `separate_by` has not
                one value for each image.
            DataError: If images, classes or groups cannot be separated.

        Example:
            >>> from pairsim.data import ImageTensors, PairDataset
            >>> import torch
            >>> images = ImageTensors(torch.zeros(8, 28, 28, dtype=torch.uint8), [0, 1] * 4)
            >>> PairList.of(PairDataset(images, 20), folds=5).fold.tolist().count(0)
            4
        """
        truth_value(separate_images, "separate_images")
        drawn = pairs.all_pairs()
        if folds is None:
            if separate_images or separate_by is not None:
                name = "separate_images" if separate_images else "separate_by"
                raise ValueError(f"Expected folds with {name}, got none. Pass a number, such as folds=10.")
            return cls(drawn.first, drawn.second, drawn.target, None, pairs.kind, pairs.group)
        totals = np.bincount(drawn.target, minlength=2)
        if folds < 2 or any(0 < total < folds for total in totals):
            raise ValueError(
                f"Expected folds to be at least 2 and at most the number of pairs of either target, got {folds} for "
                f"{totals[1]} positive and {totals[0]} negative pairs. Use fewer folds, or more pairs."
            )
        if separate_by is not None:
            if np.shape(separate_by) != (len(pairs.dataset),):
                raise ValueError(
                    f"Expected separate_by to hold one class or group for each of {len(pairs.dataset)} images, got "
                    f"shape {list(np.shape(separate_by))}."
                )
            parts = np.unique(separate_by, return_inverse=True)[1].astype(np.int64)
            fold = _separate_folds(parts[drawn.first], parts[drawn.second], drawn.target, folds, seed)
        elif separate_images:
            fold = _separate_folds(drawn.first, drawn.second, drawn.target, folds, seed)
        else:
            by_target = np.lexsort((random_bits(stream_key("folds", seed), np.arange(len(drawn))), drawn.target))
            fold = np.empty(len(drawn), dtype=np.int64)
            fold[by_target] = np.arange(len(drawn)) % folds
        return cls(drawn.first, drawn.second, drawn.target, fold, pairs.kind, pairs.group)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the list as CSV with its number of pairs and its hash in the first line, in one step.

        Args:
            path: The file, which is replaced. `load`, `read_numbered_pairs` and `pairsim evaluate --pairs` read it.

        Raises:
            RunError: If it cannot be written. The old file stays as it was.
        """
        kind, group = self._texts()
        write_pair_file(path, *self._columns(), kind=kind, group=group)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, require_hash: bool = False) -> PairList:
        """Read a list and check it against the hash in the file.

        Args:
            path: CSV of `number1,number2,label`, and if you like `fold`, `kind` and `group`.
            require_hash: Whether a file without a hash raises an error. By default such a file, written by hand or
                by another program, is accepted; a hash in the file is always checked.

        Returns:
            The list. Compare its `sha256` with that of others to know that they used the same one.

        Raises:
            DataError: If the file is missing, a row cannot be parsed, number or hash of the pairs differ from those in
                the file, or the pairs are not valid (see `PairList`).
        """
        truth_value(require_hash, "require_hash")
        table = read_table(path)
        if require_hash and not table.frozen:
            raise DataError(
                f"Expected {path} to give the hash of its pairs, found none. Write it with PairList.save, or pass "
                "require_hash=False to take the pairs as they are."
            )
        first, second, target = (np.array(column) for column in table.numbers())
        others = (None if values is None else np.array(values) for values in (table.folds, table.kinds, table.groups))
        return cls(first, second, target, *others)

    def _columns(self) -> tuple[list[int], list[int], list[int], list[int] | None]:
        fold = None if self.fold is None else self.fold.tolist()
        return self.first.tolist(), self.second.tolist(), self.target.tolist(), fold

    def _texts(self) -> tuple[list[str] | None, list[str] | None]:
        kind, group = (None if text is None else text.tolist() for text in (self.kind, self.group))
        return kind, group


def _separate_folds(
    first: Int64Array, second: Int64Array, target: npt.NDArray[np.uint8], num_folds: int, seed: int
) -> Int64Array:
    group = connected(first, second)
    counts = np.bincount(2 * group + target, minlength=2 * (int(group.max()) + 1)).reshape(-1, 2)
    totals = counts.sum(axis=0)
    # The fold with the smallest sum_t count_t x filled_t / total_t^2 adds least to the squared shares of all folds.
    weights = counts / np.maximum(totals, 1) ** 2
    largest_first = np.lexsort((random_bits(stream_key("folds", seed), np.arange(len(counts))), -counts.sum(axis=1)))
    filled = np.zeros((num_folds, 2), dtype=np.int64)
    fold = np.empty(len(counts), dtype=np.int64)
    for number in largest_first.tolist():
        fold[number] = np.argmin((filled * weights[number]).sum(axis=1))
        filled[fold[number]] += counts[number]
    # Even share: totals / num_folds.
    if np.any(2 * num_folds * filled < totals) or np.any(num_folds * filled > 2 * totals):
        raise DataError(
            f"Expected pairs that fall into {num_folds} folds of similar size with nothing in common, found "
            f"{len(counts)} groups of connected pairs, the largest with {counts.sum(axis=1).max()} of {len(target)} "
            "pairs. Draw the pairs of each fold from images of its own, use fewer folds, or do not separate them."
        )
    return fold[group]


def connected(first: Int64Array, second: Int64Array) -> Int64Array:
    """Compute the group of each pair: pairs that are linked by common images, directly or not, are in one group."""
    images = np.unique(np.concatenate((first, second)), return_inverse=True)[1].reshape(2, -1)
    root = np.arange(images.max() + 1)  # never above the image itself, so there are no cycles
    while not np.array_equal(*(ends := root[images])):
        lower = ends.min(axis=0)
        for end in ends:  # not both at once: `at` of NumPy 2.4 is wrong where it has to broadcast the values
            np.minimum.at(root, end, lower)
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
    return np.unique(root[images[0]], return_inverse=True)[1].astype(np.int64)
