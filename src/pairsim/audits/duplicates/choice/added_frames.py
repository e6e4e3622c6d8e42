"""Tell whether something was added around a picture: the frame of a screenshot, or the corners of a rotation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim._common.arrays import Float32Array
from pairsim.audits.duplicates.choice.changes import content_size
from pairsim.audits.duplicates.choice.overlays import Shown
from pairsim.audits.duplicates.matching.fingerprints import Fingerprint
from pairsim.errors import ImageReadError
from pairsim.images import read_image

_SIDE = 256
"""Longer side at which pictures are looked at, so that registration is exact to a pixel."""
_NEAR = 2.0
"""Pixels from the edge of the other picture within which nothing is certain."""
_LEAST = 0.004
"""Share of a picture that lies outside the other one, at least."""
_TONES, _TONE, _PLAIN = 3, 2, 0.6
"""Share of what is around that has one of so many grey levels, and levels that count as one: it is no scene."""
_STEP, _SHARPER = 12.0, 2.0
"""Grey levels between both sides of an edge, and how much more that is than as far inside of it."""
_SIDES = 3
"""Sides of the other picture that have such an edge, at least: a scene may have one along two."""


def reduced(shown: Shown) -> Tensor | None:
    """Read a picture in grey at the size at which `surrounded` looks at it.

    Returns:
        `[height, width]`, float32; `None` if it cannot be read, or is too small or narrow.
    """
    height, width = shown.print_.size
    share = min(1.0, _SIDE / max(height, width))
    size = round(height * share), round(width * share)
    if min(size) <= 4 * _NEAR:
        return None
    try:
        return read_image(shown.picture, channels=1, image_size=size)[0].float()
    except ImageReadError:
        return None


def surrounded(grey: Tensor | None, outer: Fingerprint, inner: Fingerprint, transform: Tensor) -> bool:
    """Tell whether one of two copies has something added around what the other one shows.

    What is added has few tones, and there is an edge all along the other picture. A scene that the other one was cut
    out of goes on beyond its sides.

    Args:
        grey: The copy that may have something around it, from `reduced`; `None` has nothing.
        outer: Of the same copy.
        inner: Of the other copy.
        transform: Coordinates of the first to those of the second `[2, 3]`.
    """
    if grey is None:
        return False
    sides = _distances(outer, inner, transform, (grey.shape[0], grey.shape[1]))
    distance, nearest = (one.numpy() for one in sides.min(dim=0))
    around = distance < -_NEAR
    if around.mean() < _LEAST or not _is_plain(grey.numpy()[around]):
        return False
    return sum(_has_edge(grey, sides[side], (nearest == side) & (np.abs(distance) < 1)) for side in range(4)) >= _SIDES


def _distances(outer: Fingerprint, inner: Fingerprint, transform: Tensor, size: tuple[int, int]) -> Tensor:
    """Return how far each pixel lies inside of each side of the other picture, in pixels `[4, height, width]`."""
    y, x = (
        ((torch.arange(count) + 0.5) / count - (first + last) / 2) * whole * 2 / max(content_size(outer))
        for count, whole, first, last in zip(size, outer.size, outer.content[:2], outer.content[2:], strict=True)
    )
    place = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(size)], dim=-1) @ transform.float().T
    unit = max(content_size(inner)) / 2
    distances = []
    for axis, whole, middle in (
        (0, inner.size[1], (inner.content[1] + inner.content[3]) / 2),
        (1, inner.size[0], (inner.content[0] + inner.content[2]) / 2),
    ):
        at = place[..., axis] * unit + middle * whole
        distances += [at, whole - at]
    scale = math.sqrt(abs(float(torch.linalg.det(transform[:, :2])))) * unit  # of one unit of the first
    pixel = max(content_size(outer)) / 2 * size[1] / outer.size[1]
    return torch.stack(distances) * (pixel / scale)


def _is_plain(values: Float32Array) -> bool:
    counts, covered = np.bincount(values.astype(np.int64), minlength=256), 0
    for _ in range(_TONES):
        level = int(np.convolve(counts, np.ones(2 * _TONE + 1, np.int64), mode="same").argmax())
        part = slice(max(level - _TONE, 0), level + _TONE + 1)
        covered += int(counts[part].sum())
        counts[part] = 0
    return covered >= _PLAIN * len(values)


def _has_edge(grey: Tensor, distance: Tensor, where: Float32Array) -> bool:
    """Tell whether there is an edge all along a side, whose pixels are given, where there is something beyond it."""
    height, width = grey.shape
    rows, columns = np.nonzero(where)
    down, right = torch.gradient(distance)
    normal = torch.stack([right, down], dim=-1)[rows, columns]
    start = torch.from_numpy(np.stack([columns, rows], axis=1)).float() - normal * distance[rows, columns, None]
    unit = torch.tensor([width, height])
    seen = []
    for depth in (-_NEAR, _NEAR, 3 * _NEAR):
        grid = (2 * (start + normal * depth) + 1) / unit - 1
        if depth < 0:
            start, normal, grid = (one[(grid.abs() <= 1).all(dim=1)] for one in (start, normal, grid))
        seen.append(functional.grid_sample(grey[None, None], grid[None, None], align_corners=False)[0, 0, 0])
    if len(start) < 4 * _NEAR:
        return False
    step, inside = (float((one - seen[1]).abs().median()) for one in (seen[0], seen[2]))
    return step > max(_STEP, _SHARPER * inside)
