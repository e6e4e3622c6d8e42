"""Clusters are those of complete linkage by brute force, and a lower threshold never loses a pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.clusters import complete_linkage, connected


@st.composite
def similarity_matrices(draw: st.DrawFn, *, distinct: bool = False) -> Float64Array:
    """Symmetric matrices with many equal values, or with none."""
    size = draw(st.integers(0, 9))
    seed = draw(st.integers(0, 10_000))
    generator = np.random.default_rng(seed)
    values = generator.permutation(size * size).reshape(size, size) / max(size * size, 1)
    if not distinct:
        values = generator.integers(0, 5, (size, size)) / 4
    upper = np.triu(values, 1)
    return np.asarray(upper + upper.T + np.eye(size), dtype=np.float64)


def by_brute_force(similarity: Float64Array, threshold: float) -> list[list[int]]:
    clusters = [[k] for k in range(len(similarity))]
    while len(clusters) > 1:
        least = {
            (a, b): min(similarity[i, j] for i in clusters[a] for j in clusters[b])
            for a, b in combinations(range(len(clusters)), 2)
        }
        a, b = max(least, key=lambda pair: least[pair])
        if least[a, b] < threshold:
            break
        clusters[a] = sorted(clusters[a] + clusters.pop(b))
    return sorted(clusters)


@given(similarity_matrices(distinct=True), st.floats(0, 1))
def test_clusters_are_those_of_brute_force(similarity: Float64Array, threshold: float) -> None:
    assert complete_linkage(similarity, threshold) == by_brute_force(similarity, threshold)


@given(similarity_matrices(), st.floats(0, 1), st.floats(0, 1))
def test_all_pairs_are_similar_and_lower_thresholds_lose_none(
    similarity: Float64Array, first: float, second: float
) -> None:
    before = similarity.copy()
    high, low = (complete_linkage(similarity, level) for level in (max(first, second), min(first, second)))
    assert np.array_equal(similarity, before)
    for clusters, level in ((high, max(first, second)), (low, min(first, second))):
        assert sorted(k for cluster in clusters for k in cluster) == list(range(len(similarity)))
        assert clusters == sorted(sorted(cluster) for cluster in clusters)
        assert all(similarity[i, j] >= level for cluster in clusters for i, j in combinations(cluster, 2))
    for cluster in high:
        assert sum(set(cluster) <= set(other) for other in low) == 1


def test_no_two_clusters_are_left_that_could_be_one() -> None:
    similarity = np.array([[1.0, 0.9, 0.9, 0.0], [0.9, 1.0, 0.9, 0.9], [0.9, 0.9, 1.0, 0.9], [0.0, 0.9, 0.9, 1.0]])
    assert complete_linkage(similarity, 0.9) == [[0, 1, 2], [3]]
    assert complete_linkage(similarity, 0.0) == [[0, 1, 2, 3]]
    assert complete_linkage(similarity, 0.95) == [[0], [1], [2], [3]]


def test_pictures_that_are_no_copies_do_not_join() -> None:
    assert complete_linkage(np.full((3, 3), np.nan), 0.5) == [[0], [1], [2]]
    assert complete_linkage(np.zeros((0, 0)), 0.5) == []


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([-1.0, 0.0, 0.6, 0.9, 1.0]))
def test_connected_parts_are_those_of_brute_force(seed: int, count: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 6, generator=generator)[torch.randint(4, (count,), generator=generator)]
    embeddings = torch.nn.functional.normalize(centres + 0.3 * torch.randn(count, 6, generator=generator))
    cosines = (embeddings.double() @ embeddings.double().T).clamp(-1, 1).numpy()
    reach = np.linalg.matrix_power(((cosines >= threshold) | np.eye(count, dtype=bool)).astype(object), count) > 0
    expected = sorted({tuple(np.flatnonzero(row)) for row in reach})
    found = list(connected(embeddings, threshold))
    if threshold == 1.0:  # rounding decides, and the caller's exact threshold follows
        assert all(cosines[np.ix_(members, members)].min() > 0.9999 for members, _ in found)
    else:
        assert sorted(tuple(members) for members, _ in found) == expected
    for members, exact in found:
        np.testing.assert_allclose(exact, cosines[np.ix_(members, members)], atol=1e-12)


def test_cosines_do_not_depend_on_the_others() -> None:
    embeddings = torch.nn.functional.normalize(torch.randn(700, 8))
    embeddings[650] = embeddings[3]
    parts = {tuple(members): cosines for members, cosines in connected(embeddings, 0.999999)}
    ((_, alone),) = connected(embeddings[[3, 650]], 0.999999)
    assert np.array_equal(parts[3, 650], alone)
    assert alone.max() == pytest.approx(1.0)
