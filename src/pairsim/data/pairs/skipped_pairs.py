"""Pairs of a list that are left out because a picture of theirs is missing or cannot be read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pairsim._common.numbers import counted
from pairsim._common.storage import is_file
from pairsim.data.random import Int64Array
from pairsim.data.unreadable import unreadable
from pairsim.errors import DataError, ImageReadError, printable

_MAX_NAMED, _MAX_LENGTH = 10, 200
_MISSING = "there is no such file"


@dataclass(frozen=True, eq=False)
class SkippedPairs:
    """Pairs of a list that are left out.

    Attributes:
        num_pairs: Number of pairs in the list.
        kept: Positions in the list of the pairs that are used, int64, ascending.
        pictures: The reason for each picture that is missing or cannot be read, by its path.
        num_pictures: Number of pictures in the list, with these.
        failed_pairs: How many of the negative and of the positive pairs are left out.
    """

    num_pairs: int
    kept: Int64Array
    pictures: dict[str, str]
    num_pictures: int
    failed_pairs: tuple[int, int]

    @property
    def num_skipped(self) -> int:
        """Number of pairs that are left out."""
        return self.num_pairs - len(self.kept)

    def of_kept(self, values: Sequence[Any]) -> list[Any]:
        """Return those of one value for each pair of the list, such as its fold, that belong to pairs that are used."""
        return [values[position] for position in self.kept.tolist()]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON values: `num_skipped` pairs, and `skipped`, the pictures with the reasons."""
        skipped = [{"file": name, "reason": reason} for name, reason in self.pictures.items()]
        return {"num_skipped": self.num_skipped, "skipped": skipped}

    def __str__(self) -> str:
        if not self.pictures:
            return ""
        are = "is" if len(self.pictures) == 1 else "are"
        return (
            f"{self.num_skipped:,} of {counted(self.num_pairs, 'pair')} skipped, as {_named(tuple(self.pictures))} "
            f"{are} missing or cannot be read."
        )


def skip_pairs(pairs: Sequence[tuple[str, str]], targets: Sequence[int], white: int | None = None) -> SkippedPairs:
    """Find the pairs whose pictures can be read; each picture is read once.

    Args:
        pairs: Paths of the first and second picture of each pair.
        targets: 1 = same class, 0 = different, of each pair.
        white: As for `read_image`.

    Returns:
        Which pairs are used, and what cannot be read.

    Raises:
        DataError: If no pair is left.
    """
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    pictures = {name: _MISSING for name in names if not is_file(name)}
    there = [name for name in names if name not in pictures]
    pictures |= {there[number]: reason for number, reason in unreadable(there, white).items()}
    kept = [position for position, pair in enumerate(pairs) if pictures.keys().isdisjoint(pair)]
    if not kept:
        name, reason = next(iter(pictures.items()))
        raise DataError(
            f"Expected a pair of two pictures that can be read, found none in {counted(len(pairs), 'pair')}, such as "
            f"{_shown(name)}: {reason}. Check the folder that the paths start from."
        )
    positions, totals = np.array(kept, dtype=np.int64), np.bincount(targets, minlength=2)
    failed = totals - np.bincount(np.asarray(targets)[positions], minlength=2)
    return SkippedPairs(len(pairs), positions, pictures, len(names), (int(failed[0]), int(failed[1])))


def check_exist(names: Collection[str], file: object, encoding: str) -> None:
    """Raise one error on all pictures of a list that are missing: their number, and the first ten.

    Args:
        names: Paths of the pictures.
        file: The list.
        encoding: How the list was decoded, which may be the reason.
    """
    absent = [name for name in names if not is_file(name)]
    if absent:
        are = "is" if len(absent) == 1 else "are"
        decoded = "" if encoding.startswith("utf-8") else f" The list was read as {encoding}: save it as UTF-8."
        raise ImageReadError(
            f"Expected the {counted(len(names), 'picture')} of {file} to exist, {_named(absent)} {are} missing. Check "
            "the folder that the paths start from, or leave out their pairs with --on-error skip "
            f"(on_error='skip').{decoded}"
        )


def _named(names: Sequence[str]) -> str:
    """Return the number of pictures, and the names of the first ten, of long ones both ends."""
    more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    return f"{counted(len(names), 'picture')} ({', '.join(map(_shown, names[:_MAX_NAMED]))}{more})"


def _shown(name: str) -> str:
    text = printable(name)
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH // 2]}...{text[-_MAX_LENGTH // 2 :]}"
