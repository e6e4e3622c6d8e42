from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figure_parts import MNIST, axes_of, misplaced, model_images, picture, random_images, texts, title
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from pairsim import Gallery, SimilarityModel
from pairsim.errors import ImageReadError
from pairsim.images import Preprocessing
from pairsim.search.gallery import SearchResult
from pairsim.visual import draw_neighbors
from pairsim.visual.page.text_styles import BAD_INK, GOOD_INK


def result_of(ids: list[list[Any]]) -> SearchResult:
    similarity = torch.linspace(0.9, -0.5, len(ids[0])).expand(len(ids), -1)
    return SearchResult(ids, similarity, similarity.clamp(0, 1))


def frame(figure: Figure, label: str) -> str:
    return to_hex(axes_of(figure, label).spines["left"].get_edgecolor()).upper()


def test_neighbours_are_right_or_wrong_by_symbol() -> None:
    model, images = SimilarityModel().eval(), model_images(4)
    gallery = Gallery(model)
    gallery.add(images)
    figure = draw_neighbors(
        images[:2], gallery.search(images[:2], k=3), images, query_labels=[0, 1], gallery_labels=[0, 0, 1, 1]
    )
    assert (
        sum(text.startswith("✓ ") and text[2:3].isdigit() for text in texts(figure))
        + sum(text.startswith("✗ ") and text[2:3].isdigit() for text in texts(figure))
        == 6
    )
    assert np.array_equal(picture(figure, "neighbor 1 0"), images[1, 0].numpy())
    assert not misplaced(figure)


def test_which_neighbours_are_right() -> None:
    figure = draw_neighbors(
        random_images(2),
        result_of([[3, 0, 1], [1, 2, 3]]),
        random_images(4, seed=1),
        query_labels=torch.tensor([7, 8]),
        gallery_labels=np.array([7, 8, 7, 8]),
        names={7: "cat"},
    )
    marks = [text for text in texts(figure) if text[:2] in ("✓ ", "✗ ") and text[-1].isdigit()]
    assert marks == ["✗ 0.900", "✓ 0.200", "✗ −0.500", "✓ 0.900", "✗ 0.200", "✓ −0.500"]
    right = {"neighbor 0 1", "neighbor 1 0", "neighbor 1 2"}
    for axes in figure.axes:
        if str(axes.get_label()).startswith("neighbor"):
            assert frame(figure, str(axes.get_label())) == (GOOD_INK if axes.get_label() in right else BAD_INK)
    assert any("3 of 6 neighbours drawn are right" in text for text in texts(figure))
    assert texts(figure).count("cat") == 3
    assert not misplaced(figure)


@pytest.mark.slow
def test_more_queries_and_neighbours_than_fit_are_told() -> None:
    figure = draw_neighbors(random_images(15), result_of([list(range(11))] * 15), random_images(11))
    assert title(figure) == (
        "Queries and their nearest images: the first 12 of 15 queries, the first 10 of 11 neighbours"
    )
    assert len(figure.axes) == 12 * 11
    assert not misplaced(figure)
    figure = draw_neighbors(random_images(1), result_of([list(range(11))]), random_images(11), title="Mine")
    assert title(figure) == "Mine: the first 10 of 11 neighbours"


def test_ids_are_paths_of_pictures_of_any_size(tmp_path: Path) -> None:
    rng, paths = np.random.default_rng(0), []
    for name, size in (("tall.png", (30, 10, 3)), ("a_very_long_name_of_a_file.png", (12, 40, 3))):
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
        paths.append(str(tmp_path / name))
    figure = draw_neighbors(random_images(1, channels=3), result_of([paths]))
    assert picture(figure, "neighbor 0 0").shape == (30, 10, 3)
    assert picture(figure, "neighbor 0 1").shape == (12, 40, 3)
    assert "tall.png" in texts(figure)
    assert "a_very_…le.png" in texts(figure)
    assert not misplaced(figure)
    with pytest.raises(ImageReadError, match="missing"):
        draw_neighbors(random_images(1, channels=3), result_of([[str(tmp_path / "missing.png")]]))


def test_paths_are_read_with_white(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 4096, (28, 28), dtype=np.uint16)
    path = str(tmp_path / "x.png")
    Image.fromarray(samples).save(path)
    white = Preprocessing(image_size=(28, 28), channels=1, white=4095)
    figure = draw_neighbors(random_images(1), result_of([[path]]), preprocessing=white)
    assert (picture(figure, "neighbor 0 0") == (samples >> 4)[..., None]).all()


def test_neighbours_by_a_mapping() -> None:
    images = random_images(2)
    figure = draw_neighbors(
        images[:1], result_of([["x"]]), {"x": images[1]}, query_labels=["a"], gallery_labels={"x": "a"}
    )
    assert np.array_equal(picture(figure, "neighbor 0 0"), images[1, 0].numpy())
    assert "✓ 0.900" in texts(figure)


def test_preprocessed_images_do_not_wrap() -> None:
    dark_and_light = MNIST(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 12, 12)) * 1.5
    figure = draw_neighbors(dark_and_light, result_of([[0], [1]]), dark_and_light, preprocessing=MNIST)
    assert picture(figure, "neighbor 0 0").max() == 0
    assert picture(figure, "neighbor 1 0").min() == 255


def neighbors(**changes: Any) -> Figure:
    options: dict[str, Any] = {
        "queries": random_images(1),
        "result": result_of([[0]]),
        "pictures": random_images(1),
    } | changes
    return draw_neighbors(**options)


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: neighbors(queries=random_images(2)), ValueError, "as many queries as the search had, got 2 and 1"),
    (lambda: neighbors(result=result_of([[]])), ValueError, "Expected at least one query with a neighbour, got none"),
    (lambda: neighbors(query_labels=[1]), ValueError, "Expected query_labels and gallery_labels together"),
    (lambda: neighbors(query_labels=[1, 2], gallery_labels=[1]), ValueError, "Expected 1 query_labels, .*, got 2"),
    (lambda: neighbors(query_labels=[1], gallery_labels=[]), ValueError, "Expected a label for id 0, found none"),
    (lambda: neighbors(pictures={}), ValueError, "Expected a picture for id 0, found none"),
    (lambda: neighbors(pictures=None), ValueError, "Expected pictures of the gallery, as the id 0 is not a path"),
    (lambda: neighbors(result=result_of([[4]])), ValueError, "Expected ids from 0 to 0, got 4. Pass all pictures"),
    (lambda: neighbors(queries="x.png"), TypeError, "Expected queries as tensors"),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_is_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
