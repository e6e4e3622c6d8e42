"""Which images are the same picture, exactly or nearly, by their pixels alone.

A near-duplicate is looked for in two steps: descriptors of 8 x 8 numbers, of which all pairs are multiplied in blocks,
then the correlation of the pixels of those pairs that are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

LARGEST_SIDE = 32
"""Height and width, at most, at which pixels are compared: beyond it noise and sharpening would count."""

_LEAST_SIDE_TO_SHIFT = 8
_COARSE_SIDE = 8
_LEAST_CONTRAST = 1e-3
_THUMBNAIL_SIDE = 48
_SHARED_DETAIL = 0.7
"""Share of the smaller picture's pixels at which pictures of two sizes are compared, as what is finer depends on how
one was resized. At it, 200 of MNIST's digits correlate with doubled ones by 0.989 or more, by any Pillow filter."""
QUERY_BLOCK, _GALLERY_BLOCK = 512, 2048
"""Their products, 4 MB a position, stay in the processor's cache; smaller ones would wait for threads too often."""


def pixel_digests(images: Tensor) -> list[bytes]:
    """A hash of each image's pixels, shape and dtype.

    Args:
        images: `[N, C, H, W]`, any dtype, layout and device.

    Returns:
        16 bytes for each image; two that are equal mean images that are equal, to all intents and purposes.

    Example:
        >>> same, copy, other = pixel_digests(torch.tensor([1, 1, 2]).view(3, 1, 1, 1))
        >>> same == copy, same == other
        (True, False)
    """
    head = hashlib.blake2b(f"{list(images.shape[1:])} {images.dtype}".encode(), digest_size=16)
    found = []
    for row in images.detach().cpu().contiguous().view(torch.uint8).flatten(1).numpy():
        digest = head.copy()
        digest.update(row)
        found.append(digest.digest())
    return found


def thumbnails(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images averaged to a size.

    Args:
        images: `[N, C, H, W]`.
        size: Height and width.

    Returns:
        float32 `[N, C, *size]` on the CPU; the pixels as they are if the images have this size.
    """
    pixels = images.detach().cpu().float()
    return pixels if pixels.shape[2:] == size else functional.adaptive_avg_pool2d(pixels, size)


def comparison_thumbnail(image: Tensor) -> Tensor:
    """What to keep of a picture that will be compared with pictures of any size.

    Args:
        image: uint8 `[3, H, W]`.

    Returns:
        uint8 `[C, h, w]` of at most 48 x 48, C = 1 where it has no colours.

    Example:
        >>> comparison_thumbnail(torch.zeros(3, 100, 20, dtype=torch.uint8)).shape
        torch.Size([1, 48, 20])
    """
    if torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]):
        image = image[:1]
    size = (min(image.shape[1], _THUMBNAIL_SIDE), min(image.shape[2], _THUMBNAIL_SIDE))
    return resized(image[None], size)[0].round().to(torch.uint8)


def comparison_grid(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int] | None:
    """Height and width at which two pictures are compared.

    Args:
        first: Height and width of a picture.
        second: Those of another.

    Returns:
        At most 32 each, less than the smaller of them if they differ; `None` if too few pixels are left to tell
        pictures apart.

    Example:
        >>> comparison_grid((28, 28), (28, 28)), comparison_grid((28, 28), (300, 300)), comparison_grid((4, 4), (4, 4))
        ((28, 28), (20, 20), None)
    """
    share = 1.0 if first == second else _SHARED_DETAIL
    height, width = (min(round(share * min(sides)), LARGEST_SIDE) for sides in zip(first, second, strict=True))
    return (height, width) if min(height, width) >= _LEAST_SIDE_TO_SHIFT else None


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images in another size, larger or smaller (bilinear, antialiased).

    Args:
        images: `[N, C, H, W]`.
        size: Height and width.

    Returns:
        float32 `[N, C, *size]`.
    """
    pixels = images.float()
    if pixels.shape[2:] == size:
        return pixels
    return functional.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)


def coarse_descriptors(thumbs: Tensor, *, shifted: bool) -> Tensor:
    """What is left of images at 8 x 8: unit-length vectors whose product is a correlation.

    Args:
        thumbs: From `thumbnails`, `[N, C, h, w]`.
        shifted: Whether each is described in nine positions, moved by up to a pixel, or in one.

    Returns:
        `[N, W, D]` with W = 9 or 1 (1 also for images smaller than 8 x 8); zeros for an image of one colour.
    """
    grey = _positions(thumbs, shifted=shifted).mean(dim=2)
    height, width = grey.shape[2:]
    coarse = functional.adaptive_avg_pool2d(grey, (min(height, _COARSE_SIDE), min(width, _COARSE_SIDE)))
    return _unit_length(coarse.flatten(2))


def coarse_matches(
    queries: Tensor, gallery: Tensor, level: float, *, most: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs whose descriptors correlate, block by block, so that never all products are held.

    Args:
        queries: `[M, W, D]` from `coarse_descriptors`; the position that correlates best counts.
        gallery: `[N, 1, D]`.
        level: Correlation from which a pair is a match.
        most: Matches of one query, at most; those of the highest correlation are kept.

    Yields:
        Numbers of queries and of gallery images `[n]`, for each block of 512 queries.
    """
    columns = gallery[:, 0].T.contiguous()
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK].transpose(0, 1).contiguous()
        found = []
        for begin in range(0, columns.shape[1], _GALLERY_BLOCK):
            part = columns[:, begin : begin + _GALLERY_BLOCK]
            best = block[0] @ part
            for position in block[1:]:
                torch.maximum(best, position @ part, out=best)
            rows, places = torch.nonzero(best >= level, as_tuple=True)
            found.append((rows + start, places + begin, best[rows, places]))
        query, place, correlation = (torch.cat(column).numpy() for column in zip(*found, strict=True))
        order = np.lexsort((-correlation, query))
        rank = np.arange(len(order)) - np.searchsorted(query[order], query[order])
        order = order[rank < most]
        yield query[order], place[order]


def pixel_correlations(first: Tensor, second: Tensor) -> Tensor:
    """Correlation of pairs of images in the position, moved by up to a pixel, where it is highest.

    Args:
        first: From `thumbnails`, `[N, C, h, w]`; N = 1 compares one with all of `second`.
        second: Likewise, of the same size; if only one of the two is in colour, both are compared in grey.

    Returns:
        float32 `[N]` in [-1, 1]; 0 where either image is of one colour.

    Example:
        >>> images = torch.rand(4, 3, 20, 20)
        >>> pixel_correlations(images, 0.5 * images.roll(1, dims=3) + 0.1).min().item() > 0.9999
        True
    """
    if first.shape[1] != second.shape[1]:
        first, second = first.mean(dim=1, keepdim=True), second.mean(dim=1, keepdim=True)
    inner = _unit_length(_positions(second, shifted=False).flatten(2))
    windows = _unit_length(_positions(first, shifted=True).flatten(2))
    return (windows * inner).sum(dim=-1).amax(dim=1).clamp(-1.0, 1.0)


def mixed_descriptors(thumbs: Sequence[Tensor], *, shifted: bool) -> Tensor:
    """What is left of pictures of any sizes at 8 x 8, see `coarse_descriptors`.

    Args:
        thumbs: From `comparison_thumbnail`, one for each picture.
        shifted: As for `coarse_descriptors`.

    Returns:
        `[N, W, D]`.
    """
    grey = torch.empty(len(thumbs), 1, LARGEST_SIDE, LARGEST_SIDE)
    alike: dict[torch.Size, list[int]] = {}  # can be stacked
    for row, thumb in enumerate(thumbs):
        alike.setdefault(thumb.shape, []).append(row)
    for rows in alike.values():
        stacked = torch.stack([thumbs[row] for row in rows]).float()
        grey[rows] = resized(stacked.mean(dim=1, keepdim=True), (LARGEST_SIDE, LARGEST_SIDE))
    return coarse_descriptors(grey, shifted=shifted)


def mixed_correlations(
    first: Tensor, first_size: tuple[int, int], others: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
) -> npt.NDArray[np.float64]:
    """Correlation of one picture with others of any sizes, each pair at its `comparison_grid`.

    Args:
        first: From `comparison_thumbnail`, as the others.
        first_size: Height and width of the picture itself.
        others: `n` thumbnails.
        sizes: Height and width of each of the other pictures.

    Returns:
        `[n]` in [-1, 1], see `pixel_correlations`; 0 where too few pixels are left.
    """
    found = np.zeros(len(others))
    alike: dict[tuple[tuple[int, int], torch.Size], list[int]] = {}
    for row, (other, size) in enumerate(zip(others, sizes, strict=True)):
        grid = comparison_grid(first_size, size)
        if grid is not None:
            alike.setdefault((grid, other.shape), []).append(row)
    for (grid, _), rows in alike.items():
        for start in range(0, len(rows), QUERY_BLOCK):
            part = rows[start : start + QUERY_BLOCK]
            stacked = torch.stack([others[row] for row in part])
            found[part] = pixel_correlations(resized(first[None], grid), resized(stacked, grid)).numpy()
    return found


def _positions(thumbs: Tensor, *, shifted: bool) -> Tensor:
    """The inner part of each image, or all nine windows of its size, `[N, W, C, h - 2, w - 2]`.

    Of two images that are shifted by a pixel, one has a window that is the inner part of the other, to the last pixel.
    Small images are left whole, as their edge is too much of them.
    """
    height, width = thumbs.shape[2:]
    if min(height, width) < _LEAST_SIDE_TO_SHIFT:
        return thumbs[:, None]
    steps = range(3) if shifted else (1,)
    windows = [thumbs[:, :, top : top + height - 2, left : left + width - 2] for top in steps for left in steps]
    return torch.stack(windows, dim=1)


def _unit_length(vectors: Tensor) -> Tensor:
    """Vectors less their mean, of length 1; zeros where hardly anything differs from the mean."""
    centred = vectors - vectors.mean(dim=-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    plain = length <= _LEAST_CONTRAST * vectors.norm(dim=-1, keepdim=True)
    scaled: Tensor = centred / length.masked_fill(plain, torch.inf)
    return scaled
