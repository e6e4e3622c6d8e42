from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation.errors.pair_errors import RankedPairs, worst_given_pairs, worst_pairs


def units(count: int, dim: int, seed: int, levels: int = 0) -> np.ndarray:
    """Random rows of length 1; with `levels` from so few directions that many similarities tie."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(levels or count, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows[rng.integers(0, levels, count)] if levels else rows).astype(np.float32)


def rows_of(found: RankedPairs) -> list[tuple[int, int]]:
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 30), st.integers(0, 2**16), st.sampled_from([0, 3]), st.floats(-1, 1), st.integers(1, 9),
    st.integers(1, 12),
)  # fmt: skip
def test_agrees_with_all_pairs_one_by_one(
    count: int, seed: int, levels: int, threshold: float, n: int, block_size: int
) -> None:
    embeddings = units(count, 5, seed, levels)
    labels = np.random.default_rng(seed + 1).integers(0, 3, count)
    found = worst_pairs(embeddings, labels, threshold, n, block_size=block_size)
    exact = np.round(embeddings.astype(np.float64) * 2.0**26) / 2.0**26
    wrong: dict[bool, list[tuple[float, int, int]]] = {False: [], True: []}
    for a, b in itertools.combinations(range(count), 2):
        similarity = float(np.clip(sum(x * y for x, y in zip(exact[a], exact[b], strict=True)), -1, 1))
        same = bool(labels[a] == labels[b])
        if same != (similarity >= threshold):
            wrong[same].append((similarity if same else -similarity, a, b))
    for same, ranked in ((False, found.false_matches), (True, found.false_non_matches)):
        expected = sorted(wrong[same])
        assert ranked.total == len(expected)
        assert rows_of(ranked) == [(a, b) for _, a, b in expected[:n]]
        assert ranked.similarity.tolist() == [abs(v) if v == 0 else (v if same else -v) for v, *_ in expected[:n]]


def test_block_size_changes_nothing() -> None:
    embeddings, labels = units(200, 16, 3), np.arange(200) % 7
    whole, parts = (worst_pairs(embeddings, labels, 0.1, 20, block_size=size) for size in (1024, 17))
    for one, other in (
        (whole.false_matches, parts.false_matches), (whole.false_non_matches, parts.false_non_matches)
    ):  # fmt: skip
        assert rows_of(one) == rows_of(other)
        assert np.array_equal(one.similarity, other.similarity)
        assert one.total == other.total > 20


def test_tensors_of_half_precision_are_taken() -> None:
    rows = torch.nn.functional.normalize(torch.tensor(units(20, 8, 0)), dim=1).to(torch.bfloat16)
    found = worst_pairs(rows, torch.arange(20) % 2, 0.0)
    assert len(found.false_matches) == min(12, found.false_matches.total) > 0


def test_thresholds_without_end_call_everything_one_thing() -> None:
    rows, labels = np.eye(4), [0, 0, 1, 1]
    never, always = worst_pairs(rows, labels, np.inf), worst_pairs(rows, labels, -np.inf)
    assert (never.false_matches.total, never.false_non_matches.total) == (0, 2)
    assert (always.false_matches.total, always.false_non_matches.total) == (4, 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((np.eye(2), [0, 1], float("nan")), "Expected threshold to be a number, got NaN"),
        ((np.eye(2), [0, 1], 0.5, 0), "Expected n to be a whole number of at least 1, got 0"),
        ((np.eye(2), [0], 0.5), "Expected one label per embedding"),
        ((2 * np.eye(2), [0, 1], 0.5), "Expected embeddings of length 1, got length 2"),
    ],
)
def test_what_does_not_fit_is_said(values: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        worst_pairs(*values)  # type: ignore[arg-type]


@given(st.integers(0, 60), st.integers(0, 2**16), st.integers(1, 9))
def test_given_pairs_are_ranked_like_a_sorted_list(count: int, seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    similarity, target = rng.integers(-3, 4, count) / 4, rng.integers(0, 2, count).astype(np.uint8)
    first, second = rng.integers(0, 9, (2, count))
    found = worst_given_pairs(similarity, target, first, second, threshold=0.25, n=n)
    rows = list(zip(similarity.tolist(), target.tolist(), first.tolist(), second.tolist(), strict=True))
    false_matches = sorted((-s, min(a, b), max(a, b)) for s, t, a, b in rows if not t and s >= 0.25)
    others = sorted((s, min(a, b), max(a, b)) for s, t, a, b in rows if t and s < 0.25)
    assert rows_of(found.false_matches) == [(a, b) for _, a, b in false_matches[:n]]
    assert found.false_matches.similarity.tolist() == [-s for s, *_ in false_matches[:n]]
    assert rows_of(found.false_non_matches) == [(a, b) for _, a, b in others[:n]]
    assert (found.false_matches.total, found.false_non_matches.total) == (len(false_matches), len(others))
