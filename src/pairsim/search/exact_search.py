"""Find the nearest of many embeddings by comparing with all of them.

Similarities are those of `pairsim._common.unit_similarity`, whose sums float64 computes without error: neighbours and
ties are the same for every block size, number of threads and device, and agree with the retrieval figures.

Products of lower precision, which are several times faster, first select candidates. If their error is at most e and k
of them are at least L, the k nearest have exact products of at least L - e, and so rough ones of at least L - 2e: lower
ones cannot be among them. With many queries bfloat16 selects some, of which float32 selects fewer, and only these are
multiplied in float64. L comes from the products so far, first from the maxima of groups of 32 rows, so that few
products are compared one by one. A query that keeps too many candidates, such as one with thousands of copies, goes on
to the next precision, and at last to a comparison with all in float64.
"""

from __future__ import annotations

import math
import timeit
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim._common.arrays import Values, check_unit_lengths
from pairsim._common.unit_similarity import on_grid

BLOCK_BYTES = 4 * 2**20
"""Size of the similarities in memory at once on the CPU, and of rows in float64: they should stay in the cache."""

GPU_BLOCK_BYTES = 256 * 2**20
"""The same on other devices, where each step has to be large to be worth its launch."""

_CACHE_BYTES = 2**20
"""Embeddings of single pairs that are multiplied at once."""

_ROWS_AT_ONCE = 4096

_GROUP = 32
"""Rows of which at first only the largest product is compared."""

_QUERIES = 512
"""Queries that are multiplied with a block of rows at once."""

_FEW = 12
"""Queries up to which `gallery @ queries.T` may be faster than `queries @ gallery.T`."""

_TRIED = (20_000, 128)
"""Shape of the gallery on which both are timed."""

_MANY = 256
"""Queries from which converting the gallery to bfloat16 pays."""

_SHORTER = 0.98
"""Queries in bfloat16 are shorter by this factor, as numbers below 1 are rounded more finely."""

_Pairs = tuple[Tensor, Tensor, Tensor]
"""Candidates: index of the query (ascending), row of the gallery (ascending for each query), product."""


def nearest(queries: Tensor, gallery: Tensor, k: int, *, block_bytes: int | None = None) -> tuple[Tensor, Tensor]:
    """Find the `k` rows of a gallery that have the largest product with each query, ties to the lower row.

    Args:
        queries: `[Q, D]` of length 1 (within 1 %) or 0, float32.
        gallery: `[N, D]` likewise, on the same device, N at least `k`.
        k: At least 1.
        block_bytes: Approximate size of the similarities in memory at once, and of embeddings in float64; the result
            does not depend on it. By default it depends on the device.

    Returns:
        Similarities `[Q, k]`, float64 and descending, and rows of the gallery `[Q, k]`; both empty for no queries.

    Example:
        >>> nearest(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]]), 2)[1].tolist()
        [[1, 0]]
    """
    if gallery.device.type == "mps":  # it has no float64
        queries, gallery = queries.cpu(), gallery.cpu()
    if block_bytes is None:
        block_bytes = BLOCK_BYTES if gallery.device.type == "cpu" else GPU_BLOCK_BYTES
    values = torch.empty((len(queries), k), dtype=torch.float64, device=gallery.device)
    rows = torch.empty((len(queries), k), dtype=torch.int64, device=gallery.device)
    is_open = torch.ones(len(queries), dtype=torch.bool, device=gallery.device)
    for dtype in _precisions(gallery, len(queries)):
        error = _bfloat16_error(queries * _SHORTER, gallery) if dtype == torch.bfloat16 else _float32_error(gallery)
        for part in is_open.nonzero().flatten().split(_QUERIES) if is_open.any() else ():
            (best, best_rows), done = _filtered(
                queries[part], gallery, k, dtype=dtype, error=error, block_bytes=block_bytes
            )
            values[part[done]], rows[part[done]], is_open[part[done]] = best, best_rows, False
            if dtype == torch.bfloat16 and not done.any():  # the rest is likely to be of the same kind
                break
    if is_open.any():
        values[is_open], rows[is_open] = _scan(queries[is_open], gallery, k, block_bytes)
    return values, rows


def rescored(queries: Tensor, gallery: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Give candidates of another index the similarities and the order of an exact search.

    Args:
        queries: `[Q, D]`, as for `nearest`.
        gallery: `[N, D]`, as for `nearest`.
        candidates: Rows of the gallery `[Q, C]`, none twice for a query; -1 if there are fewer than C.
        k: At most C.

    Returns:
        As for `nearest`; -inf and -1 if a query has fewer than `k` candidates.

    Example:
        >>> rescored(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8], [1.0, 0.0]]), torch.tensor([[0, 1]]), 1)[1]
        tensor([[1]])
    """
    candidates = candidates.sort(dim=1).values
    query, column = (candidates >= 0).nonzero(as_tuple=True)
    rows = candidates[query, column]
    return _sorted((query, rows, _products(queries, gallery, query, rows, torch.float64)), len(queries), k)


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
    check_unit_lengths(torch.linalg.vector_norm(rows, dim=1).cpu().numpy())
    return rows


def _precisions(gallery: Tensor, num_queries: int) -> list[torch.dtype]:
    """Return the precisions before float64, the fastest first: only those that round as the error bounds assume."""
    try:  # not from factors rounded to TF32 or bfloat16
        trusted = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # raised if PyTorch's newer switches, one for each backend, are in use
        trusted = False
    if not trusted:
        return []
    # GPUs may add in bfloat16; processors without an instruction for it are slow
    fast = gallery.device.type == "cpu" and num_queries >= _MANY and torch.cpu._is_avx512_bf16_supported()
    return [torch.bfloat16, torch.float32] if fast else [torch.float32]


def _filtered(
    queries: Tensor, gallery: Tensor, k: int, *, dtype: torch.dtype, error: float, block_bytes: int
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the nearest rows of the queries without too many candidates, and which queries these are `[Q]`."""
    factors = (queries * _SHORTER).bfloat16() if dtype == torch.bfloat16 else queries
    pairs, done = _candidates(factors, gallery, k, error, block_bytes)
    for precision in (dtype, torch.float32) if dtype == torch.bfloat16 else (dtype,):
        query, row, rough = pairs
        if precision != dtype:
            rough, error = _products(queries, gallery, query, row, precision), _float32_error(gallery)
        largest = _padded((query, row, rough), len(queries), k)[0].topk(k, dim=1).values
        keep = rough >= _below(largest[:, -1], error)[query]
        pairs = query[keep], row[keep], rough[keep]
    query, row, _ = pairs
    best, rows = _sorted((query, row, _products(queries, gallery, query, row, torch.float64)), len(queries), k)
    return (best[done], rows[done]), done


def _candidates(queries: Tensor, gallery: Tensor, k: int, error: float, block_bytes: int) -> tuple[_Pairs, Tensor]:
    """Return all rows that may be among the `k` nearest, and for which queries these are not too many `[Q]`."""
    device, dtype, max_candidates = gallery.device, queries.dtype, 16 * k + 512
    group = _GROUP if len(gallery) >= 4 * _GROUP * k else 1
    rows = max(block_bytes // (dtype.itemsize * len(queries) * group), 1) * group
    best = torch.full((len(queries), k), -math.inf, dtype=dtype, device=device)
    count = torch.zeros(len(queries), dtype=torch.int64, device=device)
    pairs: list[_Pairs] = []
    seen: list[Tensor] = []
    for first in range(0, len(gallery), rows):
        products = _multiplied(queries, gallery[first : first + rows].to(dtype))
        missing = -products.shape[1] % group
        if missing:
            products = functional.pad(products, (0, missing), value=-math.inf)
        grouped = products.view(len(queries), group, -1)  # rows far apart, as maxima over columns are faster
        # Positive numbers have the order of their bits, which PyTorch compares several times faster.
        bits = grouped.view(torch.int16) if dtype == torch.bfloat16 else grouped
        largest = bits.amax(dim=1).view(dtype)  # too low in bfloat16 if none is above 0
        seen.append(largest)
        if len(seen) > min(first // rows // 2, 8):  # less often later, as little changes then
            best = torch.cat((best, *seen), dim=1).topk(k, dim=1).values
            seen.clear()
        at_least = _below(best[:, -1], error)
        at_least[count > max_candidates] = math.inf
        if dtype == torch.bfloat16 and not (at_least > 0.0).all():
            largest = grouped.amax(dim=1)
        query, part = (largest >= at_least[:, None]).nonzero(as_tuple=True)
        chosen = grouped[query, :, part]
        which, member = (chosen >= at_least[query, None]).nonzero(as_tuple=True)
        query = query[which]
        pairs.append((query, first + member * grouped.shape[2] + part[which], chosen[which, member].float()))
        count += torch.bincount(query, minlength=len(queries))
    query, row, rough = (torch.cat(values) for values in zip(*pairs, strict=True))
    done = count <= max_candidates
    keep = (done[query] & (rough >= _below(best[:, -1], error)[query])).nonzero().flatten()
    keep = keep[(query[keep] * len(gallery) + row[keep]).argsort()]
    return (query[keep], row[keep], rough[keep]), done


def _multiplied(queries: Tensor, rows: Tensor) -> Tensor:
    """Return the products `[Q, n]`, in the precision of the factors; autocast has no effect."""
    with torch.autocast(rows.device.type, enabled=False):
        if len(queries) >= _FEW or rows.device.type != "cpu" or not _gallery_first():
            return queries @ rows.T
        # that is faster for two queries than for one
        several = queries if len(queries) > 1 else queries.repeat(2, 1)
        return (rows @ several.T).T[: len(queries)].contiguous()


@cache
def _gallery_first() -> bool:
    """Time both orders of a product with few queries once: by processor, either is up to several times faster."""
    rows, queries = torch.ones(_TRIED), torch.ones(2, _TRIED[1])

    def seconds(product: Callable[[], Tensor]) -> float:
        return min(timeit.repeat(product, number=1, repeat=5))

    return seconds(lambda: rows @ queries.T) < seconds(lambda: queries @ rows.T)


def _below(kth: Tensor, error: float) -> Tensor:
    """Return the lowest rough product of a candidate if `k` of them are at least `kth`; rounded down."""
    bound = (kth.double() - 2 * error).float()
    return torch.nextafter(bound, torch.full_like(bound, -math.inf))


def _products(queries: Tensor, gallery: Tensor, query: Tensor, row: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the products of single pairs; in float64, of rounded coordinates."""
    products = torch.empty(len(query), dtype=dtype, device=gallery.device)
    order = row.argsort()  # similar queries share candidates, which are in the cache then
    at_once = max(_CACHE_BYTES // (dtype.itemsize * max(gallery.shape[1], 1)), 1)
    for start in range(0, len(query), at_once):
        part = slice(start, start + at_once)
        first, second = queries[query[order[part]]], gallery[row[order[part]]]
        if dtype == torch.float64:
            first, second = on_grid(first), on_grid(second)
        products[order[part]] = first.mul_(second).sum(dim=1)
    return products


def _padded(pairs: _Pairs, num_queries: int, min_columns: int) -> tuple[Tensor, Tensor]:
    """Return products and rows of the candidates of each query `[Q, min_columns or more]`; -inf and -1 elsewhere."""
    query, row, product = pairs
    counts = torch.bincount(query, minlength=num_queries)
    column = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
    shape = (num_queries, max(int(counts.max()), min_columns))
    products, rows = product.new_full(shape, -math.inf), row.new_full(shape, -1)
    products[query, column], rows[query, column] = product, row
    return products, rows


def _sorted(pairs: _Pairs, num_queries: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` largest products of each query and their rows, ties to the lower row."""
    products, rows = _padded(pairs, num_queries, k)
    best, order = torch.sort(products, dim=1, descending=True, stable=True)
    return best[:, :k], rows.gather(1, order[:, :k])


def _scan(queries: Tensor, gallery: Tensor, k: int, block_bytes: int) -> tuple[Tensor, Tensor]:
    """Return the `k` largest products of each query with all rows, in float64, in blocks; ties to the lower row."""
    rows = min(max(block_bytes // (8 * max(gallery.shape[1], 1)), 1), len(gallery))
    at_once = max(block_bytes // (8 * (rows + k)), 1)
    parts = []
    for start in range(0, len(queries), at_once):
        block = on_grid(queries[start : start + at_once])
        best = block.new_empty((len(block), 0))
        best_rows = torch.empty((len(block), 0), dtype=torch.int64, device=block.device)
        for first in range(0, len(gallery), rows):
            largest, columns = _largest(block @ on_grid(gallery[first : first + rows]).T, k)
            # the best so far are lower rows and come first, so that the order of columns is that of rows
            best, order = _largest(torch.cat((best, largest), dim=1), k)
            best_rows = torch.cat((best_rows, columns + first), dim=1).gather(1, order)
        parts.append((best, best_rows))
    values, indices = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return values, indices


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the `k` largest of each row, descending, ties to the lower column; all if there are fewer."""
    if k >= values.shape[1]:
        return torch.sort(values, dim=1, descending=True, stable=True)
    columns = values.topk(k, dim=1).indices.sort(dim=1).values
    best, order = torch.sort(values.gather(1, columns), dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    # topk chooses any of those that tie for the last columns
    tied = torch.nonzero((values >= best[:, -1:]).sum(dim=1) > k).flatten()
    if len(tied):
        columns[tied] = torch.sort(values[tied], dim=1, descending=True, stable=True).indices[:, :k]
    return best, columns


def _float32_error(gallery: Tensor) -> float:
    """Return how far a float32 product of embeddings may be from that of the rounded ones.

    A sum of D products, in any order, is off by at most D u / (1 - D u) times the product of the lengths, u = 2^-24;
    lengths are at most 1.01. Rounding moves each of both embeddings by at most sqrt(D) 2^-27.
    """
    dim = gallery.shape[1]
    return 1.05 * (dim * 2.0**-24 + 2 * math.sqrt(dim) * 2.0**-27)


def _bfloat16_error(queries: Tensor, gallery: Tensor) -> float:
    """Return the same for a bfloat16 product of such embeddings, with queries that are 2 % shorter.

    How far rounding to bfloat16 moves them is measured; it is less than the bound of 2^-8. A product is below 1 and so
    rounded by 2^-9 at most. Sums are in float32; the processor's instruction rounds twice for each pair.
    """
    moved = _moved(queries) + _moved(gallery)
    return 1.05 * (moved + 2.0**-9 + 2 * gallery.shape[1] * 2.0**-24) + _float32_error(gallery)


def _moved(rows: Tensor) -> float:
    parts = rows.split(_ROWS_AT_ONCE) if len(rows) else ()
    return max((torch.linalg.vector_norm(part - part.bfloat16(), dim=1).max().item() for part in parts), default=0.0)
