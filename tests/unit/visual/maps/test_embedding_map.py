from __future__ import annotations

import importlib
import random
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from number_data import Floats, labelled_embeddings, off_place, panels
from sklearn.decomposition import PCA

from pairsim.errors import MissingExtraError
from pairsim.visual import draw_embedding_map
from pairsim.visual.maps.embedding_map import MAX_NAMED, principal_axes


def points(figure: Any) -> Floats:
    return np.concatenate([line.get_xydata() for line in panels(figure)[0].lines])


def test_principal_axes_are_those_of_scikit_learn_up_to_sign() -> None:
    vectors, _ = labelled_embeddings(5, dim=7)
    places, shares = principal_axes(vectors)
    oracle = PCA(n_components=2, svd_solver="full")
    expected = oracle.fit_transform(vectors)
    assert np.abs(places) == pytest.approx(np.abs(expected))
    assert shares == pytest.approx(oracle.explained_variance_ratio_)


def test_signs_do_not_depend_on_the_order_of_the_images() -> None:
    vectors, _ = labelled_embeddings(5, dim=7)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert principal_axes(vectors[order])[0] == pytest.approx(principal_axes(vectors)[0][order])


@pytest.mark.parametrize("seed", range(4))
def test_the_largest_component_of_a_direction_is_positive(seed: int) -> None:
    vectors, _ = labelled_embeddings(5, dim=7, seed=seed)
    centered = vectors - vectors.mean(axis=0)
    directions = np.linalg.lstsq(centered, principal_axes(vectors)[0], rcond=None)[0]
    assert np.linalg.norm(directions, axis=0) == pytest.approx(1.0)
    assert (directions.max(axis=0) >= -directions.min(axis=0)).all()


@pytest.mark.parametrize("vectors", [np.ones((3, 1)), np.ones((4, 3)), np.array([[1.0], [-1.0]])])
def test_directions_in_which_nothing_varies_are_zero(vectors: Floats) -> None:
    places, shares = principal_axes(vectors)
    assert places.shape == (len(vectors), 2)
    assert np.isfinite(places).all()
    assert places[:, 1].tolist() == [0.0] * len(vectors)
    assert shares[1] == 0.0


def test_each_class_has_its_own_mark_and_name() -> None:
    vectors, labels = labelled_embeddings(MAX_NAMED)
    names = [f"class {k}" for k in range(MAX_NAMED)]
    figure = draw_embedding_map(vectors, labels, names=names)
    axes = panels(figure)[0]
    looks = {(line.get_marker(), line.get_markerfacecolor()) for line in axes.lines}
    assert len(looks) == MAX_NAMED
    # eleven marks: without colours, no neighbour in the key is taken for another
    assert all(one.get_marker() != other.get_marker() for one, other in zip(axes.lines, axes.lines[1:], strict=False))
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == names
    places, shares = principal_axes(vectors)
    assert points(figure) == pytest.approx(places)
    assert axes.get_xlabel() == f"first principal axis ({100 * shares[0]:.1f} % of the variance)"
    assert not off_place(figure)


def test_more_classes_than_marks_are_dots_and_the_subtitle_says_so() -> None:
    vectors, labels = labelled_embeddings(MAX_NAMED + 4, each=3)
    figure = draw_embedding_map(np.concatenate([vectors, vectors[-3:]]), np.append(labels, labels[-3:]))
    axes = panels(figure)[0]
    legend = axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert len(named) == MAX_NAMED + 1
    # the most frequent class is among them
    assert {"other classes", str(MAX_NAMED + 3)} <= set(named)
    assert any(f"the {MAX_NAMED} most frequent of {MAX_NAMED + 4} classes" in text.get_text() for text in axes.texts)
    assert len(points(figure)) == len(labels) + 3
    assert not off_place(figure)


def test_of_many_images_a_sample_is_drawn_where_it_lies_among_all() -> None:
    vectors, labels = labelled_embeddings(3, each=50)
    figures = [draw_embedding_map(vectors, labels, max_points=40, seed=seed) for seed in (0, 0, 1)]
    drawn = [points(figure) for figure in figures]
    assert len(drawn[0]) == 40
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    everywhere = {tuple(place) for place in principal_axes(vectors)[0].tolist()}
    assert all(tuple(place) in everywhere for place in drawn[0].tolist())
    assert any("a random 40 of 150 images" in text.get_text() for text in panels(figures[0])[0].texts)


def test_t_sne_is_the_same_for_the_same_seed_and_leaves_global_generators_alone() -> None:
    vectors, labels = labelled_embeddings(3, each=8)
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate())  # type: ignore[index] # noqa: NPY002
    figures = [draw_embedding_map(vectors, labels, method="tsne", seed=4) for _ in range(2)]
    after = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist(), random.getstate())  # type: ignore[index] # noqa: NPY002
    assert before == after
    assert np.array_equal(points(figures[0]), points(figures[1]))
    assert panels(figures[0])[0].get_xlabel() == "t-SNE 1 (no unit: distances between groups mean nothing)"
    assert not off_place(figures[0])


def test_umap_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    class Umap:
        def __init__(self, **options: Any) -> None:
            asked.append(options)

        def fit_transform(self, vectors: Floats) -> Floats:
            return vectors[:, :2] * 3

    module = ModuleType("umap")
    module.UMAP = Umap  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    vectors, labels = labelled_embeddings(2, each=4)
    assert points(draw_embedding_map(vectors, labels, method="umap", seed=5)) == pytest.approx(vectors[:, :2] * 3)
    assert asked == [{"n_neighbors": 7, "random_state": 5, "n_jobs": 1}]


@pytest.mark.parametrize(("method", "package"), [("umap", "umap"), ("tsne", "sklearn")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, method: Any, package: str) -> None:
    load = importlib.import_module

    def refuse(name: str) -> ModuleType:
        if name.startswith(package):
            raise ModuleNotFoundError(f"No module named {name!r}", name=package)
        return load(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=f"needs the package {package}.*pip install 'pairsim"):
        draw_embedding_map(*labelled_embeddings(2), method=method)


@pytest.mark.parametrize(
    ("vectors", "labels", "options", "message"),
    [
        (np.zeros((0, 3)), [], {}, "Expected at least 2 images for pca, got 0"),
        ([[1.0, 0.0]] * 3, [0, 0, 1], {"method": "tsne"}, "Expected at least 4 images for tsne, got 3"),
        ([[1.0, 0.0]] * 3, [0, 0, 1], {"method": "lda"}, 'Expected method "pca", "tsne" or "umap", got \'lda\''),
        ([[1.0, 0.0]] * 3, [0, 0], {}, "Expected one label per embedding"),
        ([[1.0, float("inf")]] * 3, [0, 0, 1], {}, "Expected embeddings of length 1, got length inf"),
        ([[1.0, 0.0]] * 3, [0, 0, 1], {"max_points": 0}, "Expected max_points to be a whole number of at least 4"),
    ],
)
def test_what_cannot_be_drawn_is_said(vectors: Any, labels: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        draw_embedding_map(vectors, labels, **options)
    assert "\n" not in str(caught.value)
