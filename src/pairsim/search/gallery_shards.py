"""Shards of a gallery on disk: which rows they have, and which of a gallery's rows have to be written."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SHARD_BYTES = 64 * 2**20
MAX_SMALL = 64
"""Number of shards below a quarter of `SHARD_BYTES` above which neighbouring ones are joined."""

_MAX_NUMBER = 2**53
"""What JSON holds exactly everywhere."""


@dataclass(frozen=True)
class Shard:
    """Rows that are on disk; `removed` lists spans `[first, last + 1]` that are no longer in the gallery."""

    number: int
    rows: int
    embeddings_sha256: str
    ids_sha256: str
    removed: tuple[tuple[int, int], ...] = ()

    @property
    def embeddings_file(self) -> str:
        """Name of the file with the embeddings."""
        return f"embeddings-{self.number:05d}.safetensors"

    @property
    def ids_file(self) -> str:
        """Name of the file with the ids."""
        return f"ids-{self.number:05d}.json"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shard:
        """From JSON values, as `dataclasses.asdict` returns them.

        Raises:
            ValueError: If numbers or spans are not possible; KeyError or TypeError if it has other fields.
        """
        spans = tuple((whole(first), whole(end)) for first, end in values["removed"])
        ends = [0, *itertools.chain(*spans), whole(values["rows"])]
        if not all(map(operator.le, ends, ends[1:])):
            raise ValueError(f"expected removed rows in order and at most {values['rows']}, found others")
        whole(values["number"])
        return cls(**{**values, "removed": spans})

    @property
    def num_kept(self) -> int:
        """Number of rows that are in the gallery."""
        return self.rows - sum(end - first for first, end in self.removed)

    def kept(self) -> npt.NDArray[np.bool_]:
        """Return which rows are in the gallery."""
        mask = np.ones(self.rows, dtype=bool)
        for first, end in self.removed:
            mask[first:end] = False
        return mask


@dataclass
class SavedState:
    """Which rows of a gallery are on disk, and where.

    Attributes:
        folder: Resolved; `None` if nothing was saved or loaded.
        sha256: Of the index when it was last written or read.
        shards: In order.
        homes: For the first rows of the gallery, the row among those of all shards that each was saved as, ascending;
            later rows are new. At first all rows that the shards keep.
        changed: Which of these have been given another embedding.
    """

    folder: Path | None = None
    sha256: str = ""
    shards: Sequence[Shard] = ()
    homes: npt.NDArray[np.int64] = field(init=False)
    changed: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.homes = np.flatnonzero(np.concatenate([np.zeros(0, bool), *(shard.kept() for shard in self.shards)]))
        self.changed = np.zeros(len(self.homes), bool)

    def update(self, indices: Sequence[int]) -> None:
        """Mark rows of the gallery as changed."""
        rows = np.asarray(indices, dtype=np.int64)
        self.changed[rows[rows < len(self.changed)]] = True

    def keep(self, indices: Sequence[int]) -> None:
        """Keep only some rows of the gallery, in their order."""
        rows = np.asarray(indices, dtype=np.int64)
        rows = rows[rows < len(self.homes)]
        self.homes, self.changed = self.homes[rows], self.changed[rows]


def pieces(state: SavedState, count: int, dim: int) -> list[Shard | tuple[int, int]]:
    """Return what a gallery consists of, in order: shards that stay, and spans of its rows to write."""
    most = max_rows(dim)
    many_small = sum(shard.rows < most // 4 for shard in state.shards) > MAX_SMALL
    found: list[Shard | tuple[int, int]] = []
    start, unwritten = 0, 0  # first row of the shard among those of all shards; first row without a piece
    for shard in state.shards:
        first, end = (int(row) for row in np.searchsorted(state.homes, [start, start + shard.rows]))
        gone = np.ones(shard.rows, dtype=bool)
        gone[state.homes[first:end] - start] = False
        dead = np.flatnonzero(gone)
        small = many_small and shard.rows < most // 4
        if 2 * dead.size <= shard.rows and not state.changed[first:end].any() and not small:
            breaks = np.flatnonzero(np.diff(dead) > 1) + 1
            removed = tuple((int(run[0]), int(run[-1]) + 1) for run in np.split(dead, breaks) if run.size)
            found += [*_spans(unwritten, first, most), replace(shard, removed=removed)]
            unwritten = end
        start += shard.rows
    return [*found, *_spans(unwritten, count, most)]


def max_rows(dim: int) -> int:
    """Return how many embeddings of a size a shard has at most."""
    return max(SHARD_BYTES // (4 * max(dim, 1)), 1)


def _spans(first: int, end: int, most: int) -> list[tuple[int, int]]:
    return [(start, min(start + most, end)) for start in range(first, end, most)]


def whole(value: Any) -> int:
    """Return a number of a file as it is; raise ValueError if it is no whole number, or negative."""
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise ValueError(f"expected a whole number, found {str(value)[:40]}")
    return value
