"""What the search for duplicates keeps of a picture: small copies of what is inside a border."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

UInt8Array: TypeAlias = npt.NDArray[np.uint8]

GREY_SIDE = 64
"""Height and width, at most, of the grey copy, at which pictures are registered."""
CHROMA_SIDE = 16
"""Height and width of the copies of colour."""
CANVAS = 80
"""Height and width, at most, at which features are sought."""

_TILE, _TILE_BLOCK = 130, 8
_REDUCED_SIDE = 192
_BORDER_RANGE = 20
"""Grey levels between the dark and the light pixels of a line of a border, at most: it may be compressed or noisy."""
_BORDER_STEP = 12
"""Grey levels by which lines of a border differ from the first."""
_SMALLEST_CONTENT = 0.4
"""Share of a side that is left inside a border, at least."""


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a picture.

    Attributes:
        digest: Of its size and pixels.
        size: Height and width, pixels.
        content: What is inside a border of one colour: top, left, bottom, right, as shares of the sides.
        grey: Luminance of the content, `[h, w]`.
        chroma: Blue and red difference of the content, `[2, 16, 16]`, 128 for grey.
        canvas: Luminance of the content, in more detail, `[h, w]`.
        detail: Mean absolute Laplacian of the luminance in the middle of the picture, in grey levels.
        noise: The same where it is smallest, in a fifth of that part.
        frames: Pictures of the file, of which this is the first.
    """

    digest: bytes
    size: tuple[int, int]
    content: tuple[float, float, float, float]
    grey: UInt8Array
    chroma: UInt8Array
    canvas: UInt8Array
    detail: float
    noise: float
    frames: int = 1


def fingerprint(image: Tensor) -> Fingerprint:
    """Reduce a picture to what finds its copies.

    Args:
        image: uint8 `[3, H, W]`.
    """
    from PIL.Image import Resampling, fromarray

    pixels = image.permute(1, 2, 0).contiguous().numpy()
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(pixels.data)
    picture = fromarray(pixels)
    detail, noise = _detail(picture)
    factor = max(picture.size) // _REDUCED_SIDE
    if factor > 1:
        picture = picture.reduce(factor)
    luminance, *differences = picture.convert("YCbCr").split()
    content = _content(np.asarray(luminance))
    box = (content[1], content[0], content[3], content[2])
    height, width = luminance.height, luminance.width
    side = (CHROMA_SIDE, CHROMA_SIDE)
    chroma = [np.asarray(one.resize(side, Resampling.BILINEAR, box=box)) for one in differences]
    return Fingerprint(
        digest=digest.digest(),
        size=(pixels.shape[0], pixels.shape[1]),
        grey=_reduced(luminance, GREY_SIDE, box),
        chroma=np.stack(chroma),
        content=(content[0] / height, content[1] / width, content[2] / height, content[3] / width),
        canvas=_reduced(luminance, CANVAS, box),
        detail=detail,
        noise=noise,
    )


def _detail(picture: Image) -> tuple[float, float]:
    width, height = picture.size
    left, top = max(0, width - _TILE) // 2, max(0, height - _TILE) // 2
    box = (left, top, min(width, left + _TILE), min(height, top + _TILE))
    tile = np.asarray(picture.crop(box).convert("L"), dtype=np.float32)
    if min(tile.shape) < _TILE_BLOCK + 2:
        return 0.0, 0.0
    centre = tile[1:-1, 1:-1]
    laplacian = np.abs(4 * centre - tile[:-2, 1:-1] - tile[2:, 1:-1] - tile[1:-1, :-2] - tile[1:-1, 2:])
    rows, columns = (side // _TILE_BLOCK for side in laplacian.shape)
    blocks = laplacian[: rows * _TILE_BLOCK, : columns * _TILE_BLOCK].reshape(rows, _TILE_BLOCK, columns, _TILE_BLOCK)
    means = blocks.mean(axis=(1, 3))
    return float(means.mean()), float(np.quantile(means, 0.2))


def _reduced(luminance: Image, side: int, box: tuple[int, int, int, int]) -> UInt8Array:
    from PIL.Image import Resampling

    width, height = box[2] - box[0], box[3] - box[1]
    share = min(1.0, side / max(width, height))
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(luminance.resize(size, Resampling.BILINEAR, box=box))


def _content(grey: UInt8Array) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of what is inside a border of one colour; the whole if too little is."""
    height, width = grey.shape
    top, bottom = _trimmed(grey)
    left, right = _trimmed(grey[top:bottom].T)
    if bottom - top < _SMALLEST_CONTENT * height or right - left < _SMALLEST_CONTENT * width:
        return 0, 0, height, width
    return top, left, bottom, right


def _trimmed(lines: UInt8Array) -> tuple[int, int]:
    """Return the first line that is not of a border, and the one after the last."""
    begin, end = (_border(order) for order in (lines, lines[::-1]))
    return (begin, len(lines) - end) if begin + end < len(lines) else (0, len(lines))


def _border(lines: UInt8Array) -> int:
    """Count the lines of a border, with the one at its edge, which mixes both; 0 if all lines are plain."""
    spare, middle = lines.shape[1] * 3 // 100, lines.shape[1] // 2  # a border may be compressed or noisy
    level = None
    for count, line in enumerate(lines):
        ranked = np.sort(line).astype(int)
        level = ranked[middle] if level is None else level
        if ranked[-1 - spare] - ranked[spare] > _BORDER_RANGE or abs(ranked[middle] - level) > _BORDER_STEP:
            return count + 1 if count else 0
    return 0
