"""Approximate search with FAISS, which compares with some of many embeddings only (extra `faiss`)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from pairsim.errors import require
from pairsim.search.exact_search import nearest, rescored

IndexName = Literal["exact", "faiss-hnsw", "faiss-ivf"]

MIN_INDEXED = 4096
"""Embeddings from which an index is used: with fewer, comparing with all is fast, and IVF has too few to learn from."""

_SPARE = 32
"""Further candidates, as their order is that of float32."""

_HNSW_LINKS, _HNSW_BUILD, _HNSW_SEARCH = 32, 100, 128
_IVF_MIN_ROWS = 39
"""Embeddings to learn each of IVF's cells from; FAISS warns below that."""


class FaissIndex:
    """Finds candidates among embeddings, and scores them as an exact search does.

    Args:
        kind: `"faiss-hnsw"`, a graph of neighbours, fast to search and slow to build; or `"faiss-ivf"`, cells around
            4 sqrt(N) centres of which an eighth is searched, fast to build.
        embeddings: `[N, D]` of length 1 or 0, float32, N at least `MIN_INDEXED`.

    Raises:
        MissingExtraError: If FAISS is not installed.
    """

    def __init__(self, kind: IndexName, embeddings: Tensor) -> None:
        faiss = self.check(kind)
        count, dim = embeddings.shape
        if kind == "faiss-hnsw":
            index = faiss.IndexHNSWFlat(dim, _HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = _HNSW_BUILD, _HNSW_SEARCH
        else:
            cells = min(int(4 * math.sqrt(count)), count // _IVF_MIN_ROWS)
            # kept, as FAISS's index only points to it
            self._centres = faiss.IndexFlatIP(dim)
            index = faiss.IndexIVFFlat(self._centres, dim, cells, faiss.METRIC_INNER_PRODUCT)
            index.cp.spherical, index.nprobe = True, max(cells // 8, 8)
            index.train(embeddings.cpu().numpy())
        self._built_for = count
        self._index = index
        self.extend(embeddings)

    @staticmethod
    def check(kind: IndexName) -> Any:
        """Return FAISS.

        Raises:
            MissingExtraError: If it is not installed.
        """
        return require("faiss", extra="faiss", purpose=f'A gallery with index="{kind}"')

    def extend(self, embeddings: Tensor) -> bool:
        """Add embeddings at the end, unless they are so many that a new index is better.

        Args:
            embeddings: All `[N, D]`, the first of which are in the index.

        Returns:
            Whether they were added.
        """
        if len(embeddings) > 2 * self._built_for:
            return False
        new = embeddings[self._index.ntotal :]
        if len(new):
            self._index.add(new.cpu().numpy())
        return True

    def search(self, queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Find the `k` nearest of each query, approximately.

        Args:
            queries: `[Q, D]`, as for `pairsim.search.exact_search.nearest`.
            gallery: The embeddings `[N, D]` of the index.
            k: From 1 to N.

        Returns:
            As for `nearest`, but a row may be missed. Queries with fewer than `k` found rows are compared with all.
        """
        picked = min(k + _SPARE, len(gallery))
        if self._index.__class__.__name__.startswith("IndexHNSW"):
            self._index.hnsw.efSearch = max(_HNSW_SEARCH, 2 * picked)
        candidates = torch.from_numpy(self._index.search(queries.cpu().numpy(), picked)[1]).to(gallery.device)
        values, rows = rescored(queries, gallery, candidates, k)
        short = (rows[:, -1] < 0).nonzero().flatten()
        if len(short):
            values[short], rows[short] = nearest(queries[short], gallery, k)
        return values, rows
