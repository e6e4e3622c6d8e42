from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pairsim import Calibration, EmbeddingNet, Gallery, SimilarityModel
from pairsim import exact_search as module
from pairsim.errors import ImageReadError, RunError
from pairsim.evaluation import recall_at_k


def small_model(dim: int = 6) -> SimilarityModel:
    return SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=dim)).eval()


@pytest.fixture
def model() -> SimilarityModel:
    return small_model()


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (9, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


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


def same(a: Gallery, b: Gallery, queries: Tensor) -> None:
    assert a.ids == b.ids
    np.testing.assert_array_equal(a.embeddings, b.embeddings)
    first, second = a.search_embeddings(queries, 4), b.search_embeddings(queries, 4)
    assert first.ids == second.ids
    assert torch.equal(first.similarities, second.similarities)


@settings(deadline=None, max_examples=60)
@given(
    num_queries=st.integers(0, 6),
    num_images=st.integers(1, 90),
    dim=st.integers(1, 9),
    k=st.integers(1, 95),
    block_bytes=st.integers(1, 2000),
    seed=st.integers(0, 2**20),
    coarse=st.booleans(),
)
def test_nearest_is_a_full_sort(
    num_queries: int, num_images: int, dim: int, k: int, block_bytes: int, seed: int, coarse: bool
) -> None:
    gallery, queries = unit(num_images, dim, seed), unit(num_queries, dim, seed + 1)
    if coarse:  # few distinct embeddings, so that there are many ties
        gallery = gallery[
            torch.randint(0, 3, (num_images,), generator=torch.Generator().manual_seed(seed)) % num_images
        ]
    k = min(k, num_images)
    values, places = module.nearest(queries, gallery, k, block_bytes=block_bytes)
    expected_places, expected_values = brute_force(queries, gallery, k)
    assert places.tolist() == expected_places
    assert values.tolist() == expected_values
    # the rounding of coordinates is the only difference from plain float64
    plain = (queries.double() @ gallery.double().T).sort(dim=1, descending=True).values[:, :k]
    torch.testing.assert_close(values, plain, rtol=0, atol=1.5e-8 * dim**0.5)


def test_nearest_holds_no_matrix_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    largest = module._largest

    def watched(values: Tensor, k: int, *, ordered: bool) -> tuple[Tensor, Tensor]:
        sizes.append(values.numel() * values.element_size())
        return largest(values, k, ordered=ordered)

    monkeypatch.setattr(module, "_largest", watched)
    module.nearest(unit(300, 4, 0), unit(500, 4, 1), 3, block_bytes=4096)
    assert sum(sizes) > 300 * 500 * 4
    assert max(sizes) <= 4096


@pytest.mark.parametrize("kind", ["close together", "many equal", "zero", "rounded"])
def test_what_float32_cannot_tell_apart_is_looked_at_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, queries = unit(400, 5, 0), unit(3, 5, 1)
    if kind == "close together":
        gallery = functional.normalize(queries[:1] + 1e-6 * gallery, dim=1)
    elif kind == "many equal":
        gallery = torch.cat((gallery[:50], gallery[:1].expand(350, 5)))
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
        assert not module._multiplies_in_float32()  # not every processor does cut factors then
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
    errors = (a @ b.T).double() - module._rounded(a) @ module._rounded(b).T
    assert errors.abs().max().item() <= module._float32_error(dim)


def test_ties_go_to_the_first_added(model: SimilarityModel) -> None:
    gallery = Gallery(model)
    gallery.add_embeddings(unit(1, 6, 0).expand(2000, 6))
    found = gallery.search_embeddings(unit(1, 6, 0), 7)
    assert found.ids == [[0, 1, 2, 3, 4, 5, 6]]


def test_agrees_with_the_retrieval_figures(model: SimilarityModel) -> None:
    embeddings, labels = unit(60, 6, 3), np.arange(60) % 5
    queries, wanted = unit(30, 6, 4), np.arange(30) % 5
    gallery = Gallery(model)
    gallery.add_embeddings(embeddings)
    found = gallery.search_embeddings(queries, 2).ids
    hits = [any(labels[int(name)] == label for name in row) for row, label in zip(found, wanted, strict=True)]
    assert np.mean(hits) == recall_at_k(embeddings, labels, 2, query=(queries, wanted))


def test_search_by_images(model: SimilarityModel, images: Tensor) -> None:
    gallery = Gallery(model)
    gallery.add(images[:5], list("abcde"))
    gallery.add(images[5:], iter(["f", "g", "h", "i"]))
    found = gallery.search(images[[7, 2]], k=3)
    assert len(gallery) == 9
    assert "h" in gallery
    assert len(found) == 2
    assert [row[0] for row in found.ids] == ["h", "c"]
    matrix = model.similarity_matrix(images[[7, 2]], images).sort(dim=1, descending=True).values[:, :3]
    torch.testing.assert_close(found.similarities, matrix, rtol=0, atol=1e-6)
    assert torch.equal(found.probabilities, model.probability(found.similarities))
    assert found.similarities.dtype == found.probabilities.dtype == torch.float32
    everything = gallery.search(images[:1], k=100)
    assert sorted(map(str, everything.ids[0])) == list("abcdefghi")
    assert everything.similarities.shape == (1, 9)
    none = gallery.search(images[:0], k=2)
    assert none.ids == []
    assert none.similarities.shape == none.probabilities.shape == (0, 2)


def test_probabilities_are_calibrated_where_a_calibration_is_stored(model: SimilarityModel, images: Tensor) -> None:
    gallery = Gallery(model)
    gallery.add(images)
    before = gallery.search(images, 2).probabilities
    model.calibration = Calibration(method="platt", prior=0.01, weight=20.0, bias=-10.0)
    after = gallery.search(images, 2)
    assert torch.equal(after.probabilities, model.calibration.probability(after.similarities))
    assert not torch.equal(before, after.probabilities)


def test_ids_by_default(model: SimilarityModel, images: Tensor, tmp_path: Path) -> None:
    paths = [tmp_path / "b.png", tmp_path / "a.png"]
    for path, image in zip(paths, images, strict=False):
        Image.fromarray(image[0].numpy()).save(path)
    by_path = Gallery(model)
    by_path.add(paths[0])
    by_path.add(path for path in paths[1:])
    assert by_path.ids == [str(path) for path in paths]
    assert by_path.search(paths[1], 1).ids == [[str(paths[1])]]
    numbered = Gallery(model)
    numbered.add(images[:2])
    numbered.add(images[2, 0].numpy())
    numbered.add([images[3]], torch.tensor([7]))
    numbered.add_embeddings(unit(1, 6, 0))
    numbered.add(images[4:6].permute(0, 2, 3, 1).numpy(), np.array([20, 10]))
    assert numbered.ids == [0, 1, 2, 7, 8, 20, 10]
    with pytest.raises(ValueError, match=r"Expected paths only, or no path.*got 1 paths among 2 images. Give ids."):
        Gallery(model).add([paths[0], images[0]])


def test_updates_and_removals_equal_a_gallery_from_scratch(model: SimilarityModel, images: Tensor) -> None:
    gallery = Gallery(model)
    gallery.add(images[:3], ["a", "b", "c"])
    gallery.add(images[3:5], ["d", "e"])
    gallery.update(images[[7, 5, 8]], ["d", "new", "a"])
    gallery.remove(["b", "e", "b"])
    gallery.add(images[6:7], "b")
    fresh = Gallery(model)
    # embedded in the same batches, as another batch size may change the last bit
    first, second = model.encode(images[:3]), model.encode(images[[7, 5, 8]])
    fresh.add_embeddings(torch.stack([second[2], first[2], second[0], second[1]]), ["a", "c", "d", "new"])
    fresh.add(images[6:7], ["b"])
    same(gallery, fresh, unit(5, 6, 0))
    gallery.remove(gallery.ids)
    assert len(gallery) == 0
    gallery.add_embeddings(unit(2, 9, 0), [1, 2])  # an empty gallery takes any kind of id and size
    assert gallery.embeddings.shape == (2, 9)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_history_equals_a_gallery_from_scratch(data: st.DataObject) -> None:
    model = small_model()
    pool = torch.randint(0, 256, (12, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    gallery, expected = Gallery(model), dict[int, Tensor]()
    for _ in range(data.draw(st.integers(1, 6))):
        names = data.draw(st.lists(st.integers(0, 11), unique=True, min_size=1, max_size=5))
        action = data.draw(st.sampled_from(["add", "update", "remove"]))
        chosen = pool[data.draw(st.permutations(range(12)))[: len(names)]]
        if action == "remove":
            names = [name for name in names if name in expected]
            gallery.remove(names)
            for name in names:
                del expected[name]
            continue
        if action == "add":
            keep = [k for k, name in enumerate(names) if name not in expected]
            names, chosen = [names[k] for k in keep], chosen[keep]
            gallery.add(chosen, names)
        else:
            gallery.update(chosen, names)
        expected.update(zip(names, model.encode(chosen), strict=True))
    fresh = Gallery(model)
    if expected:
        fresh.add_embeddings(torch.stack(list(expected.values())), list(expected))
        same(gallery, fresh, unit(3, 6, 2))
    else:
        assert gallery.ids == []


def test_embeddings_are_kept_and_cannot_be_written_to(model: SimilarityModel) -> None:
    given_ones = unit(4, 6, 0)
    gallery = Gallery(model)
    assert gallery.embeddings.shape == (0, 0)
    gallery.add_embeddings(given_ones[:1])
    gallery.add_embeddings(given_ones[1:].numpy())
    expected = given_ones.clone()
    given_ones.zero_()
    assert gallery.embeddings.dtype == np.float32
    np.testing.assert_array_equal(gallery.embeddings, expected.numpy())
    with pytest.raises(ValueError, match="read-only"):
        gallery.embeddings[0, 0] = 1.0
    gallery.ids.clear()
    assert gallery.ids == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda g, x: g.add(x[:1], ["a"]), ValueError, r"not in the gallery, got 'a', which is.*gallery\.update"),
        (lambda g, x: g.add(x[:2], ["x", "x"]), ValueError, "Expected each id once, got 'x' twice"),
        (lambda g, x: g.update(x[:2], ["a", "a"]), ValueError, "Expected each id once, got 'a' twice"),
        (lambda g, x: g.add(x[:1], [3]), ValueError, "ids of one kind, got 3 where others are strings"),
        (lambda g, x: g.add(x[:1]), ValueError, "ids of one kind, got 0 where others are strings"),
        (lambda g, x: g.add(x[:1], [0.5]), TypeError, "strings or whole numbers, got 0.5 of type float"),
        (lambda g, x: g.add(x[:1], [True]), TypeError, "got True of type bool"),
        (lambda g, x: g.add(x[:1], ["\ud800"]), ValueError, "valid text"),
        (lambda g, x: g.add(x[:2], ["x"]), ValueError, "one id per image, got 1 ids for 2 images"),
        (lambda g, x: g.add(iter(x[:2, 0].numpy()), ["x"]), ValueError, "one id per image, got 1 ids for 2 images"),
        (lambda g, x: g.update(x[:1], ["a", "b"]), ValueError, "one id per image, got 2 ids for 1 images"),
        (lambda g, x: g.remove(["a", "x"]), ValueError, "of the gallery's 2 images, got 'x'"),
        (lambda g, x: g.add("absent.png"), ImageReadError, "absent.png"),
        (lambda g, x: g.add_embeddings(unit(1, 5, 0), "x"), ValueError, r"gallery's size, \[n, 6\], got \[1, 5\]"),
        (lambda g, x: g.add_embeddings(unit(1, 6, 0) * 2, "x"), ValueError, "of length 1, got length 2 at index 0"),
        (lambda g, x: g.add_embeddings(unit(1, 6, 0) * np.nan, "x"), ValueError, "got length nan"),
        (lambda g, x: g.add_embeddings(unit(6, 6, 0)[0], "x"), ValueError, r"shape \[n, D\], got \[6\]"),
        (lambda g, x: g.add_embeddings(np.eye(6, dtype=int), "x"), TypeError, "Expected embeddings of a float dtype"),
        (lambda g, x: g.search(x, 0), ValueError, "Expected k to be a whole number of at least 1, got 0"),
        (lambda g, x: g.search_embeddings(unit(1, 5, 0)), ValueError, r"gallery's size, \[Q, 6\], got \[1, 5\]"),
        (lambda g, x: Gallery(g.model).search(x), ValueError, "found it empty. Add some first"),
        (lambda g, x: Gallery(g.model.embedding_net), TypeError, "SimilarityModel, got EmbeddingNet"),
    ],
)
def test_refusals_change_nothing(
    call: Any, kind: type[Exception], said: str, model: SimilarityModel, images: Tensor
) -> None:
    gallery = Gallery(model)
    gallery.add(images[:2], ["a", "b"])
    before = gallery.embeddings.copy()
    with pytest.raises(kind, match=said) as caught:
        call(gallery, images)
    assert "\n" not in str(caught.value)
    assert gallery.ids == ["a", "b"]
    np.testing.assert_array_equal(gallery.embeddings, before)


def saved(model: SimilarityModel, folder: Path, ids: list[Any]) -> npt.NDArray[np.float32]:
    gallery = Gallery(model)
    gallery.add_embeddings(unit(len(ids), 6, 5), ids)
    gallery.save(folder)
    return gallery.embeddings


@pytest.mark.parametrize("ids", [["b", "a/ö.png", ""], [3, -1, 2**70]])
def test_save_and_load(model: SimilarityModel, tmp_path: Path, ids: list[Any]) -> None:
    embeddings = saved(model, tmp_path / "g", ids)
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["gallery.json", "gallery.safetensors"]
    model.save_pretrained(tmp_path / "m")
    loaded = Gallery.load(tmp_path / "g", SimilarityModel.from_pretrained(tmp_path / "m"))
    assert loaded.ids == ids
    np.testing.assert_array_equal(loaded.embeddings, embeddings)
    loaded.add_embeddings(unit(1, 6, 0)) if isinstance(ids[0], int) else loaded.remove("a/ö.png")
    loaded.save(tmp_path / "g")  # over the old one
    again = Gallery.load(tmp_path / "g", model)
    same(again, loaded, unit(2, 6, 1))


def test_an_empty_gallery_is_saved_too(model: SimilarityModel, tmp_path: Path) -> None:
    Gallery(model).save(tmp_path)
    assert len(Gallery.load(tmp_path, model)) == 0


def test_every_flipped_bit_is_found(model: SimilarityModel, tmp_path: Path) -> None:
    embeddings = saved(model, tmp_path, ["a", "b"])
    for name in ("gallery.safetensors", "gallery.json"):
        content = (tmp_path / name).read_bytes()
        for place in range(len(content)):
            flipped = bytearray(content)
            flipped[place] ^= 1 << (place % 8)
            (tmp_path / name).write_bytes(flipped)
            try:
                loaded = Gallery.load(tmp_path, model)
            except RunError as error:
                assert name in str(error)  # noqa: PT017
            else:  # white space between the values of the JSON
                assert content[place : place + 1].isspace()
                assert loaded.ids == ["a", "b"]
                np.testing.assert_array_equal(loaded.embeddings, embeddings)
        (tmp_path / name).write_bytes(content)


def test_another_model_is_refused(model: SimilarityModel, tmp_path: Path) -> None:
    saved(model, tmp_path, ["a"])
    with pytest.raises(RunError, match=r"of this model \(SHA-256 \w{12}\), found those of another.*or add the images"):
        Gallery.load(tmp_path, small_model())
    model.calibration = Calibration(method="platt", prior=0.5, weight=20.0, bias=-10.0)
    with torch.no_grad():
        model.projection.bias.add_(1.0)
    assert len(Gallery.load(tmp_path, model)) == 1  # neither moves an embedding
    model.preprocessing = model.preprocessing.__class__(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(RunError, match="found those of another"):
        Gallery.load(tmp_path, model)


def test_a_model_that_changed_is_not_saved(model: SimilarityModel, images: Tensor, tmp_path: Path) -> None:
    gallery = Gallery(model)
    gallery.add(images)
    with torch.no_grad():
        next(model.embedding_net.parameters()).add_(0.1)
    with pytest.raises(ValueError, match=r"found its weights changed.*Make a new gallery"):
        gallery.save(tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_missing_and_foreign_folders(model: SimilarityModel, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"Expected a readable JSON file at .*gallery\.json"):
        Gallery.load(tmp_path, model)
    saved(model, tmp_path, ["a"])
    index = tmp_path / "gallery.json"
    text = index.read_text()
    index.write_text(text.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(RunError, match=r"version 1 at most, found 2: it was made by a newer pairsim"):
        Gallery.load(tmp_path, model)
    index.write_text(text.replace("pairsim-gallery", "pairsim-model"))
    with pytest.raises(RunError, match="to say format pairsim-gallery, found 'pairsim-model'"):
        Gallery.load(tmp_path, model)
    index.write_text(text)
    (tmp_path / "gallery.safetensors").unlink()
    with pytest.raises(RunError, match=r"Expected .*gallery\.safetensors to be readable"):
        Gallery.load(tmp_path, model)
