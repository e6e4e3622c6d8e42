"""Search a gallery, and note what decides each search: for its own images, or for images of known identities."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.data.random import permutation, stream_key
from pairsim.evaluation.fpir_growth import BINS, similarity_counts
from pairsim.evaluation.identification import Searches
from pairsim.evaluation.pairs.ranked import IntArray
from pairsim.search.gallery import Gallery

_BLOCK_BYTES = 64 * 2**20


def leave_one_out(gallery: Gallery, *, max_searches: int) -> tuple[Searches, IntArray]:
    """Search a gallery for its own images: as unknown, without their identity, and as known, without the image itself.

    Args:
        gallery: With at least two identities.
        max_searches: Images to search at most.

    Returns:
        The searches, and all similarities to other identities, as `similarity_counts` counts them.

    Raises:
        ValueError: If the gallery has fewer than two identities.
    """
    vectors, identities = gallery.templates()
    if len(identities) < 2:
        raise ValueError(f"Expected a gallery of at least two identities, got {len(identities)}. Add others.")
    rows = np.sort(permutation(stream_key("gallery searches", 0), len(gallery))[:max_searches])
    queries = gallery.rows[rows]
    numbers, rest, several = gallery.templates_without(torch.from_numpy(rows))
    own = torch.where(several, (rest * queries).sum(dim=1), math.nan)
    others, counts, ranks, found, following = _searched(queries, vectors, numbers, own)
    return (
        Searches(
            own=own.cpu().double().numpy(),
            others=others,
            ranks=ranks,
            non_mated=np.ones(len(rows), bool),
            queried=numbers.cpu().numpy(),
            groups=_grouped(numbers.cpu().numpy(), found),
            num_enrolled=len(identities),
            nearest=found,
            next_others=following,
        ),
        counts,
    )


def outcomes(gallery: Gallery, queries: Tensor, identities: Sequence[Hashable]) -> tuple[Searches, IntArray]:
    """Search a gallery for images whose identities are known. Those of identities that it lacks are non-mated.

    Args:
        gallery: With at least one identity.
        queries: Embeddings `[Q, D]`, of images that are not in it.
        identities: What each shows `[Q]`.

    Returns:
        The searches, and the similarities of the non-mated ones, as `similarity_counts` counts them.
    """
    vectors, enrolled = gallery.templates()
    places: dict[Hashable, int] = {name: number for number, name in enumerate(enrolled)}
    others = {name: len(enrolled) + number for number, name in enumerate(dict.fromkeys(identities))}
    numbers = torch.tensor([places.get(name, -1) for name in identities], device=vectors.device)
    queries = queries.to(vectors.device)
    own = torch.where(numbers >= 0, (queries * vectors[numbers]).sum(dim=1), math.nan)
    mated = (numbers >= 0).cpu().numpy()
    highest, ranks = np.empty(len(queries)), np.zeros(len(queries), np.int64)
    counts = np.zeros(BINS, np.int64)
    for kind in (mated, ~mated):
        part = torch.from_numpy(np.flatnonzero(kind)).to(vectors.device)
        highest[kind], counts, ranks[kind], *_ = _searched(queries[part], vectors, numbers[part], own[part])
    queried = np.array([places.get(name, others[name]) for name in identities], dtype=np.int64)
    return (
        Searches(
            own=own.cpu().double().numpy(),
            others=highest,
            ranks=ranks,
            non_mated=~mated,
            queried=queried,
            groups=queried,
            num_enrolled=len(enrolled),
        ),
        counts,
    )


def mated_and_non_mated(mated: Searches, non_mated: Searches) -> Searches:
    """Join the mated searches of one kind with the non-mated ones of another, in the same gallery."""
    known = dataclasses.replace(mated, non_mated=np.zeros(len(mated), bool))
    parts = [(known, known.mated), (non_mated, non_mated.non_mated)]
    joined = {
        name: np.concatenate([getattr(searches, name)[kept] for searches, kept in parts])
        for name in ("own", "others", "ranks", "non_mated", "queried", "groups")
    }
    return Searches(**joined, num_enrolled=mated.num_enrolled)


def _searched(
    queries: Tensor, vectors: Tensor, own: Tensor, own_similarity: Tensor
) -> tuple[Float64Array, IntArray, IntArray, IntArray, Float64Array]:
    """Compare queries `[Q, D]` with all templates `[I, D]` but their own, whose numbers are `own`, or -1.

    Returns:
        The highest similarity `[Q]`, all similarities counted, the rank of the own one, 0 without one, the number of
        the template with the highest, and the second highest similarity, minus infinity without one.
    """
    counts = np.zeros(BINS, np.int64)
    others, following = np.empty(len(queries)), np.empty(len(queries))
    ranks, numbers = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.int64)
    at_once = max(_BLOCK_BYTES // (4 * len(vectors)), 1)
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        similarities = queries[part].to(vectors.device) @ vectors.T
        known = (own[part] >= 0).nonzero().flatten()
        similarities[known, own[part][known]] = -math.inf
        highest, number = similarities.max(dim=1)
        others[part], numbers[part] = highest.cpu().double().numpy(), number.cpu().numpy()
        at_least = (similarities >= own_similarity[part, None]).sum(dim=1)
        ranks[part] = torch.where(own_similarity[part].isnan(), 0, at_least + 1).cpu().numpy()
        values = similarities[similarities > -math.inf].cpu().numpy()
        counts += similarity_counts(values)
        similarities.scatter_(1, number[:, None], -math.inf)
        following[part] = similarities.amax(dim=1).cpu().double().numpy()
    return others, counts, ranks, numbers, following


def _grouped(queried: IntArray, found: IntArray) -> IntArray:
    """Return a group for each search: two identities of whom each mostly finds the other err together.

    Args:
        queried: Number of the identity of each query `[Q]`.
        found: Number of the other identity that it found `[Q]`.
    """
    pairs, counts = np.unique(np.stack((queried, found)), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    mostly = dict(zip(pairs[0][order].tolist(), pairs[1][order].tolist(), strict=True))  # the last is the commonest
    return np.array([min(one, mostly[one]) if mostly.get(mostly[one]) == one else one for one in queried.tolist()])
