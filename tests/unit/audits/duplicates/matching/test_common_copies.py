"""Similarities through four other pictures are those of brute force, and never lower than before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim._common.arrays import Float64Array
from pairsim.audits.duplicates.matching.common_copies import COMMON, with_common_copies


def symmetric(seed: int, size: int) -> Float64Array:
    upper = np.triu(np.random.default_rng(seed).random((size, size)), 1)
    return np.asarray(upper + upper.T + np.eye(size))


@given(st.integers(0, 10_000), st.integers(0, 13))
def test_pairs_are_raised_as_by_brute_force(seed: int, size: int) -> None:
    similarity = symmetric(seed, size)
    before = similarity.copy()
    found = with_common_copies(similarity)
    assert np.array_equal(similarity, before)
    expected = similarity.copy()
    for a in range(size):
        for b in range(size):
            ways = sorted(min(similarity[a, c], similarity[c, b]) for c in range(size) if c not in (a, b))
            if a != b and len(ways) >= COMMON:
                expected[a, b] = max(expected[a, b], ways[-COMMON])
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("size", [14, 40])
def test_large_families_are_raised_both_ways(size: int) -> None:
    similarity = symmetric(0, size)
    found = with_common_copies(similarity)
    assert np.array_equal(found, found.T)
    assert (found >= similarity).all()
    assert found.max() == 1.0
    order = np.random.default_rng(1).permutation(size)
    assert np.array_equal(with_common_copies(similarity[np.ix_(order, order)]), found[np.ix_(order, order)])


def test_two_edits_are_copies_if_four_others_are_like_both() -> None:
    similarity = np.full((COMMON + 2, COMMON + 2), 0.9)
    np.fill_diagonal(similarity, 1.0)
    similarity[0, 1] = similarity[1, 0] = 0.6
    assert with_common_copies(similarity)[0, 1] == 0.9
    assert with_common_copies(similarity[:-1, :-1])[0, 1] == 0.6
