from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_models import small_model
from torch import Tensor
from torch.nn import functional

from pairsim import Calibration, Gallery, SimilarityModel
from pairsim.errors import DataError, ImageReadError
from pairsim.evaluation import recall_at_k


@pytest.fixture
def model() -> SimilarityModel:
    return small_model(dim=6)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (9, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def unit(count: int, dim: int, seed: int) -> Tensor:
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def same(a: Gallery, b: Gallery, queries: Tensor) -> None:
    assert a.ids == b.ids
    np.testing.assert_array_equal(a.embeddings, b.embeddings)
    first, second = a.search_embeddings(queries, 4), b.search_embeddings(queries, 4)
    assert first.ids == second.ids
    assert torch.equal(first.similarities, second.similarities)


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


@pytest.fixture
def folder(images: Tensor, tmp_path: Path) -> Path:
    """Four pictures, of which one cannot be read."""
    for name, image in zip(("b.png", "sub/a.png", "sub/c.png"), images, strict=False):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy()).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures/sub/broken.png").write_text("no picture")
    return tmp_path / "pictures"


def test_a_folder_is_added_with_names_relative_to_it(model: SimilarityModel, images: Tensor, folder: Path) -> None:
    gallery = Gallery(model)
    with pytest.raises(ImageReadError, match=r"broken\.png"):
        gallery.add(folder)
    assert len(gallery) == 0
    skipped = gallery.add(folder, on_error="skip")
    assert gallery.ids == ["b.png", "sub/a.png", "sub/c.png"]
    assert [(one.name, one.index) for one in skipped] == [(str(folder / "sub/broken.png"), 2)]
    np.testing.assert_allclose(gallery.embeddings, model.encode(images[:3]).numpy(), atol=1e-6)
    (folder / "sub/broken.png").unlink()
    again = Gallery(model)
    assert again.add(str(folder)) == ()
    assert again.ids == gallery.ids
    numbered = Gallery(model)
    numbered.add(folder, [7, 8, 9])
    assert numbered.ids == [7, 8, 9]
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="Expected pictures"):
        numbered.add(folder / "empty")


def test_what_cannot_be_read_is_left_out(model: SimilarityModel, images: Tensor, folder: Path) -> None:
    gallery = Gallery(model)
    broken, good = folder / "sub/broken.png", folder / "b.png"
    assert len(gallery.add(iter([broken, good]), iter(["x", "y"]), on_error="skip")) == 1
    assert gallery.ids == ["y"]
    gallery.add(images[5:6], "z", on_error="skip")
    before = gallery.embeddings.copy()
    skipped = gallery.update([folder / "sub/a.png", broken, good], ["y", "z", "new"], on_error="skip")
    assert "broken.png" in skipped[0].reason
    assert gallery.ids == ["y", "z", "new"]
    np.testing.assert_allclose(gallery.embeddings, model.encode(images[[1, 5, 0]]).numpy(), atol=1e-6)
    np.testing.assert_array_equal(gallery.embeddings[1], before[1])
    with pytest.raises(ValueError, match="one id per image, got 1 ids for 2 images"):
        gallery.add(iter([good, broken]), ["q"], on_error="skip")
    with pytest.raises(ValueError, match="Expected on_error to be one of"):
        gallery.add(images[:1], ["q"], on_error="ignore")  # type: ignore[arg-type]


def test_what_failed_to_enrol_is_kept(model: SimilarityModel, folder: Path, tmp_path: Path) -> None:
    gallery = Gallery(model)
    gallery.add(folder, on_error="skip")
    assert gallery.failed_to_enrol == ["sub/broken.png"]
    gallery.save(tmp_path / "saved")
    loaded = Gallery.load(tmp_path / "saved", model)
    assert loaded.failed_to_enrol == ["sub/broken.png"]
    Image.new("L", (8, 8), 9).save(folder / "sub/broken.png")
    loaded.add([folder / "sub/broken.png"], ["sub/broken.png"])
    assert loaded.failed_to_enrol == []
    (folder / "sub/broken.png").write_bytes(b"no picture")
    other = loaded.ids[0]
    both = ["sub/broken.png", other]
    loaded.update([folder / str(name) for name in both], both, on_error="skip")
    assert loaded.failed_to_enrol == []  # it is enrolled as it was
    loaded.save(tmp_path / "saved")
    assert "failed_to_enrol" not in (tmp_path / "saved" / "gallery.json").read_text()


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


def test_what_does_not_fit_changes_nothing(model: SimilarityModel, images: Tensor) -> None:
    gallery = Gallery(model)
    gallery.add_embeddings(unit(2, 5, 0), ["a", "b"])
    for call in (gallery.add, gallery.update):
        with pytest.raises(ValueError, match=r"gallery's size, \[n, 5\], got \[1, 6\]"):
            call(images[:1], ["c"])
    with pytest.raises(ValueError, match="one id per image, got 1 ids for 2 images"):
        gallery.add_embeddings(unit(2, 5, 1), ["c"])
    np.testing.assert_array_equal(gallery.embeddings, unit(2, 5, 0).numpy())
    gallery.remove(["a", "b"])
    gallery.add(images[:1], ["c"])  # without images any size fits
    assert gallery.embeddings.shape == (1, 6)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_any_history_equals_a_gallery_from_scratch(data: st.DataObject) -> None:
    model = small_model(dim=6)
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


def test_templates_without_an_image(model: SimilarityModel) -> None:
    rows = unit(4, 6, seed=3)
    gallery = Gallery(model)
    gallery.add_embeddings(rows, list("abcd"))
    numbers, rest, several = gallery.templates_without(torch.tensor([2, 0]))
    assert (numbers.tolist(), several.tolist(), rest.tolist()) == ([2, 0], [False, False], [[0.0] * 6] * 2)
    gallery = Gallery(model)
    gallery.add_embeddings(rows, list("abcd"), identities=["x", "y", "x", "x"])
    numbers, rest, several = gallery.templates_without(torch.tensor([0, 1]))
    assert (numbers.tolist(), several.tolist()) == ([0, 1], [True, False])
    np.testing.assert_allclose(rest[0], functional.normalize(rows[[2, 3]].double().sum(dim=0), dim=0), atol=1e-6)
    assert rest[1].abs().max() == 0.0


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
