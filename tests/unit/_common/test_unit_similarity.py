"""The similarity of embeddings does not depend on the order or the size of what is computed at once."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pairsim._common import unit_similarity
from pairsim._common.unit_similarity import (
    EXACT_BITS,
    MATCH_TOLERANCE,
    lowest_match,
    on_grid,
    pair_similarity,
    similarity,
    similarity_matrix,
)


def unit(count: int, dim: int, seed: int = 0) -> Tensor:
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def exact(first: Tensor, second: Tensor) -> float:
    """In fractions, rounded once."""
    scale = 2**EXACT_BITS
    a, b = ([Fraction(round(Fraction(x) * scale), scale) for x in row.tolist()] for row in (first, second))
    product = sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
    return float(torch.tensor(float(max(min(product, Fraction(1)), Fraction(-1))), dtype=torch.float32))


@given(st.integers(1, 600), st.integers(0, 2**32))
def test_it_is_the_exact_sum_rounded_once(dim: int, seed: int) -> None:
    a, b = unit(2, dim, seed)
    for first, second in ((a, b), (a, a), (a, -a), (b, a)):
        assert similarity(first, second).item() == exact(first, second)


@pytest.mark.parametrize("dim", [2, 128, 2048])
def test_every_function_gives_the_same_bits(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = unit(70, dim), unit(50, dim, seed=1)
    expected = similarity(rows[:, None], columns[None])
    assert torch.equal(similarity_matrix(rows, columns), expected)
    permuted = torch.randperm(dim)
    assert torch.equal(similarity_matrix(rows[:, permuted], columns[:, permuted]), expected)
    monkeypatch.setattr(unit_similarity, "_MATRIX_BYTES", 8 * 50 * 3)
    monkeypatch.setattr(unit_similarity, "_PAIRS_AT_ONCE", 11)
    assert torch.equal(similarity_matrix(rows, columns), expected)
    first, second = torch.randint(70, (40,)), torch.randint(50, (40,))
    both = torch.cat((rows, columns))
    assert torch.equal(pair_similarity(both, first, second + 70), expected[first, second])


def test_range_zeros_and_nothing() -> None:
    rows = torch.cat((unit(30, 100), torch.zeros(2, 100))) * 1.0000001
    matrix = similarity_matrix(rows, rows)
    assert matrix.dtype == torch.float32
    assert float(matrix.abs().max()) <= 1.0
    assert bool((matrix[30:] == 0).all())
    assert similarity_matrix(rows[:0], rows).shape == (0, 32)
    assert similarity_matrix(rows, rows[:0]).shape == (32, 0)
    assert pair_similarity(rows, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)).shape == (0,)
    assert bool(similarity(rows[0] * math.nan, rows[1]).isnan())


def test_autocast_and_default_dtype_have_no_effect() -> None:
    rows = unit(20, 64)
    expected = similarity_matrix(rows, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(similarity_matrix(rows, rows), expected)
        assert torch.equal(similarity(rows, rows), expected.diagonal())


def test_gradients_are_those_of_the_product() -> None:
    a, b = (rows.requires_grad_() for rows in unit(2, 5).split(1))
    similarity(a, b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    torch.testing.assert_close(a.grad, b.detach(), rtol=0, atol=2.0**-EXACT_BITS)
    torch.testing.assert_close(b.grad, a.detach(), rtol=0, atol=2.0**-EXACT_BITS)


def test_float64_is_not_rounded() -> None:
    rows = unit(6, 9).double() * (1 + 1e-12)
    assert on_grid(rows) is rows
    found = similarity_matrix(rows, rows)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, (rows @ rows.T).clamp(-1.0, 1.0), rtol=0, atol=1e-15)
    assert pair_similarity(rows, torch.tensor([1]), torch.tensor([2])).dtype == torch.float64


def test_the_grid() -> None:
    values = torch.tensor([0.3, -1e-9, 2.0**-27, 3 * 2.0**-27, 1.0, -0.7])
    found = on_grid(values)
    assert torch.equal(found, torch.round(values.double() * 2.0**EXACT_BITS) * 2.0**-EXACT_BITS)
    assert float((found - values.double()).abs().max()) <= 2.0 ** -(EXACT_BITS + 1)
    assert float(values[0]) == pytest.approx(0.3)  # not changed in place


def test_the_lowest_match() -> None:
    assert lowest_match(0.5) == 0.5 - MATCH_TOLERANCE
    assert math.isnan(lowest_match(math.nan))
    assert lowest_match(math.inf) == math.inf
