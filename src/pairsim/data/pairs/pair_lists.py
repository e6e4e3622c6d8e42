"""Lists of pairs that are frozen to a file with a hash, so that two people evaluate on provably the same pairs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pairsim.data.pairs.pair_files import numbers_of, pairs_sha256, read_table, write_pair_file
from pairsim.data.random import Int64Array, random_bits, stream_key
from pairsim.errors import DataError

if TYPE_CHECKING:
    from pairsim.data.pairs.pair_dataset import PairDataset


@dataclass(frozen=True, eq=False)
class PairList:
    """Pairs of images of a dataset, by number, with an optional fold for each.

    Two lists are the same if their `sha256` is: pairs, their order, targets and folds. What image a number stands for
    is the dataset's matter; for folders of images, whose numbers move when a file is added, write paths instead
    (`pairsim.data.pairs.pair_files.write_pair_file`).

    Attributes:
        first: Image number of each first image, int64 `[P]`, from 0.
        second: Image number of each second image, int64 `[P]`.
        target: 1 = same class, 0 = different, uint8 `[P]`.
        fold: Fold number of each pair, int64 `[P]`, from 0; see `pairsim.evaluation.k_fold_accuracy`.

    Raises:
        DataError: If there is no pair, lengths differ, a number is not a whole number from 0, a target is neither 0
            nor 1, or an image is paired with itself.

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

    def __post_init__(self) -> None:
        columns = {name: np.asarray(values) for name, values in vars(self).items() if values is not None}
        shapes = {name: list(column.shape) for name, column in columns.items()}
        if len({column.shape for column in columns.values()}) != 1 or columns["target"].ndim != 1:
            raise DataError(f"Expected one value per pair in every column, [P], got shapes {shapes}.")
        if columns["target"].size == 0:
            raise DataError("Expected at least one pair, found none.")
        if columns["target"].dtype.kind not in "biuf" or not np.isin(columns["target"], (0, 1)).all():
            raise DataError("Expected every target to be 1 (same class) or 0 (different).")
        for name, column in columns.items():
            if name != "target" and (column.dtype.kind not in "iu" or column.min() < 0 or column.max() >= 2**63):
                raise DataError(f"Expected {name} to hold whole numbers from 0, got dtype {column.dtype} or others.")
            # A copy that nobody can write to, so that the hash stays true.
            locked = np.array(column, dtype=np.uint8 if name == "target" else np.int64)
            locked.setflags(write=False)
            object.__setattr__(self, name, locked)
        same = np.flatnonzero(self.first == self.second)
        if same.size:
            raise DataError(
                f"Expected two different images in every pair, found {same.size} pairs of an image with itself, "
                f"the first at position {same[0]}. Remove them: they say nothing about similarity."
            )

    def __len__(self) -> int:
        return len(self.target)

    @property
    def sha256(self) -> str:
        """SHA-256 of the pairs in their order, as the file has it; see `pairsim.data.pairs.pair_files`."""
        return pairs_sha256(*self._columns())

    @classmethod
    def of(
        cls, pairs: PairDataset, *, folds: int | None = None, separate_images: bool = False, seed: int = 0
    ) -> PairList:
        """Take the pairs that a `PairDataset` gives now, for its epoch, and put them in folds if asked to.

        Without `separate_images` the pairs are dealt out at random. Guaranteed: folds differ by at most one positive
        pair, by at most one negative pair, and by at most one pair. An image, and a pair that is listed twice, may be
        in several folds.

        With `separate_images` no image is in two folds, and no pair is left out. Pairs that are connected through
        images thus stay together, and each group, the largest first, goes where its targets are needed most.
        Guaranteed: each fold has from half to twice its even share of the positive and of the negative pairs; where
        the groups are too few or too large for that, as is the rule for pairs drawn from all images, it is refused.

        Args:
            pairs: Its order is kept.
            folds: Number of folds, at least 2; without it the list has none.
            separate_images: Whether no image may be in two folds.
            seed: Any whole number; with the pairs it decides the folds.

        Returns:
            The list.

        Raises:
            ValueError: If `folds` is below 2 or above the number of positive or negative pairs (a target that no pair
                has does not count), or `separate_images` is set without it.
            DataError: If images cannot be separated.

        Example:
            >>> from pairsim.data import ImageTensors, PairDataset
            >>> import torch
            >>> images = ImageTensors(torch.zeros(8, 28, 28, dtype=torch.uint8), [0, 1] * 4)
            >>> PairList.of(PairDataset(images, 20), folds=5).fold.tolist().count(0)
            4
        """
        drawn = pairs.all_pairs()
        if folds is None:
            if separate_images:
                raise ValueError("Expected folds with separate_images, got none. Give folds=10, say.")
            return cls(drawn.first, drawn.second, drawn.target)
        totals = np.bincount(drawn.target, minlength=2)
        if folds < 2 or any(0 < total < folds for total in totals):
            raise ValueError(
                f"Expected folds to be at least 2 and at most the number of pairs of either target, got {folds} for "
                f"{totals[1]} positive and {totals[0]} negative pairs. Use fewer folds, or more pairs."
            )
        if separate_images:
            fold = _separate_folds(drawn.first, drawn.second, drawn.target, folds, seed)
        else:
            by_target = np.lexsort((random_bits(stream_key("folds", seed), np.arange(len(drawn))), drawn.target))
            fold = np.empty(len(drawn), dtype=np.int64)
            fold[by_target] = np.arange(len(drawn)) % folds
        return cls(drawn.first, drawn.second, drawn.target, fold)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the list as CSV, with its number of pairs and its hash as first line, in one step.

        Args:
            path: The file, which is replaced. `load`, `read_numbered_pairs` and `pairsim evaluate --pairs` read it.

        Raises:
            RunError: If it cannot be written. The old file stays as it was.
        """
        write_pair_file(path, *self._columns())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, require_hash: bool = False) -> PairList:
        """Read a list, and check it against the hash that the file gives.

        Args:
            path: CSV of `number1,number2,label` and an optional `fold`.
            require_hash: Whether to refuse a file without a hash. By default such a file, written by hand or by
                another program, is taken as it is; a hash that is there must be right in any case.

        Returns:
            The list. Whether it is the one that somebody else used, only the comparison with their `sha256` says.

        Raises:
            DataError: If the file is missing, a row cannot be understood, number or hash of the pairs are not what the
                file says, or the pairs are not fit for a list.
        """
        table = read_table(path)
        if require_hash and not table.frozen:
            raise DataError(
                f"Expected {path} to give the hash of its pairs, found none. Write it with PairList.save, or pass "
                "require_hash=False to take the pairs as they are."
            )
        first, second, target = (np.array(column) for column in numbers_of(table.rows, path))
        return cls(first, second, target, None if table.folds is None else np.array(table.folds))

    def _columns(self) -> tuple[list[int], list[int], list[int], list[int] | None]:
        fold = None if self.fold is None else self.fold.tolist()
        return self.first.tolist(), self.second.tolist(), self.target.tolist(), fold


def _separate_folds(
    first: Int64Array, second: Int64Array, target: npt.NDArray[np.uint8], num_folds: int, seed: int
) -> Int64Array:
    group = _connected(first, second)
    counts = np.bincount(2 * group + target, minlength=2 * (int(group.max()) + 1)).reshape(-1, 2)
    totals = counts.sum(axis=0)
    # The fold with the least of sum_t count_t x filled_t / total_t^2 adds least to the squared shares of all folds.
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
            f"Expected pairs that fall into {num_folds} folds of like size without a common image, found {len(counts)} "
            f"groups of connected images, the largest with {counts.sum(axis=1).max()} of {len(target)} pairs. "
            "Draw the pairs of each fold from images of its own, use fewer folds, or separate_images=False."
        )
    return fold[group]


def _connected(first: Int64Array, second: Int64Array) -> Int64Array:
    """The number of the group of each pair: pairs with a common image are in one group, and so are their partners."""
    places = np.unique(np.concatenate((first, second)), return_inverse=True)[1].reshape(2, -1)
    root = np.arange(places.max() + 1)  # never above the place itself, so that no circle can arise
    while not np.array_equal(*(ends := root[places])):
        lower = ends.min(axis=0)
        for end in ends:  # not both at once: NumPy 2.4 goes wrong where `at` has to repeat the values
            np.minimum.at(root, end, lower)
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
    return np.unique(root[places[0]], return_inverse=True)[1].astype(np.int64)
