"""Compare the files of copies at full size, where their small copies do not differ enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from pairsim._common.arrays import Float32Array, Float64Array
from pairsim.errors import ImageReadError
from pairsim.images import PictureLike, read_image

Pixels: TypeAlias = npt.NDArray[np.uint8]

_TILES, _TILE = 6, 64
"""Parts of a large picture that are compared: so many in each direction, and their side in pixels."""
_MUCH_NEARER = 0.75
"""Place of a third picture on the way from one to another, 0 to 1, from which it speaks for the other."""
_SAME = 1e-3
"""Mean squared difference of pixels within which there is nothing to compare."""
_ENLARGED = 0.55
"""Share of the usual loss that an enlarged picture has, at most, when it is made small and large again."""
_FINEST = 0.997
"""Share of the pixels that lose less than the strongest edges, which compression blurs least."""
_MARGIN = 8
_LEAST_NOISE = 3.0
"""Standard deviation of noise, in grey levels, that is noticed."""
_WHITE = (1 / 24, 1 / 11)
"""Variance of the means of 4 x 4 pixels to that of the pixels: 1/16 for white noise, less for detail."""
_EVEN = 0.5
"""Strength of noise in a fifth of the blocks, at most, to the usual one."""
_LEAST_BLOCKS = 16


def support(pictures: Sequence[PictureLike]) -> Float64Array:
    """Count which of two copies the other copies speak for.

    Copies that were made from one picture differ from it in different ways. So seen from it to one of them, the others
    lie at the beginning of the way: each of them differs by what was changed in that one. A third picture speaks for
    the first of two if it is beyond three quarters of the way from the second, as copies that were compressed too have
    lost in part the same.

    Args:
        pictures: `m` copies of the same size that lie on each other.

    Returns:
        For each pair the share of the others that speak for the first, `[m, m]`; all 0 if one cannot be read, or there
        are fewer than four.
    """
    shares = np.zeros((len(pictures), len(pictures)))
    try:
        pixels = np.stack([_sampled(one) for one in pictures])
    except (ImageReadError, ValueError):  # a file is gone, or was replaced by one of another size
        return shares
    pixels -= pixels.mean(axis=0)
    products = (pixels @ pixels.T).astype(np.float64)
    squares = np.diag(products)
    distance = squares[:, None] + squares - 2 * products
    for first, second in np.argwhere(distance > _SAME * pixels.shape[1]):
        others = np.delete(np.arange(len(pictures)), (first, second))
        way = (distance[second] - distance[first] + distance[first, second]) / (2 * distance[first, second])
        shares[first, second] = (way[others] > _MUCH_NEARER).mean() if len(others) > 1 else 0.0
    return shares


def enlarged(large: PictureLike, small: PictureLike, share: float) -> bool:
    """Tell whether a copy has no more detail than a smaller one.

    It loses little when it is reduced and enlarged again. The smaller one shows how much a picture loses that was not
    enlarged.

    Args:
        large: The larger copy.
        small: The smaller copy.
        share: Pixels of the smaller one to those of the larger, along a side.

    Returns:
        `False` also if either cannot be read.
    """
    try:
        lost = [_lost(_grey(one), share) for one in (large, small)]
    except ImageReadError:
        return False
    return lost[0] < _ENLARGED * lost[1]


def noise_added(picture: PictureLike, other: PictureLike) -> bool:
    """Tell whether a copy differs from another one by white noise, which no camera and no compression leaves.

    Args:
        picture: A copy.
        other: Another one, of the same size.

    Returns:
        `False` also if either cannot be read.
    """
    try:
        first, second = (_grey(one).astype(np.float32) for one in (picture, other))
    except ImageReadError:
        return False
    if first.shape != second.shape:
        return False
    more = _in_squares(first - second, 16)
    if len(more) < _LEAST_BLOCKS or not float(first.var()) > float(second.var()):
        return False
    strength = np.sort(more.std(axis=(1, 2)))
    usual = float(np.median(strength))
    means = more.reshape(len(more), 4, 4, 4, 4).mean(axis=(2, 4))
    white = float(np.median(means.var(axis=(1, 2)))) / max(usual**2, _SAME)
    return usual > _LEAST_NOISE and strength[len(strength) // 5] > _EVEN * usual and _WHITE[0] < white < _WHITE[1]


def _sampled(picture: PictureLike) -> Float32Array:
    """Return the pixels of a picture, of a large one those of tiles all over it."""
    pixels = read_image(picture)
    for dim in (1, 2):
        side = pixels.shape[dim]
        if side > _TILES * _TILE:
            starts = np.linspace(0, side - _TILE, _TILES).astype(int).tolist()
            pixels = torch.cat([pixels.narrow(dim, start, _TILE) for start in starts], dim=dim)
    return np.asarray(pixels.flatten().numpy(), np.float32)


def _grey(picture: PictureLike) -> Pixels:
    return np.asarray(read_image(picture, channels=1)[0].numpy())


def _lost(grey: Pixels, share: float) -> float:
    """Return what is lost of the finest detail when a picture is reduced to a share and enlarged again."""
    height, width = grey.shape
    smaller = max(round(height * share), 1), max(round(width * share), 1)
    again = _resized(_resized(grey, smaller), (height, width))
    difference = np.abs(grey.astype(np.float32) - again)[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return float(np.quantile(difference, _FINEST)) if difference.size else 0.0


def _resized(grey: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(read_image(grey, channels=1, image_size=size, interpolation="bicubic")[0].numpy())


def _in_squares(pixels: Float32Array, side: int) -> Float32Array:
    """Cut `[H, W]` into squares, `[n, side, side]`."""
    rows, columns = (length // side for length in pixels.shape)
    whole = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return np.asarray(whole.transpose(0, 2, 1, 3).reshape(-1, side, side))
