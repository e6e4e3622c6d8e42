"""The similarity of embeddings of unit length, and the lowest similarity that is a match.

Every way to compare two images uses these functions. Coordinates are rounded to multiples of 2^-26, products are summed
in float64, and the sum is rounded once to float32 and clipped to [-1, 1]. The sum of such products is exact, so its
order cannot matter: equal embeddings give the same similarity to the last bit, for every batch, block, thread and
device. The rounding moves a similarity by 1.5e-8 x sqrt(D) at most. Embeddings in float64 are not rounded, and their
similarities are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT_BITS = 26
"""Coordinates in steps of 2^-26: products are multiples of 2^-52 and sums stay below 2, so 53 bits hold them."""

MATCH_TOLERANCE = 2.0**-19
"""How far below the threshold a match may be.

Embeddings of one image differ in their last bits between batch sizes and between a net and its inference copy, which
moves a similarity by up to 6e-7 in float32 on a CPU; the float32 products of all pairs add up to 1e-6.
"""

_TO_GRID = 1.5 * 2.0 ** (52 - EXACT_BITS)
"""Added to a coordinate it leaves `EXACT_BITS` bits after the point, as float64 has 53 bits in all."""

_PAIRS_AT_ONCE = 16384
_MATRIX_BYTES = 64 * 2**20


def lowest_match(threshold: float) -> float:
    """Return the lowest similarity that is a match at a threshold.

    A pair whose similarity is the threshold is a match however its images were embedded.

    Args:
        threshold: A similarity; NaN stays NaN, which no similarity reaches.

    Returns:
        `threshold - MATCH_TOLERANCE`.

    Example:
        >>> 0.4999995 >= lowest_match(0.5), 0.49999 >= lowest_match(0.5)
        (True, False)
    """
    return threshold - MATCH_TOLERANCE


def on_grid(vectors: Tensor) -> Tensor:
    """Round embeddings to multiples of 2^-26, in float64; gradients pass unchanged.

    Args:
        vectors: Of any shape and float dtype; float64 stays as it is. Those on Apple's MPS, which has no float64, are
            copied to the CPU.
    """
    if vectors.dtype == torch.float64:
        return vectors
    source = vectors.cpu() if vectors.device.type == "mps" else vectors
    return source.double().add_(_TO_GRID).sub_(_TO_GRID)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Compute the cosine similarity of embeddings.

    Args:
        first: `[..., D]` of length 1 (within 1 %) or 0.
        second: As `first`, or of a shape that broadcasts with it.

    Returns:
        `[...]` in [-1, 1], float32 (float64 of float64), on the device of `first`; 0 where an embedding is zero.

    Example:
        >>> similarity(torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.6000])
    """
    return _as_similarity(torch.linalg.vecdot(on_grid(first), on_grid(second)), first)


def pair_similarity(embeddings: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Compute the similarity of pairs that are given by the indices of their embeddings.

    Args:
        embeddings: `[N, D]`, as for `similarity`.
        first: Index of each first embedding `[P]`, int64.
        second: Index of each second one `[P]`.

    Returns:
        `[P]`, as for `similarity`.

    Example:
        >>> pair_similarity(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 0]))
        tensor([1., 0.])
    """
    result = torch.empty(len(first), dtype=_dtype_of(embeddings), device=embeddings.device)
    for start in range(0, len(first), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        rows, columns = (embeddings[indices[part].to(embeddings.device)] for indices in (first, second))
        result[part] = similarity(rows, columns)
    return result


def similarity_matrix(rows: Tensor, columns: Tensor) -> Tensor:
    """Compute the similarity of every embedding in `rows` to every one in `columns`.

    Args:
        rows: `[N, D]`, as for `similarity`.
        columns: `[M, D]` on the same device.

    Returns:
        `[N, M]`, as for `similarity`.

    Example:
        >>> similarity_matrix(torch.eye(2), torch.eye(2)[:1])
        tensor([[1.],
                [0.]])
    """
    exact = on_grid(columns).T
    result = torch.empty(len(rows), len(columns), dtype=_dtype_of(rows), device=rows.device)
    at_once = max(_MATRIX_BYTES // (8 * max(len(columns), 1)), 1)
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        result[part] = _as_similarity(on_grid(rows[part]) @ exact, rows)
    return result


def _as_similarity(products: Tensor, embeddings: Tensor) -> Tensor:
    return products.clamp(-1.0, 1.0).to(embeddings.device, _dtype_of(embeddings))


def _dtype_of(embeddings: Tensor) -> torch.dtype:
    return torch.float64 if embeddings.dtype == torch.float64 else torch.float32
