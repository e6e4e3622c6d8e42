"""Cluster pictures so that all pairs of a cluster are similar, and a lower threshold never loses a pair."""

from __future__ import annotations

import numpy as np

from pairsim._common.arrays import Float64Array


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
    best = links.max(axis=1, initial=-np.inf)
    while len(clusters) > 1:
        first = int(best.argmax())
        if not best[first] >= threshold:
            break
        second = int(links[first].argmax())
        first, second = min(first, second), max(first, second)
        clusters[first] = sorted(clusters[first] + clusters.pop(second))
        links[first] = np.minimum(links[first], links[second])
        links[:, first] = links[first]
        links[second] = links[:, second] = -np.inf
        # rows whose best partner was one of the two may have a worse one now
        best = links.max(axis=1)
    return [clusters[first] for first in sorted(clusters)]
