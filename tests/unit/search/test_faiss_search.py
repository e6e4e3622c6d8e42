from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from small_models import small_model
from torch import Tensor
from torch.nn import functional

from pairsim import Gallery
from pairsim.errors import MissingExtraError
from pairsim.search import faiss_search as module
from pairsim.search.faiss_search import IndexName

torch.manual_seed(0)  # the same weights in every process
MODEL = small_model(dim=32)
KINDS: list[IndexName] = ["faiss-hnsw", "faiss-ivf"]


def clustered(count: int, seed: int) -> Tensor:
    """Embeddings as a trained net gives them: 100 classes, no coordinate below 0."""
    classes = torch.randn(100, 32, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 32, generator=generator)
    label = torch.randint(0, 100, (count,), generator=generator)
    return functional.normalize((classes[label] + 0.2 * noise).clamp(min=0), dim=1)


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    for kind in KINDS:
        with pytest.raises(MissingExtraError, match=rf'index="{kind}" needs the package faiss.*pairsim\[faiss\]'):
            Gallery(MODEL, index=kind)
    Gallery(MODEL)


def test_unknown_index() -> None:
    with pytest.raises(ValueError, match="Expected index to be one of exact, faiss-hnsw, faiss-ivf, got 'flat'"):
        Gallery(MODEL, index="flat")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def stored() -> Tensor:
    return clustered(6000, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_similarities(kind: IndexName, stored: Tensor) -> None:
    pytest.importorskip("faiss")
    queries = clustered(200, 2)
    exact, approximate = Gallery(MODEL), Gallery(MODEL, index=kind)
    for gallery in (exact, approximate):
        gallery.add_embeddings(stored)
    assert exact.exact
    assert not approximate.exact
    expected, found = exact.search_embeddings(queries, 10), approximate.search_embeddings(queries, 10)
    shared = [len(set(a) & set(b)) for a, b in zip(expected.ids, found.ids, strict=True)]
    assert sum(shared) / 2000 >= 0.95
    similarity = {
        (query, name): value
        for query, row in enumerate(expected.ids)
        for name, value in zip(row, expected.similarities[query].tolist(), strict=True)
    }
    for query, row in enumerate(found.ids):
        values = found.similarities[query].tolist()
        assert values == sorted(values, reverse=True)
        for name, value in zip(row, values, strict=True):
            assert similarity.get((query, name), value) == value  # to the last bit
    # more neighbours than the index comes upon
    every = approximate.search_embeddings(queries[:2], 6000)
    assert [sorted(map(int, row)) for row in every.ids] == [list(range(6000))] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_seen_by_the_next_search(kind: IndexName, stored: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    gallery = Gallery(MODEL, index=kind)
    gallery.add_embeddings(stored[:5000])
    assert gallery.search_embeddings(stored[5:6], 1).ids == [[5]]
    built = gallery._faiss
    gallery.add_embeddings(stored[5000:])
    assert gallery.search_embeddings(stored[5999:], 1).ids == [[5999]]
    assert gallery._faiss is built  # it was added to
    gallery.remove([5])
    assert 5 not in gallery.search_embeddings(stored[5:6], 3).ids[0]
    gallery.save(tmp_path)
    loaded = Gallery.load(tmp_path, MODEL, index=kind)
    assert not loaded.exact
    assert loaded.search_embeddings(stored[4000:4001], 1).ids == [[4000]]
    gallery.add_embeddings(clustered(7000, 3))
    gallery.search_embeddings(stored[:1], 1)
    assert len(gallery) == 12_999
    assert gallery._faiss is not None
    assert gallery._faiss is not built  # made anew, as it would have more than doubled


def test_small_galleries_are_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.FaissIndex, "search", None)  # not called
    pytest.importorskip("faiss")
    gallery = Gallery(MODEL, index="faiss-ivf")
    gallery.add_embeddings(clustered(100, 1))
    assert gallery.exact
    assert repr(gallery) == "Gallery(100 images)"
    assert len(gallery.search_embeddings(clustered(1, 1), 500).ids[0]) == 100
