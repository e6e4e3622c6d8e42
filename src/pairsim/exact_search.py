"""The nearest of many embeddings, found by comparing with all of them.

Coordinates are rounded to multiples of 2^-26, as in `pairsim.evaluation.retrieval`, whose sums float64 adds without
error: neighbours and ties are the same for every block size, number of threads and device, and agree with the retrieval
figures. The rounding moves a similarity by 1.5e-8 x sqrt(D) at most.

float32 products, which are several times faster, first pick some more than are wanted. Their rounding error is bounded,
so it is known for which queries no other can be among the nearest; only the rest are compared with all in float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from pairsim.evaluation._inputs import UNIT_TOLERANCE, Values
from pairsim.evaluation.retrieval import EXACT_BITS

BLOCK_BYTES = 64 * 2**20
"""Similarities that are held at once, and embeddings in float64."""

_SPARE = 32
"""Picked in float32 beyond what is wanted: fewer leave more queries in doubt, more cost time."""


def nearest(queries: Tensor, gallery: Tensor, k: int, *, block_bytes: int = BLOCK_BYTES) -> tuple[Tensor, Tensor]:
    """Find the `k` rows of a gallery that have the largest product with each query, ties to the lower row.

    Args:
        queries: `[Q, D]` of length 1 (within 1 %) or 0, float32.
        gallery: `[N, D]` likewise, on the same device, N at least `k`.
        k: At least 1.
        block_bytes: About as much is held at once of similarities, and of embeddings in float64; the result does not
            depend on it.

    Returns:
        Similarities `[Q, k]`, float64 and falling, and rows of the gallery `[Q, k]`; both empty for no queries.

    Example:
        >>> nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]]), 2)[1].tolist()
        [[1, 0]]
    """
    if gallery.device.type == "mps":  # it has no float64
        queries, gallery = queries.cpu(), gallery.cpu()
    if not _multiplies_in_float32():
        return _scan(queries, gallery, k, torch.float64, block_bytes)
    picked = min(k + _SPARE, len(gallery))
    rough, candidates = _scan(queries, gallery, picked, torch.float32, block_bytes)
    candidates = candidates.sort(dim=1).values  # by row, so that a stable sort leaves ties in that order
    values, places = [rough.new_empty((0, k), dtype=torch.float64)], [candidates[:0, :k]]
    at_once = max(block_bytes // (8 * picked * max(gallery.shape[1], 1)), 1)
    for rows, numbers in zip(queries.split(at_once), candidates.split(at_once), strict=True):
        products = torch.einsum("qd,qkd->qk", _rounded(rows), _rounded(gallery[numbers]))
        best, order = torch.sort(products, dim=1, descending=True, stable=True)
        values.append(best[:, :k])
        places.append(numbers.gather(1, order[:, :k]))
    found, where = torch.cat(values), torch.cat(places)
    if picked < len(gallery):
        # what was not picked is at most as large as the last that was, and the error of float32
        doubtful = torch.nonzero(found[:, -1] <= rough[:, -1].double() + _float32_error(gallery.shape[1])).flatten()
        if len(doubtful):
            found[doubtful], where[doubtful] = _scan(queries[doubtful], gallery, k, torch.float64, block_bytes)
    return found, where


def unit_rows(embeddings: Values) -> Tensor:
    """Check embeddings, and copy them to a float32 tensor.

    Args:
        embeddings: `[n, D]` of length 1 (within 1 %) or 0, any float dtype and device.

    Returns:
        `[n, D]`, on the device of a tensor, else on the CPU; `n = 0` gives `[0, D]`.

    Raises:
        TypeError: If they are not of a float dtype.
        ValueError: If they are not `[n, D]`, or one is not of such a length, or NaN.

    Example:
        >>> unit_rows([[0.6, 0.8]])
        tensor([[0.6000, 0.8000]])
    """
    rows = embeddings.detach().clone() if isinstance(embeddings, Tensor) else torch.tensor(np.asarray(embeddings))
    if rows.ndim != 2:
        raise ValueError(
            f"Expected embeddings to have shape [n, D], got {list(rows.shape)}. Give one row per image, as "
            "model.encode(images) does."
        )
    if not rows.is_floating_point():
        raise TypeError(f"Expected embeddings of a float dtype, got {rows.dtype}. Convert them to float32.")
    rows = rows.float()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    # a zero embedding has no direction: its similarity to anything is 0
    wrong = torch.nonzero(~(((lengths - 1.0).abs() <= UNIT_TOLERANCE) | (lengths == 0.0))).flatten().tolist()
    if wrong:
        raise ValueError(
            f"Expected embeddings of length 1, got length {lengths[wrong[0]].item():g} at index {wrong[0]} "
            f"({len(wrong)} such of {len(rows)}). Normalise them: torch.nn.functional.normalize(embeddings)."
        )
    return rows


def _scan(queries: Tensor, gallery: Tensor, k: int, dtype: torch.dtype, block_bytes: int) -> tuple[Tensor, Tensor]:
    """The `k` largest products of each query with all rows, in blocks; in float64 exact, and ties to the lower row."""
    exact = dtype == torch.float64
    rows = min(max(block_bytes // (dtype.itemsize * max(gallery.shape[1], 1)), 1), len(gallery))
    at_once = max(block_bytes // (dtype.itemsize * (rows + k)), 1)
    values = torch.empty((len(queries), k), dtype=dtype, device=gallery.device)
    places = torch.empty((len(queries), k), dtype=torch.int64, device=gallery.device)
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        block = _rounded(queries[part]) if exact else queries[part]
        best, where = block.new_empty((len(block), 0)), places.new_empty((len(block), 0))
        for first in range(0, len(gallery), rows):
            others = gallery[first : first + rows]
            with torch.autocast(block.device.type, enabled=False):
                products = block @ (_rounded(others) if exact else others).T
            largest, columns = _largest(products, k, ordered=exact)
            # the best so far are lower rows and come first, so that the order of columns is that of rows
            best, order = _largest(torch.cat((best, largest), dim=1), k, ordered=exact)
            where = torch.cat((where, columns + first), dim=1).gather(1, order)
        values[part], places[part] = best, where
    return values, places


def _largest(values: Tensor, k: int, *, ordered: bool) -> tuple[Tensor, Tensor]:
    """The `k` largest of each row, falling, and if `ordered` ties to the lower column; all where there are fewer."""
    if k >= values.shape[1]:
        return torch.sort(values, dim=1, descending=True, stable=True)
    if not ordered:
        best, columns = values.topk(k, dim=1)
        return best, columns
    columns = values.topk(k, dim=1).indices.sort(dim=1).values
    best, order = torch.sort(values.gather(1, columns), dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    # topk takes any of those that tie for the last places
    tied = torch.nonzero((values >= best[:, -1:]).sum(dim=1) > k).flatten()
    if len(tied):
        columns[tied] = torch.sort(values[tied], dim=1, descending=True, stable=True).indices[:, :k]
    return best, columns


def _rounded(vectors: Tensor) -> Tensor:
    return torch.round(vectors.double() * 2.0**EXACT_BITS) * 2.0**-EXACT_BITS


def _float32_error(dim: int) -> float:
    """How far a float32 product of embeddings may be from that of the rounded ones.

    A sum of D products, in any order, is off by at most D u / (1 - D u) times the product of the lengths, u = 2^-24;
    lengths are at most 1.01. Rounding moves each of both embeddings by at most sqrt(D) 2^-27.
    """
    return 1.05 * (dim * 2.0**-24 + 2 * math.sqrt(dim) * 2.0**-27)


def _multiplies_in_float32() -> bool:
    """Whether float32 products are computed as such, and not from factors cut to TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set by PyTorch's newer switches, one for each backend, of which this one does not tell
        return False
