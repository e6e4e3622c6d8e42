"""Rows of a matrix that grows at its end, without copying all of it each time."""

from __future__ import annotations

import torch
from torch import Tensor

_SPARE = 8
"""A new buffer has room for 1/8 more rows, so that a row that is added costs a copy of some 9 rows in the mean."""


class GrowingRows:
    """Float32 rows `[N, D]` with room for more.

    Args:
        rows: The first ones, which are not copied; they may be changed in place later.
        size: How many of these are rows, and not room for more; by default all.

    Example:
        >>> rows = GrowingRows(torch.zeros(2, 3))
        >>> rows.append(torch.ones(1, 3))
        >>> rows.all.shape
        torch.Size([3, 3])
    """

    def __init__(self, rows: Tensor | None = None, size: int | None = None) -> None:
        self._buffer = torch.empty((0, 0)) if rows is None else rows
        self._size = len(self._buffer) if size is None else size

    def __len__(self) -> int:
        return self._size

    @property
    def all(self) -> Tensor:
        """All rows `[N, D]`, a view."""
        return self._buffer[: self._size]

    def to(self, device: torch.device) -> Tensor:
        """Move the rows to a device, and return them."""
        if self._buffer.device != device:
            self._buffer = self.all.to(device)
        return self.all

    def append(self, rows: Tensor) -> None:
        """Add rows `[n, D]`; D may differ if there are no rows yet."""
        if not len(rows):
            return
        if not self._size:
            self._buffer, self._size = rows, len(rows)
            return
        end = self._size + len(rows)
        if end > len(self._buffer):
            room = self._buffer.new_empty((with_room(end), self._buffer.shape[1]))
            room[: self._size] = self.all
            self._buffer = room
        self._buffer[self._size : end] = rows.to(self._buffer.device)
        self._size = end


def with_room(size: int) -> int:
    """Return how many rows a new buffer for some rows has."""
    return size + size // _SPARE
