from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pairsim._common.unit_similarity import on_grid
from pairsim.search import exact_search as module

F32, BF16 = [torch.float32], [torch.bfloat16, torch.float32]
if not torch.cpu._is_avx512_bf16_supported():  # sums are not known to be float32 then, and it is never chosen
    BF16 = F32


def unit(count: int, dim: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def brute_force(queries: Tensor, gallery: Tensor, k: int) -> tuple[list[list[int]], list[list[float]]]:
    """Every product in whole numbers, which Python adds exactly; sorted by similarity, then by place."""
    scale = 2**26
    rows = [[round(value * scale) for value in row] for row in gallery.double().tolist()]
    places, values = [], []
    for query in queries.double().tolist():
        whole = [round(value * scale) for value in query]
        products = [sum(a * b for a, b in zip(whole, row, strict=True)) for row in rows]
        order = sorted(range(len(rows)), key=lambda place: (-products[place], place))[:k]
        places.append(order)
        values.append([products[place] / scale**2 for place in order])
    return places, values


@settings(deadline=None, max_examples=100)
@given(
    num_queries=st.integers(0, 6),
    num_images=st.integers(1, 90),
    dim=st.integers(1, 9),
    k=st.integers(1, 95),
    block_bytes=st.integers(1, 20000),
    precisions=st.sampled_from([F32, BF16, BF16[:1], []]),
    group=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 2**20),
    coarse=st.booleans(),
    gallery_first=st.booleans(),
)
def test_nearest_is_a_full_sort(
    num_queries: int,
    num_images: int,
    dim: int,
    k: int,
    block_bytes: int,
    precisions: list[torch.dtype],
    group: int,
    seed: int,
    coarse: bool,
    gallery_first: bool,
) -> None:
    gallery, queries = unit(num_images, dim, seed), unit(num_queries, dim, seed + 1)
    if coarse:  # few distinct embeddings, so that there are many ties
        gallery = gallery[
            torch.randint(0, 3, (num_images,), generator=torch.Generator().manual_seed(seed)) % num_images
        ]
    k = min(k, num_images)
    with (
        mock.patch.object(module, "_precisions", return_value=precisions),
        mock.patch.object(module, "_GROUP", group),
        mock.patch.object(module, "_QUERIES", 4),
        mock.patch.object(module, "_gallery_first", return_value=gallery_first),
    ):
        values, places = module.nearest(queries, gallery, k, block_bytes=block_bytes)
    expected_places, expected_values = brute_force(queries, gallery, k)
    assert places.tolist() == expected_places
    assert values.tolist() == expected_values
    # the rounding of coordinates is the only difference from plain float64
    plain = (queries.double() @ gallery.double().T).sort(dim=1, descending=True).values[:, :k]
    torch.testing.assert_close(values, plain, rtol=0, atol=1.5e-8 * dim**0.5)


def test_many_queries_in_many_rows() -> None:
    """At the sizes where groups, several blocks and several parts of the queries come in, beside a sort in float64."""
    gallery, queries = unit(9_000, 32, 0), unit(600, 32, 1)
    gallery[2000:6000] = functional.normalize(gallery[:1] + 0.05 * gallery[2000:6000], dim=1)  # a dense class
    queries[::2] = functional.normalize(gallery[:1] + 0.05 * queries[::2], dim=1)
    exact = on_grid(queries) @ on_grid(gallery).T
    expected = exact.sort(dim=1, descending=True, stable=True)
    for precisions in (F32, BF16):
        with mock.patch.object(module, "_precisions", return_value=precisions):
            for k in (1, 10):
                values, places = module.nearest(queries, gallery, k)
                assert torch.equal(values, expected.values[:, :k])
                assert torch.equal(places, expected.indices[:, :k])


@pytest.mark.parametrize("precisions", [F32, BF16])
def test_little_is_looked_at_one_by_one(precisions: list[torch.dtype], monkeypatch: pytest.MonkeyPatch) -> None:
    scored: dict[torch.dtype, int] = {}
    products = module._products

    def counted(*arguments: object) -> Tensor:
        found = products(*arguments)  # type: ignore[arg-type]
        scored[found.dtype] = scored.get(found.dtype, 0) + len(found)
        return found

    def no_scan(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "_products", counted)
    monkeypatch.setattr(module, "_scan", no_scan)
    monkeypatch.setattr(module, "_precisions", lambda *_: precisions)
    module.nearest(unit(300, 64, 1), unit(10_000, 64, 0), 10)
    assert 3000 <= scored[torch.float64] < 3100
    assert scored.get(torch.float32, 0) < 9000


def test_nearest_holds_no_matrix_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    multiplied, largest = module._multiplied, module._largest

    def watched(queries: Tensor, rows: Tensor) -> Tensor:
        products = multiplied(queries, rows)
        sizes.append(products.numel() * products.element_size())
        return products

    def watched_too(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
        sizes.append(values.numel() * values.element_size())
        return largest(values, k)

    monkeypatch.setattr(module, "_multiplied", watched)
    monkeypatch.setattr(module, "_largest", watched_too)
    for precisions in (F32, []):
        monkeypatch.setattr(module, "_precisions", lambda *_, chosen=precisions: chosen)
        sizes.clear()
        module.nearest(unit(300, 4, 0), unit(5000, 4, 1), 3, block_bytes=2**16)
        assert sum(sizes) >= 300 * 5000 * 4
        assert max(sizes) <= 2**16


@pytest.mark.parametrize("precisions", [F32, BF16])
@pytest.mark.parametrize("kind", ["close together", "many equal", "zero", "rounded"])
def test_what_rough_products_cannot_tell_apart_is_looked_at_again(
    kind: str, precisions: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_precisions", lambda *_: precisions)
    gallery, queries = unit(900, 5, 0), unit(3, 5, 1)
    if kind == "close together":
        gallery = functional.normalize(queries[:1] + 1e-6 * gallery, dim=1)
    elif kind == "many equal":
        gallery = torch.cat((gallery[:50], gallery[:1].expand(850, 5)))
    elif kind == "zero":
        queries = torch.zeros_like(queries)
    else:
        gallery = gallery.bfloat16().float()
    for block_bytes in (500, 2**20):
        values, places = module.nearest(queries, gallery, 9, block_bytes=block_bytes)
        assert (places.tolist(), values.tolist()) == brute_force(queries, gallery, 9)


def test_nearest_does_not_trust_products_of_cut_factors() -> None:
    # further apart than float32 errs, and closer together than bfloat16 does
    gallery = functional.normalize(unit(1, 64, 0) + 0.05 * unit(900, 64, 1), dim=1)
    queries = gallery[::200]
    expected = brute_force(queries, gallery, 5)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert module._precisions(gallery, 1000) == []  # not every processor does cut factors then
        values, places = module.nearest(queries, gallery, 5)
    finally:
        torch.set_float32_matmul_precision(before)
    assert (places.tolist(), values.tolist()) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values, places = module.nearest(queries, gallery, 5)
    assert (places.tolist(), values.tolist()) == expected


@pytest.mark.parametrize("dim", [2, 128, 2048])
def test_the_bound_on_the_error_of_float32_holds(dim: int) -> None:
    a, b = unit(200, dim, 0) * 1.009, unit(200, dim, 1) * 1.009
    b[:100] = a[:100]
    errors = (a @ b.T).double() - on_grid(a) @ on_grid(b).T
    assert errors.abs().max().item() <= module._float32_error(a)


@pytest.mark.skipif(BF16 == F32, reason="needs a processor with bfloat16 products")
@pytest.mark.parametrize("dim", [2, 128, 2048])
def test_the_bound_on_the_error_of_bfloat16_holds(dim: int) -> None:
    a, b = unit(200, dim, 0) * 1.009, unit(200, dim, 1) * 1.009
    b[:100] = a[:100]
    a[50:60] = a[50:60].abs()
    b[50:60] = a[50:60]
    b[60:70] = 1.00390625 / dim**0.5  # as far as it gets from a number of 8 bits
    a[60:70] = b[60:70]
    shorter = 0.98 * a
    products = module._multiplied(shorter.bfloat16(), b.bfloat16()).double()
    errors = products - 0.98 * on_grid(a) @ on_grid(b).T
    assert errors.abs().max().item() <= module._bfloat16_error(shorter, b) < 0.015


@pytest.mark.skipif(BF16 == F32, reason="needs a processor with bfloat16 products")
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (1, 33), (13, 1), (300, 1)])
def test_the_bound_holds_for_the_kernels_of_small_products(shape: tuple[int, int]) -> None:
    for dim in (2, 1024):
        shorter, rows = 0.98 * unit(shape[0], dim, 0).abs(), unit(shape[1], dim, 1).abs()
        products = module._multiplied(shorter.bfloat16(), rows.bfloat16())
        errors = products.double() - shorter.double() @ rows.double().T
        assert errors.abs().max().item() <= module._bfloat16_error(shorter, rows)


def test_rescored_candidates_are_as_in_an_exact_search() -> None:
    gallery, queries = unit(50, 6, 0), unit(4, 6, 1)
    gallery[7] = gallery[3]
    everything = torch.randperm(50, generator=torch.Generator().manual_seed(0)).expand(4, -1)
    values, places = module.rescored(queries, gallery, everything, 50)
    expected = module.nearest(queries, gallery, 50)
    assert torch.equal(values, expected[0])
    assert torch.equal(places, expected[1])
    some = torch.tensor([[4, -1, 9], [-1, -1, -1], [0, 1, 2], [3, 7, -1]])
    values, places = module.rescored(queries, gallery, some, 2)
    assert places[1].tolist() == [-1, -1]
    assert places[3].tolist() == [3, 7]
    assert sorted(places[0].tolist()) == [4, 9]
    assert values[1].tolist() == [-float("inf")] * 2
