"""Describe parts of pictures so that copies are found though they were cropped, mirrored, turned or recoloured.

A feature is a blob of the luminance: an extremum of differences of Gaussians over position and scale (Lowe,
"Distinctive image features from scale-invariant keypoints", 2004). Its surroundings, at its scale, are described by
their lowest cosine coefficients in the one of eight orientations that makes the lowest two odd coefficients positive
and ordered. So one description serves all eight orientations of a picture. The picture as a whole, without a border of
one colour, is described in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from pairsim.audits.duplicates.matching.orientations import FREQUENCIES, oriented, standard_orientations

NUM_FEATURES = 40
"""Features of a picture, at most."""
LENGTH = 127
"""Length of a description, which is a vector of small whole numbers."""

_LEVELS_AN_OCTAVE = 3
_FIRST_SIGMA = 1.4
_SIGMA_OF_AVERAGING = 0.5
"""Blur of a picture that was averaged down."""
_OCTAVES = 3
_PATCH_SIDE = 16
_STEP = 1.1
"""Distance of samples of a patch, as a share of the feature's scale."""
_ORDER = 9
"""Cosine coefficients in each direction."""
_MIN_CONTRAST = 1.0
"""Response, in grey levels, below which a blob is noise."""
_TINY = 1e-6
COEFFICIENTS = [i * _ORDER + j for i, j in FREQUENCIES]
"""Places of the coefficients of a description among all."""
_WEIGHTS = torch.tensor(FREQUENCIES).double().norm(dim=1)
"""Amplitudes of photographs fall with the frequency."""


@dataclass(frozen=True)
class Features:
    """Features of pictures.

    Attributes:
        picture: Index of the picture of each, int64 `[F]`, ascending.
        place: float32 `[F, 2, 3]`: maps the unit square around the origin, [-1, 1] x [-1, 1], as (x, y), to the
            patch, in units in which the longer side of the picture is 2 and its centre 0.
        orientation: Standard orientation of each patch, bool `[F, 3]`, see `standard_orientations`.
        description: int8 `[F, D]`, of length 127, in standard orientation.
    """

    picture: Tensor
    place: Tensor
    orientation: Tensor
    description: Tensor

    def __len__(self) -> int:
        return len(self.picture)


def describe_pictures(canvases: Tensor, sizes: Tensor) -> Features:
    """Find the features of pictures, and describe each picture as a whole.

    Args:
        canvases: Luminance in 0 to 255, float32 `[N, S, S]`; each picture in the upper left corner,
            the rest filled with the nearest pixels.
        sizes: Height and width of each picture on its canvas, int64 `[N, 2]`.

    Returns:
        The features; of each picture the whole comes first.
    """
    picture, centre, sigma, patches = [], [], [], []
    octave, step = canvases, 1
    for _ in range(_OCTAVES):
        levels = _gaussians(octave)
        found = _extrema(levels, sizes.float() / step)
        patches.append(_patches(levels, *found))
        picture.append(found[0])
        centre.append((found[2] + 0.5) * step)
        sigma.append(found[3] * step)
        octave, step = functional.avg_pool2d(octave[:, None], 2)[:, 0], 2 * step
    at, where, scale, patch = (torch.cat(parts) for parts in (picture, centre, sigma, patches))
    strength = patch.flatten(1).std(dim=1) if len(patch) else torch.zeros(0)  # of no rows, torch warns
    chosen = _strongest(at, strength)
    at, where, scale, patch = at[chosen], where[chosen], scale[chosen], patch[chosen]

    longest = sizes.amax(dim=1).float()
    half = scale * _STEP * _PATCH_SIDE / 2
    place = torch.zeros(len(at), 2, 3)
    place[:, 0, 0] = place[:, 1, 1] = 2 * half / longest[at]
    for axis in (0, 1):
        place[:, axis, 2] = (2 * where[:, 1 - axis] - sizes[at, 1 - axis]) / longest[at]
    whole = torch.zeros(len(sizes), 2, 3)
    whole[:, 0, 0], whole[:, 1, 1] = sizes[:, 1] / longest, sizes[:, 0] / longest

    picture_of = torch.cat([torch.arange(len(sizes)), at])
    order = torch.argsort(picture_of, stable=True)
    described = _described(torch.cat([_wholes(canvases, sizes), patch])[order])
    orientation = standard_orientations(described)
    return Features(picture_of[order], torch.cat([whole, place])[order], orientation, oriented(described, orientation))


def _gaussians(images: Tensor) -> Tensor:
    """Blur images `[N, S, S]` to `_LEVELS_AN_OCTAVE` + 3 scales, `[N, L, S, S]`, as products with band matrices."""
    kernels = _kernels(images.shape[1])
    return kernels @ images[:, None] @ kernels.transpose(1, 2)


@cache
def _kernels(side: int) -> Tensor:
    """Return matrices `[L, S, S]` that blur columns; beyond the edge its pixels repeat."""
    place = torch.arange(side)
    matrices = []
    for level in range(_LEVELS_AN_OCTAVE + 3):
        sigma = math.sqrt((_FIRST_SIGMA * 2 ** (level / _LEVELS_AN_OCTAVE)) ** 2 - _SIGMA_OF_AVERAGING**2)
        reach = math.ceil(4 * sigma)
        taps = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma**2))
        matrix = torch.zeros(side, side)
        for offset, tap in zip(range(-reach, reach + 1), taps / taps.sum(), strict=True):
            matrix[place, (place + offset).clamp(0, side - 1)] += tap
        matrices.append(matrix)
    return torch.stack(matrices)


def _extrema(levels: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the extrema of differences of neighbouring levels: picture, level, (y, x), and scale in pixels."""
    differences = levels[:, 1:] - levels[:, :-1]
    response = differences.abs()
    # a peak is no smaller than its 26 neighbours; edges of the canvas and the outer levels have none
    highest = torch.maximum(torch.maximum(response[..., :-2], response[..., 1:-1]), response[..., 2:])
    highest = torch.maximum(torch.maximum(highest[:, :, :-2], highest[:, :, 1:-1]), highest[:, :, 2:])
    highest = torch.maximum(torch.maximum(highest[:, :-2], highest[:, 1:-1]), highest[:, 2:])
    inner = response[:, 1:-1, 1:-1, 1:-1]
    picture, level, y, x = ((inner == highest) & (inner > _MIN_CONTRAST)).nonzero(as_tuple=True)
    level, y, x = level + 1, y + 1, x + 1
    around = [response[picture, level + k, y, x] for k in (-1, 0, 1)]
    curvature = (around[0] - 2 * around[1] + around[2]).clamp(max=-_TINY)
    shift = ((around[0] - around[2]) / (2 * curvature)).clamp(-0.5, 0.5)
    sigma = _FIRST_SIGMA * 2 ** ((level + shift) / _LEVELS_AN_OCTAVE)
    where = torch.stack([y, x], dim=1).float()
    inside = ((where + 0.5 - 2 * sigma[:, None] >= 0) & (where + 0.5 + 2 * sigma[:, None] <= sizes[picture])).all(dim=1)
    return picture[inside], level[inside], where[inside], sigma[inside]


def _patches(levels: Tensor, picture: Tensor, level: Tensor, where: Tensor, sigma: Tensor) -> Tensor:
    """Sample the surroundings of features, `[F, P, P]`."""
    height, width = levels.shape[2:]
    flat = levels.flatten()
    offsets = (torch.arange(_PATCH_SIDE) - (_PATCH_SIDE - 1) / 2) * _STEP
    y = (where[:, :1] + offsets * sigma[:, None]).clamp(0, height - 1)
    x = (where[:, 1:] + offsets * sigma[:, None]).clamp(0, width - 1)
    y0, x0 = y.floor().clamp(max=height - 2), x.floor().clamp(max=width - 2)
    fy, fx = (y - y0)[:, :, None], (x - x0)[:, None, :]
    base = ((picture * levels.shape[1] + level) * height * width)[:, None, None]
    corner = base + (y0.long() * width)[:, :, None] + x0.long()[:, None, :]
    upper = flat[corner] * (1 - fx) + flat[corner + 1] * fx
    lower = flat[corner + width] * (1 - fx) + flat[corner + width + 1] * fx
    return upper * (1 - fy) + lower * fy


def _strongest(picture: Tensor, strength: Tensor) -> Tensor:
    """Choose the `NUM_FEATURES` strongest of each picture."""
    order = torch.argsort(strength, descending=True, stable=True)
    order = order[torch.argsort(picture[order], stable=True)]
    ordered = picture[order]
    rank = torch.arange(len(order)) - torch.searchsorted(ordered, ordered)
    return order[rank < NUM_FEATURES]


def _wholes(canvases: Tensor, sizes: Tensor) -> Tensor:
    """Average whole pictures down to a patch, `[N, P, P]`."""
    shares = torch.zeros(2, len(sizes), _PATCH_SIDE, canvases.shape[1])
    pixels = torch.arange(canvases.shape[1])
    for axis in (0, 1):
        edges = torch.linspace(0, 1, _PATCH_SIDE + 1) * sizes[:, axis, None]
        begin, end = edges[:, :-1, None], edges[:, 1:, None]
        overlap = torch.minimum(end, pixels + 1.0) - torch.maximum(begin, pixels.float())
        shares[axis] = overlap.clamp(min=0) / (end - begin)
    return shares[0] @ canvases @ shares[1].transpose(1, 2)


def _described(patches: Tensor) -> Tensor:
    """Describe patches by their lowest cosine coefficients but the mean, int8 `[F, D]`."""
    window = _window()
    window = window[:, None] * window[None, :]
    values = patches.double()  # so that the rounding below does not depend on how many are described at once
    mean = (values * window).sum(dim=(1, 2), keepdim=True) / window.sum()
    basis = _basis()
    coefficients = basis @ ((values - mean) * window) @ basis.T
    flat = coefficients.flatten(1)[:, COEFFICIENTS] * _WEIGHTS
    return (LENGTH * functional.normalize(flat, dim=1, eps=_TINY)).round().to(torch.int8)


def _window() -> Tensor:
    """Weights of the rows, and of the columns, of a patch `[P]`."""
    grid = torch.linspace(-1 + 1 / _PATCH_SIDE, 1 - 1 / _PATCH_SIDE, _PATCH_SIDE, dtype=torch.float64)
    return torch.exp(-(grid**2) / (2 * 0.9**2))


def _basis() -> Tensor:
    """Cosine waves `[O, P]`."""
    waves = torch.arange(_ORDER)[:, None] * (torch.arange(_PATCH_SIDE) + 0.5) / _PATCH_SIDE
    return torch.cos(math.pi * waves.double())


def coarse_values(grid: int) -> Tensor:
    """Return what each coefficient of a description adds to the values of a patch, averaged to a grid.

    Args:
        grid: Rows and columns, a divisor of 16.

    Returns:
        float64 `[D, G, G]`.
    """
    columns = _basis() / _window()
    columns[1:] *= 2
    averaged = columns.view(_ORDER, grid, -1).mean(dim=2)
    both = averaged[:, None, :, None] * averaged[None, :, None, :]
    values: Tensor = both.flatten(0, 1)[COEFFICIENTS] / _WEIGHTS[:, None, None]
    return values
