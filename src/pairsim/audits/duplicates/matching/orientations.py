"""Eight orientations of a patch, and the one in which it is described.

An orientation is three flags `[..., 3]`: rows and columns are exchanged, then left and right, then top and bottom.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

FREQUENCIES = sorted(((i, j) for i in range(9) for j in range(9) if 0 < i + j < 9), key=lambda pair: (sum(pair), pair))
"""Vertical and horizontal frequencies of the cosine coefficients of a description, lowest first."""

_ROW, _COLUMN = torch.tensor(FREQUENCIES).unbind(dim=1)
TRANSPOSED = torch.tensor([FREQUENCIES.index((j, i)) for i, j in FREQUENCIES])
"""Order of the coefficients of a transposed patch."""
FLIP_X = (1 - 2 * (_COLUMN % 2)).to(torch.int8)
"""Signs of the coefficients of a patch whose left and right are exchanged."""
FLIP_Y = (1 - 2 * (_ROW % 2)).to(torch.int8)
"""Signs of the coefficients of a patch whose top and bottom are exchanged."""

_NEARLY = 15
"""Coefficients that differ by less leave the orientation open."""


def standard_orientations(descriptions: Tensor) -> Tensor:
    """Return the orientation `[F, 3]` in which the lowest two odd coefficients are positive, the horizontal larger.

    Args:
        descriptions: Coefficients of patches as they are `[F, D]`.
    """
    horizontal, vertical = descriptions[:, 0], descriptions[:, 1]
    transposed = vertical.abs() > horizontal.abs()
    flip_x = torch.where(transposed, vertical, horizontal) < 0
    flip_y = torch.where(transposed, horizontal, vertical) < 0
    return torch.stack([transposed, flip_x, flip_y], dim=1)


def oriented(descriptions: Tensor, orientations: Tensor) -> Tensor:
    """Return the coefficients of patches `[F, D]` in other orientations, `[F, 3]` or `[3]`."""
    transposed = torch.where(orientations[..., :1], descriptions[:, TRANSPOSED], descriptions)
    signs = torch.where(orientations[..., 1:2], FLIP_X, torch.ones_like(FLIP_X))
    return transposed * signs * torch.where(orientations[..., 2:], FLIP_Y, torch.ones_like(FLIP_Y))


def inverses(orientations: Tensor) -> Tensor:
    """Return the orientations `[F, 3]` that undo others."""
    return torch.where(orientations[:, :1], orientations[:, [0, 2, 1]], orientations)


def nearly_standard(descriptions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each of eight changes, find the patches for which the result could as well be standard.

    Args:
        descriptions: In standard orientation `[F, D]`.

    Yields:
        Indices of patches `[Q]`, and the change `[3]` from their standard orientation.
    """
    horizontal, vertical = descriptions[:, 0].int(), descriptions[:, 1].int()
    open_ = torch.stack([horizontal - vertical < _NEARLY, horizontal < _NEARLY, vertical < _NEARLY], dim=1)
    for change in product((False, True), repeat=3):
        changed = torch.tensor(change)
        yield (open_ | ~changed).all(dim=1).nonzero()[:, 0], changed


def orientation_matrices(orientations: Tensor) -> Tensor:
    """Return the signed permutations `[F, 2, 2]` of orientations `[F, 3]`."""
    transposed, flip_x, flip_y = (orientations[:, k].float() for k in range(3))
    matrices = torch.zeros(len(orientations), 2, 2)
    matrices[:, 0, 0] = (1 - transposed) * (1 - 2 * flip_x)
    matrices[:, 0, 1] = transposed * (1 - 2 * flip_y)
    matrices[:, 1, 0] = transposed * (1 - 2 * flip_x)
    matrices[:, 1, 1] = (1 - transposed) * (1 - 2 * flip_y)
    return matrices
