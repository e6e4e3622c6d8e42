"""Exact search: the 10 nearest of 100,000 embeddings, for 1 query, for 100, and for 1,000.

Embeddings have 128 dimensions. They are random directions, of which none are close to each other; or those of 100
classes without coordinates below 0, as a trained net with a closing ReLU gives them, where many similarities are close
to 1. All arms are exact, on the CPU with as many threads:

- FAISS's flat index with inner products, `IndexFlatIP`, which is its exact one;
- one matrix product and `torch.topk`, as a user would write it;
- pairsim's `Gallery.search_embeddings`. Beyond the others it puts ties in a stated order and gives the same neighbours
  for any block size and number of threads, for which it scores what rough products leave over again in float64.

As speed must not change results, the share of neighbours that each arm has in common with a search in float64 is given.
Target: for 1,000 queries at least 1.2 times as many a second as FAISS, and for one query as many, on both kinds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.optional import missing, optional
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import interleave, timing_rows
from pairsim import EmbeddingNet, Gallery, SimilarityModel

K = 10
DIM = 128
FAISS, PLAIN, PAIRSIM = "FAISS, flat index", "matrix product and topk", "pairsim Gallery"
KINDS = ("random", "100 classes")


def run(options: Options) -> list[Table]:
    """Time the arms for each kind of embeddings and number of queries."""
    size = 3_000 if options.quick else 100_000
    faiss = optional("faiss-cpu", "faiss")
    tables = []
    for kind in KINDS:
        vectors = embeddings(kind, size + 1_000, options.seed)
        stored, asked = vectors[:size].contiguous(), vectors[size:].contiguous()
        gallery = Gallery(SimilarityModel(EmbeddingNet()))
        gallery.add_embeddings(stored, range(size))
        for count in (1, 100, 1_000):
            queries = asked[:count]
            arms: dict[str, Callable[[], Any]] = {}
            if faiss is not None:
                arms[FAISS] = faiss_arm(faiss, stored, queries)
            arms[PLAIN] = functools.partial(plain_topk, stored, queries)
            arms[PAIRSIM] = functools.partial(gallery_ids, gallery, queries)
            timings = interleave(
                arms,
                rounds=options.rounds or (2 if options.quick else 9),
                warmup=2,
                work=dict.fromkeys(arms, float(count)),
            )
            rows = timing_rows(timings, unit="queries")
            exact = nearest_in_float64(queries, stored)
            for row in rows:
                row["neighbors_of_float64"] = in_common(torch.as_tensor(arms[row["arm"]]()), exact)
            notes = ("Ratio: to the first row.", *(() if faiss is not None else (missing("faiss-cpu"),)))
            asked_for = "1 query" if count == 1 else f"{count:,} queries"
            tables.append(Table(f"The {K} nearest of {size:,}: {asked_for}, {kind}", rows, notes))
    return tables


def embeddings(kind: str, count: int, seed: int) -> Tensor:
    """Unit length `[count, DIM]`, of one of `KINDS`."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(count, DIM, generator=generator)
    if kind == "random":
        return functional.normalize(directions, dim=1)
    classes = functional.normalize(torch.randn(100, DIM, generator=generator), dim=1)
    labels = torch.randint(0, 100, (count,), generator=generator)
    return functional.normalize((classes[labels] + 0.03 * directions).clamp(min=0), dim=1)


def plain_topk(stored: Tensor, queries: Tensor) -> Tensor:
    """As a user would write it."""
    return torch.topk(queries @ stored.T, K).indices


def gallery_ids(gallery: Gallery, queries: Tensor) -> Tensor:
    """Ids are the rows here."""
    return torch.tensor(gallery.search_embeddings(queries, K).ids)


def faiss_arm(faiss: Any, stored: Tensor, queries: Tensor) -> Callable[[], Any]:
    """FAISS with the same number of threads, its index filled beforehand as the gallery is."""
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(stored.shape[1])
    index.add(stored.numpy())
    return lambda: index.search(queries.numpy(), K)[1]


def nearest_in_float64(queries: Tensor, stored: Tensor) -> Tensor:
    """Rows of the nearest `[Q, K]`, by products in float64."""
    return torch.topk(queries.double() @ stored.double().T, K).indices


def in_common(found: Tensor, exact: Tensor) -> float:
    """Share of the exact neighbours that were found, whatever their order."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))
