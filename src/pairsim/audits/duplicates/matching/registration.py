"""Register one picture with another, and compare their pixels where they overlap.

Coordinates of a picture have their origin at its centre, x to the right and y down, and its longer side is 2 long. The
pixels are compared after local normalization: the local mean is subtracted, and the rest divided by the local standard
deviation. So light, contrast and colour do not count, and parts without texture hardly do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim.audits.duplicates.matching.fingerprints import GREY_SIDE, UInt8Array

_NOISE = 3.0
"""Grey levels of noise: local contrast below it counts little."""
_WINDOW = 4.0
"""Standard deviation of the window of the local mean and contrast, in pixels of the grey copy."""
_AT_ONCE = 64
_COMPARED_AT_ONCE = 1 << 14
"""Pairs of a family that are compared at once: each needs 64 numbers for its blocks, some times."""
COARSE = ((2, 4),)
FINE = ((2, 2), (1, 2))
"""Pixels that are averaged in each direction, and Gauss-Newton steps, one after the other."""
_PROMISING = 0.2
"""Correlation from which it is worth to register two pictures."""
_OUTLIER = 1.0
"""Residual, in local standard deviations, beyond which a pixel counts little, as under a text."""
_FULL_DETAIL = 600.0
"""Sum of the squares of mixed second differences of most photographs, at least."""
_LEAST_EVIDENCE = 0.2
"""Evidence of a picture of smooth shades, which still has some independent values."""
_TEXTURE = 1.0
"""Sum of the squares of locally normalized pixels below which all that differs is rounding."""
BLOCK = 8
"""Height and width of the blocks that are compared one by one, in pixels of the grey copy."""
_MAX_STRETCH = 1.5
"""Ratio of the two scales of a map, at most."""
_MIN_SHARED = 0.6
"""Share of the smaller picture that both have, at least."""
_MIN_SHARED_OF_LARGER = 0.2
"""Share of the larger picture that both have, at least."""


@dataclass(frozen=True)
class Frames:
    """Grey copies of pictures, each in the upper left corner of a square.

    Attributes:
        pixels: float32 `[N, 64, 64]`.
        sizes: Height and width of each, float32 `[N, 2]`.
    """

    pixels: Tensor
    sizes: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Frames:
        return Frames(self.pixels[rows], self.sizes[rows])


class FrameSource(Protocol):
    """Grey copies of many pictures, in memory or elsewhere."""

    @property
    def sizes(self) -> Tensor:
        """Height and width of each, float32 `[N, 2]`."""
        ...

    def __getitem__(self, rows: Tensor, /) -> Frames:
        """Return some of them."""
        ...


def frames(greys: Sequence[UInt8Array]) -> Frames:
    """Put grey copies into squares; the rest is filled with the nearest pixels."""
    pixels = np.empty((len(greys), GREY_SIDE, GREY_SIDE), dtype=np.float32)
    for row, grey in enumerate(greys):
        pixels[row] = squared(grey)
    sizes = torch.tensor([grey.shape for grey in greys], dtype=torch.float32).reshape(-1, 2)
    return Frames(torch.from_numpy(pixels), sizes)


def squared(grey: UInt8Array) -> UInt8Array:
    """Put a grey copy into the upper left corner of a square `[64, 64]`; the rest has the nearest pixels."""
    height, width = grey.shape
    return np.pad(grey, ((0, GREY_SIDE - height), (0, GREY_SIDE - width)), mode="edge")


def registered(first: Frames, second: Frames, transforms: Tensor, steps: Sequence[tuple[int, int]]) -> Tensor:
    """Improve maps from first to second pictures by Gauss-Newton steps on the locally normalized pixels.

    Args:
        first: `M` pictures.
        second: `M` pictures.
        transforms: float32 `[M, 2, 3]`: coordinates of the first picture to those of the second.
        steps: `COARSE` for maps that may be off by some pixels, `FINE` for better ones.

    Returns:
        Better maps `[M, 2, 3]`.
    """
    results = [torch.zeros(0, 2, 3)]
    for start in range(0, len(transforms), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        a, b, maps = first[block], second[block], transforms[block]
        for factor, count in steps:
            fixed, moving = _normalized(_averaged(a, factor)), _normalized(_averaged(b, factor))
            slopes = torch.stack(torch.gradient(moving.pixels, dim=(1, 2))[::-1], dim=1)
            layers = torch.cat([moving.pixels[:, None], slopes], dim=1)
            for _ in range(count):
                maps = _stepped(fixed, moving.sizes, layers, maps)
        results.append(maps)
    return torch.cat(results)


def promising(first: Frames, second: Frames, transforms: Tensor) -> Tensor:
    """Tell which pairs correlate before they are registered, with a quarter of the pixels.

    Args:
        first: `M` pictures.
        second: `M` pictures.
        transforms: Coordinates of the first picture to those of the second `[M, 2, 3]`.

    Returns:
        bool `[M]`.
    """
    good = [torch.zeros(0, dtype=torch.bool)]
    for start in range(0, len(transforms), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        fixed, moving = (_normalized(_averaged(one[block], 2)) for one in (first, second))
        sampled, inside = _warped(moving.pixels[:, None], moving.sizes, fixed.sizes, transforms[block])
        one, other = fixed.pixels * inside, sampled[:, 0] * inside
        energies = one.square().sum(dim=(1, 2)) * other.square().sum(dim=(1, 2))
        good.append((one * other).sum(dim=(1, 2)) >= _PROMISING * energies.sqrt())
    return torch.cat(good)


def aligned(pictures: Frames, target: Frames, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Show pictures in the frame of other ones.

    Args:
        pictures: `M` pictures.
        target: `M` pictures whose frames are taken.
        transforms: Coordinates of the target to those of the picture `[M, 2, 3]`.

    Returns:
        Pixels `[M, 64, 64]`, locally normalized, 0 outside; and where the picture is, 1 or 0.
    """
    shown = [torch.zeros(0, GREY_SIDE, GREY_SIDE)]
    insides = [torch.zeros(0, GREY_SIDE, GREY_SIDE)]
    for start in range(0, len(transforms), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        warped, inside = moved(pictures[block], target[block], transforms[block])
        shown.append(locally_normalized(warped, inside))
        insides.append(inside)
    return torch.cat(shown), torch.cat(insides)


def moved(pictures: Frames, target: Frames, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Show pictures in the frame of other ones, as `aligned`, but in grey levels."""
    warped, inside = _warped(pictures.pixels[:, None], pictures.sizes, target.sizes, transforms)
    return warped[:, 0], inside


def similarities(pixels: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Compare pictures in one frame with each other.

    Args:
        pixels: Locally normalized `[M, 64, 64]`, see `aligned`.
        inside: `[M, 64, 64]`.

    Returns:
        Two matrices `[M, M]` in [-1, 1]. The first is the median of the correlations of 8 x 8 blocks, weighted by their
        texture: an added text or logo hardly changes it. The second is the correlation of all pixels that both have.
        Both are less where pictures have little texture or little in common.
    """
    values, masks = in_blocks(pixels), in_blocks(inside)
    energies = values.square() @ masks.transpose(1, 2)
    energy = energies.sum(dim=0)
    both = (energy * energy.T).sqrt()
    corners = _corners(pixels).flatten(1) @ inside.flatten(1).T
    detail = (corners * corners.T).sqrt()
    medians, totals = [pixels.new_zeros(0, len(pixels))], [pixels.new_zeros(0, len(pixels))]
    for rows in torch.arange(len(pixels)).split(max(1, _COMPARED_AT_ONCE // max(1, len(pixels)))):
        products = values[:, rows] @ values.transpose(1, 2)
        weights = (energies[:, rows] * energies[:, :, rows].transpose(1, 2)).clamp(min=1e-12).sqrt()
        correlations = products / weights
        order = torch.argsort(correlations, dim=0, descending=True)
        reached = weights.gather(0, order).cumsum(dim=0)
        middle = (reached >= reached[-1] / 2).to(torch.uint8).argmax(dim=0, keepdim=True)
        medians.append(correlations.gather(0, order.gather(0, middle))[0])
        totals.append(products.sum(dim=0))
    median = _with_evidence(torch.cat(medians), detail, both)
    return median, _with_evidence(torch.cat(totals) / both.clamp(min=1e-6), detail, both)


def paired_similarities(pixels: Tensor, inside: Tensor, others: Tensor, others_inside: Tensor) -> Tensor:
    """Correlate all pixels of pictures with those of one other each, `[M]`; the second result of `similarities`."""
    first, second = (pixels.square() * others_inside).sum(dim=(1, 2)), (others.square() * inside).sum(dim=(1, 2))
    both = (first * second).sqrt()
    corners = (_corners(pixels) * others_inside).sum(dim=(1, 2)) * (_corners(others) * inside).sum(dim=(1, 2))
    return _with_evidence((pixels * others).sum(dim=(1, 2)) / both.clamp(min=1e-6), corners.sqrt(), both)


def in_blocks(pixels: Tensor) -> Tensor:
    """Cut `[M, 64, 64]` into blocks, `[64, M, 64]`."""
    count = GREY_SIDE // BLOCK
    blocks = pixels.view(-1, count, BLOCK, count, BLOCK).permute(1, 3, 0, 2, 4)
    return blocks.reshape(count**2, -1, BLOCK**2)


def _corners(pixels: Tensor) -> Tensor:
    """Return the squares of the mixed second differences: large where a picture changes in both directions."""
    rows = pixels[:, 1:] - pixels[:, :-1]
    return functional.pad((rows[:, :, 1:] - rows[:, :, :-1]).square(), (0, 1, 0, 1))


def _with_evidence(correlation: Tensor, detail: Tensor, energy: Tensor) -> Tensor:
    """Reduce the correlation of pictures with little detail: smooth shapes and strokes are alike by chance.

    It is 0 where one has no texture at all.
    """
    evidence = (detail / _FULL_DETAIL).clamp(_LEAST_EVIDENCE, 1.0) * (energy >= _TEXTURE)
    return torch.tanh(torch.atanh(correlation.clamp(-0.99999, 0.99999)) * evidence.sqrt())


def plausible(transforms: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Tell which maps a copy or another view could have: scales alike, and enough of both pictures in common.

    Args:
        transforms: Coordinates of the first picture to those of the second `[M, 2, 3]`.
        first: Height and width of the first pictures `[M, 2]`.
        second: Height and width of the second pictures `[M, 2]`.

    Returns:
        bool `[M]`.
    """
    stretch = torch.linalg.svdvals(transforms[..., :2])
    even = stretch[:, 0] <= _MAX_STRETCH * stretch[:, 1].clamp(min=1e-6)
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    half = first.flip(1) / first.amax(dim=1, keepdim=True)
    ends = (corners * half[:, None]) @ transforms[..., :2].transpose(1, 2) + transforms[:, None, :, 2]
    low, high = ends.amin(dim=1), ends.amax(dim=1)
    own = second.flip(1) / second.amax(dim=1, keepdim=True)
    overlap = (torch.minimum(high, own) - torch.maximum(low, -own)).clamp(min=0).prod(dim=1)
    areas = (high - low).prod(dim=1), (2 * own).prod(dim=1)
    shared = overlap / torch.minimum(*areas).clamp(min=1e-6)
    common = overlap / torch.maximum(*areas).clamp(min=1e-6)
    result: Tensor = even & (shared >= _MIN_SHARED) & (common >= _MIN_SHARED_OF_LARGER)
    return result


def _averaged(pictures: Frames, factor: int) -> Frames:
    if factor == 1:
        return pictures
    return Frames(functional.avg_pool2d(pictures.pixels[:, None], factor)[:, 0], pictures.sizes / factor)


def _normalized(pictures: Frames) -> Frames:
    return Frames(locally_normalized(pictures.pixels, _mask(pictures.sizes, pictures.pixels.shape[1])), pictures.sizes)


def _mask(sizes: Tensor, side: int) -> Tensor:
    centres = torch.arange(side) + 0.5
    rows, columns = centres < sizes[:, :1], centres < sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None, :]).float()


def locally_normalized(pixels: Tensor, inside: Tensor) -> Tensor:
    """Subtract the local mean and divide by the local contrast; 0 outside."""
    window = _window(pixels.shape[1], _WINDOW)
    weights = (window @ inside @ window.T).clamp(min=1e-6)
    mean = (window @ (pixels * inside) @ window.T) / weights
    centred = (pixels - mean) * inside
    variance = (window @ centred.square() @ window.T) / weights
    normalized: Tensor = centred / (variance + _NOISE**2).sqrt()
    return normalized


@cache
def _window(side: int, sigma: float) -> Tensor:
    distance = torch.arange(side)[:, None] - torch.arange(side)
    window = torch.exp(-(distance.float() ** 2) / (2 * sigma**2))
    return window / (sigma * math.sqrt(2 * math.pi))


def _coordinates(sizes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return x `[M, 1, S]` and y `[M, S, 1]` of the centres of pixels."""
    longest = sizes.amax(dim=1)[:, None]
    centres = torch.arange(side) + 0.5
    x = (2 * centres - sizes[:, 1:]) / longest
    y = (2 * centres - sizes[:, :1]) / longest
    return x[:, None, :], y[:, :, None]


def _warped(layers: Tensor, sizes: Tensor, target: Tensor, transforms: Tensor) -> tuple[Tensor, Tensor]:
    """Sample layers `[M, C, S, S]` of pictures at the pixels of a target, and tell where they are inside."""
    side = layers.shape[2]
    x, y = _coordinates(target, side)
    maps = transforms[:, :, :, None, None]
    longest = sizes.amax(dim=1)[:, None, None]
    columns = (maps[:, 0, 0] * x + maps[:, 0, 1] * y + maps[:, 0, 2]) * longest / 2 + sizes[:, 1, None, None] / 2
    rows = (maps[:, 1, 0] * x + maps[:, 1, 1] * y + maps[:, 1, 2]) * longest / 2 + sizes[:, 0, None, None] / 2
    inside = (columns >= 0) & (columns <= sizes[:, 1, None, None]) & (rows >= 0) & (rows <= sizes[:, 0, None, None])
    grid = torch.stack([columns, rows], dim=-1) * (2 / side) - 1
    values = functional.grid_sample(layers, grid, padding_mode="border", align_corners=False)
    return values, inside.float() * _mask(target, side)


def _stepped(fixed: Frames, sizes: Tensor, layers: Tensor, transforms: Tensor) -> Tensor:
    """Do one Gauss-Newton step of an affine registration, with less weight for pixels that do not fit."""
    side = layers.shape[2]
    sampled, inside = _warped(layers, sizes, fixed.sizes, transforms)
    residual = (fixed.pixels - sampled[:, 0]) * inside
    weight = inside / (1 + (residual / _OUTLIER).square())
    unit = sizes.amax(dim=1)[:, None, None] / 2  # pixels of a unit of coordinates
    slope_x, slope_y = sampled[:, 1] * unit, sampled[:, 2] * unit
    x, y = _coordinates(fixed.sizes, side)
    jacobian = torch.stack([slope_x * x, slope_x * y, slope_x, slope_y * x, slope_y * y, slope_y], dim=1).flatten(2)
    weighted = jacobian * weight.flatten(1)[:, None]
    normal = weighted @ jacobian.transpose(1, 2)
    scale = normal.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-6)
    normal = normal + (1e-3 * scale)[:, None, None] * torch.eye(6)
    change: Tensor = torch.linalg.solve(normal, weighted @ residual.flatten(1)[:, :, None])
    return transforms + change.view(-1, 2, 3).clamp(-0.1, 0.1)
