"""Cluster pictures so that all pairs of a cluster are similar, and a lower threshold never loses a pair."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.disjoint_sets import DisjointSets
from pairsim.audits.picture_matching import coarse_matches

_ROUNDING = 1e-5


def complete_linkage(similarity: Float64Array, threshold: float) -> list[list[int]]:
    """Cluster by complete linkage: join the two clusters whose least similar pair is most similar, again and again.

    The joins do not depend on the threshold, only where they end. So clusters of a lower threshold are unions of those
    of a higher one.

    Args:
        similarity: Symmetric matrix `[m, m]`.
        threshold: All pairs of a cluster are at least this similar.

    Returns:
        Indices of each cluster, ascending, also of those with one member; by their first member.

    Example:
        >>> complete_linkage(np.array([[1.0, 0.9, 0.2], [0.9, 1.0, 0.8], [0.2, 0.8, 1.0]]), 0.5)
        [[0, 1], [2]]
    """
    links = similarity.copy()
    np.fill_diagonal(links, -np.inf)
    clusters = {index: [index] for index in range(len(links))}
    partner = links.argmax(axis=1) if len(links) else np.zeros(0, dtype=np.int64)
    best = links.max(axis=1, initial=-np.inf)
    while len(clusters) > 1:
        first = int(best.argmax())
        if not best[first] >= threshold:
            break
        second = int(partner[first])
        first, second = min(first, second), max(first, second)
        clusters[first] = sorted(clusters[first] + clusters.pop(second))
        links[first] = np.minimum(links[first], links[second])
        links[:, first] = links[first]
        links[second] = links[:, second] = -np.inf
        # links only become weaker: other rows keep their best partner
        changed = np.flatnonzero((partner == first) | (partner == second))
        partner[changed] = links[changed].argmax(axis=1)
        best[changed] = links[changed, partner[changed]]
    return [clusters[first] for first in sorted(clusters)]


def connected(embeddings: Tensor, threshold: float) -> Iterator[tuple[list[int], Float64Array]]:
    """Find the connected parts of pictures whose embeddings have a cosine of at least a threshold.

    Args:
        embeddings: Of length 1, float32 `[N, D]`.
        threshold: In [-1, 1].

    Yields:
        Indices of a part, ascending `[m]`, and the cosines of all its pairs `[m, m]`, which do not depend on the order
        or number of the other pictures.
    """
    joined = DisjointSets(len(embeddings))
    for rows, columns in coarse_matches(embeddings[:, None], embeddings[:, None], threshold - _ROUNDING):
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                joined.join(column, row)
    for members in joined.members(range(len(embeddings))):
        exact = embeddings[members].double()
        yield members, (exact @ exact.T).clamp(-1.0, 1.0).numpy()
