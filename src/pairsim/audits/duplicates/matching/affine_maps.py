"""Affine maps of the plane, `[..., 2, 3]`: the last column is the shift."""

from __future__ import annotations

import torch
from torch import Tensor


def composed(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the map that applies `inner`, then `outer`, `[..., 2, 3]`.

    Example:
        >>> shift = torch.tensor([[1.0, 0.0, 3.0], [0.0, 1.0, 0.0]])
        >>> composed(shift, shift)[:, 2].tolist()
        [6.0, 0.0]
    """
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return torch.cat([linear, shift], dim=-1)


def inverse(affine: Tensor) -> Tensor:
    """Return the inverse of maps that have one; of others, numbers without meaning."""
    a, b, c, d = affine[..., 0, 0], affine[..., 0, 1], affine[..., 1, 0], affine[..., 1, 1]
    determinant = a * d - b * c
    determinant = torch.where(determinant.abs() < 1e-12, torch.full_like(determinant, 1e-12), determinant)
    linear = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    linear = linear / determinant[..., None, None]
    return torch.cat([linear, -linear @ affine[..., 2:]], dim=-1)


def from_linear(linear: Tensor) -> Tensor:
    """Return maps without a shift, from matrices `[..., 2, 2]`."""
    return torch.cat([linear, torch.zeros_like(linear[..., :1])], dim=-1)
