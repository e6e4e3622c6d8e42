"""Find pictures with the same pixels, or nearly the same, for `find_leaks`.

Equal pixels have equal digests. Near-duplicates are searched in two steps: products of 8 x 8 descriptors of all
pictures give candidates, then the correlation of the pixels of each pair of candidates decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Iterator
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim.data.random import Int64Array

Key = TypeVar("Key", bound=Hashable)
Size: TypeAlias = tuple[int, int]
"""Height and width."""

NEAR_DUPLICATE_SIMILARITY = 0.99
"""Correlation of pixels from which two pictures are near-duplicates, by default."""
COARSE_SLACK = 0.01
"""Descriptors of near-duplicates may correlate by this much less than their pixels."""
MAX_SIDE = 32
"""Height and width, at most, at which pixels are compared: above it noise and sharpening would count."""
BATCH_SIZE = 512
"""Pictures described or correlated at once, and rows of a block of products. A block of 512 x 2048 products takes 4 MB
for each position and stays in the processor's cache; with smaller blocks threads would wait for each other."""

_GALLERY_BLOCK = 2048
_MIN_SIDE_TO_SHIFT = 8
_COARSE_SIDE = 8
_MIN_CONTRAST = 1e-3


def indices_by_key(keys: Iterable[Key]) -> dict[Key, list[int]]:
    """Group the indices of equal keys, in the order in which keys first appear.

    Example:
        >>> indices_by_key("abca")
        {'a': [0, 3], 'b': [1], 'c': [2]}
    """
    groups: dict[Key, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return groups


def pixel_digests(images: Tensor) -> list[bytes]:
    """Hash each image's pixels, shape and dtype.

    Args:
        images: `[N, C, H, W]`, any dtype, layout and device.

    Returns:
        16 bytes for each image, equal for equal images.

    Example:
        >>> same, copy, other = pixel_digests(torch.tensor([1, 1, 2]).view(3, 1, 1, 1))
        >>> same == copy, same == other
        (True, False)
    """
    head = hashlib.blake2b(f"{list(images.shape[1:])} {images.dtype}".encode(), digest_size=16)
    digests = []
    for row in images.detach().cpu().contiguous().view(torch.uint8).flatten(1).numpy():
        digest = head.copy()
        digest.update(row)
        digests.append(digest.digest())
    return digests


def thumbnails(images: Tensor, size: Size) -> Tensor:
    """Average images of one size down to a size.

    Args:
        images: `[N, C, H, W]`.
        size: Height and width.

    Returns:
        float32 `[N, C, *size]` on the CPU; unchanged pixels if the images have this size.
    """
    pixels = images.detach().cpu().float()
    return pixels if pixels.shape[2:] == size else functional.adaptive_avg_pool2d(pixels, size)


def coarse_descriptors(thumbs: Tensor, *, shifted: bool) -> Tensor:
    """Describe images by unit-length vectors of 8 x 8 grey values, whose products are correlations.

    Args:
        thumbs: `[N, C, h, w]`, float32.
        shifted: Whether to describe each image in nine positions, moved by up to a pixel, or in one.

    Returns:
        `[N, W, D]` with W = 9 or 1 (1 also for images smaller than 8 x 8); zeros for an image of one colour.
    """
    grey = _positions(thumbs, shifted=shifted).mean(dim=2)
    height, width = grey.shape[2:]
    coarse = functional.adaptive_avg_pool2d(grey, (min(height, _COARSE_SIDE), min(width, _COARSE_SIDE)))
    return _unit_length(coarse.flatten(2))


def coarse_matches(
    queries: Tensor, gallery: Tensor, threshold: float, *, limit: int | None = None
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """Find pairs whose descriptors correlate, block by block, so that memory never holds all products.

    Args:
        queries: `[M, W, D]` from `coarse_descriptors`; the position with the highest correlation counts.
        gallery: `[N, 1, D]`.
        threshold: Correlation from which a pair is a match.
        limit: Matches of one query, at most; those of the highest correlation are kept. All by default.

    Yields:
        Indices of queries and of gallery images `[n]`, sorted by query, for each block of 512 queries.
    """
    columns = gallery[:, 0].T.contiguous()
    for start in range(0, len(queries), BATCH_SIZE):
        block = queries[start : start + BATCH_SIZE].transpose(0, 1).contiguous()
        parts = []
        for begin in range(0, columns.shape[1], _GALLERY_BLOCK):
            part = columns[:, begin : begin + _GALLERY_BLOCK]
            best = block[0] @ part
            for position in block[1:]:
                torch.maximum(best, position @ part, out=best)
            row, column = torch.nonzero(best >= threshold, as_tuple=True)
            parts.append((row + start, column + begin, best[row, column]))
        query, match, correlation = (torch.cat(values).numpy() for values in zip(*parts, strict=True))
        order = first_of_each(query, np.lexsort((-correlation, query)), limit)
        yield query[order], match[order]


def first_of_each(groups: Int64Array, order: Int64Array, limit: int | None) -> Int64Array:
    """Keep the first `limit` of each group, or all if it is `None`, in an order that sorts by group."""
    if limit is None:
        return order
    sorted_groups = groups[order]
    return order[np.arange(len(order)) - np.searchsorted(sorted_groups, sorted_groups) < limit]


def pixel_correlations(first: Tensor, second: Tensor) -> Tensor:
    """Correlate the pixels of pairs of images, in the position, moved by up to a pixel, with the highest correlation.

    Args:
        first: `[N, C, h, w]`, float32; N = 1 compares one image with all of `second`.
        second: Images of the same size; if only one of the two is in colour, both are compared in grey.

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


def _positions(thumbs: Tensor, *, shifted: bool) -> Tensor:
    """Cut out the inner part of each image, or all nine windows of its size, `[N, W, C, h - 2, w - 2]`.

    Of two images that are shifted by a pixel, one has a window that is the inner part of the other, to the last pixel.
    Small images stay whole, as too much of them is edge.
    """
    height, width = thumbs.shape[2:]
    if min(height, width) < _MIN_SIDE_TO_SHIFT:
        return thumbs[:, None]
    steps = range(3) if shifted else (1,)
    windows = [thumbs[:, :, top : top + height - 2, left : left + width - 2] for top in steps for left in steps]
    return torch.stack(windows, dim=1)


def _unit_length(vectors: Tensor) -> Tensor:
    """Subtract the mean of vectors and scale them to length 1; zeros where hardly anything differs from the mean."""
    centred = vectors - vectors.mean(dim=-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    plain = length <= _MIN_CONTRAST * vectors.norm(dim=-1, keepdim=True)
    scaled: Tensor = centred / length.masked_fill(plain, torch.inf)
    return scaled
