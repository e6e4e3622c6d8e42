from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_parts import MNIST, axes_of, font_sizes, misplaced, model_images, picture, texts, title
from figure_parts import random_images as images
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.errors import MissingExtraError
from pairsim.images import Preprocessing
from pairsim.visual import draw_class_ranking, draw_ranking
from pairsim.visual.page.layout import similarity_colormap
from pairsim.visual.pictures import ranking

NAMES = ["cat", "dog", "owl", "eel"]
SIMILARITY = [0.2, 0.95, 0.2, 0.6]
PROBABILITY = [0.05, 0.99, 0.05, 0.7]


def bars(figure: Figure) -> list[Rectangle]:
    return [patch for patch in axes_of(figure, "bars").patches if isinstance(patch, Rectangle)]


def draw(**options: Any) -> Figure:
    values: dict[str, Any] = {"names": NAMES, "similarity": SIMILARITY, "probability": PROBABILITY} | options
    query = values.pop("query", images(1, 9))
    return draw_ranking(query, values.pop("examples", images(len(values["names"]), 1)), **values)


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw(true_name="eel")


def test_rows_are_ranked_and_ties_keep_their_order(figure: Figure) -> None:
    assert [axes.get_label() for axes in figure.axes] == [
        "query", "example 0", "example 1", "example 2", "example 3", "bars", "scale",
    ]  # fmt: skip
    assert [text for text in texts(figure) if text in NAMES] == ["dog", "eel", "cat", "owl"]
    assert np.array_equal(picture(figure, "query"), images(1, 9)[0, 0].numpy())
    for rank, k in enumerate([1, 3, 0, 2]):
        assert np.array_equal(picture(figure, f"example {rank}"), images(4, 1)[k, 0].numpy())
    assert [bar.get_width() for bar in bars(figure)] == pytest.approx([0.95, 0.6, 0.2, 0.2])
    tops = [axes_of(figure, f"example {rank}").get_position().y1 for rank in range(4)]
    assert tops == sorted(tops, reverse=True)
    assert axes_of(figure, "bars").get_ylim() == (3.5, -0.5)


def test_numbers_heads_and_scale() -> None:
    figure = draw()
    written = texts(figure)
    assert not any("★" in text for text in written)
    assert [text for text in written if text.startswith("0.")] == [
        "0.950", "0.990", "0.600", "0.700", "0.200", "0.050", "0.200", "0.050",
    ]  # fmt: skip
    assert {"class", "similarity", "probability", "query"} <= set(written)
    assert title(figure) == "Classes ranked by similarity to the query"
    assert axes_of(figure, "scale").get_ylabel() == "similarity (cosine)"
    assert axes_of(figure, "bars").get_xlabel() == "similarity (cosine)"


def test_the_true_class_has_a_symbol(figure: Figure) -> None:
    (star,) = [text for text in figure.texts if text.get_text() == "★"]
    (name,) = [text for text in figure.texts if text.get_text() == "eel"]
    assert star.get_position()[1] == name.get_position()[1]
    assert name.get_fontweight() == "bold"
    assert "★ true class: eel" in texts(figure)


@pytest.mark.parametrize(("similarity", "low"), [([0.0, 0.5, 0.9, 1.0], 0.0), ([-0.01, 0.5, 0.9, 1.0], -1.0)])
def test_axis_and_scale_span_what_the_data_need(similarity: list[float], low: float) -> None:
    figure = draw(similarity=similarity)
    assert axes_of(figure, "bars").get_xlim() == (low, 1.0)
    assert axes_of(figure, "scale").get_ylim() == (low, 1.0)
    colormap = similarity_colormap()
    ranked = sorted(similarity, reverse=True)
    for bar, value in zip(bars(figure), ranked, strict=True):
        assert bar.get_facecolor() == pytest.approx(colormap((value - low) / (1.0 - low)))
    assert ("−0.010" in texts(figure)) == (low < 0)


def test_more_classes_than_fit_are_counted_in_the_title(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranking.MAX_CLASSES == 20
    monkeypatch.setattr(ranking, "MAX_CLASSES", 4)
    similarity = np.linspace(0.0, 1.0, 9)
    names = [f"class {k}" for k in range(9)]
    figure = draw(names=names, similarity=similarity, probability=similarity, true_name="class 2", title="Digits")
    assert title(figure) == "Digits: the top 4 of 9"
    assert len(figure.axes) == 4 + 3
    assert [text for text in texts(figure) if text in names] == names[:4:-1]
    assert "(rank 7, not drawn)" in texts(figure)
    assert "of 4" not in title(draw(names=names[:4], similarity=similarity[:4], probability=similarity[:4]))


def test_nothing_is_cut_off_or_overlaps() -> None:
    names = ["T-shirt/top", "$5 or $10", "a_folder_name_that_is_far_too_long_for_the_column", "éclair"]
    for options in (
        {},
        {"names": names, "true_name": names[2], "similarity": [-0.9, 0.1, 0.2, 0.3]},
        {"names": ["one"], "similarity": [0.3], "probability": [0.2], "true_name": "one"},
        {"query": torch.zeros(1, 20, 60), "examples": torch.zeros(4, 1, 20, 60), "true_name": "dog"},
        {"query": torch.zeros(1, 60, 20), "examples": torch.zeros(4, 3, 60, 20)},
        {"title": "A title that goes on and on " * 6},
    ):
        figure = draw(**options)
        assert not misplaced(figure)
        if options.get("names") is names:
            assert {"$5 or $10", "a_folder_name_…or_the_column"} <= set(texts(figure))


def test_all_text_is_large_enough(figure: Figure) -> None:
    assert min(font_sizes(figure)) >= 8


def test_normalised_images_show_their_own_grey_levels() -> None:
    query, examples = images(1, 9), images(4, 1)
    figure = draw(query=MNIST(query), examples=MNIST(examples), preprocessing=MNIST)
    assert np.abs(picture(figure, "query").astype(int) - query[0, 0].numpy().astype(int)).max() <= 1
    assert np.abs(picture(figure, "example 0").astype(int) - examples[1, 0].numpy().astype(int)).max() <= 1


def test_no_figure_is_left_open() -> None:
    before = plt.get_fignums()
    buffer = io.BytesIO()
    draw(true_name="cat").savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": images(2)}, "Expected one image as query, got 2"),
        ({"examples": images(3)}, "Expected 3 names, one for each example, got 4"),
        ({"names": [], "similarity": [], "probability": []}, "an example of at least one class, got none"),
        ({"similarity": [0.1]}, r"similarity to have shape \[4\], one for each example, got \[1\]"),
        ({"probability": [0.1]}, r"probability to have shape \[4\], one for each example, got \[1\]"),
        ({"similarity": [0.1, 0.2, 0.3, 7.0]}, r"similarity in \[-1, 1\], found 0.1 to 7"),
        ({"probability": [0.1, 0.2, 0.3, 7.0]}, r"probability in \[0, 1\], found 0.1 to 7"),
        ({"true_name": "emu"}, "Expected true_name to be one of names, got 'emu'"),
        ({"query": MNIST(images(1))}, "Pass preprocessing=model.preprocessing"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**options)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"needs the package matplotlib.*pip install 'pairsim\[viz\]'"):
        draw()


def test_classes_are_ranked_by_the_models_similarity() -> None:
    model, images = SimilarityModel().eval(), model_images(5)
    figure = draw_class_ranking(model, images[0], ImageTensors(images[1:], ["a", "b", "c", "c"]), true_label="b")
    order = model.similarity_matrix(images[:1], images[1:4])[0].argsort(descending=True).tolist()
    assert [text for text in texts(figure) if text in {"a", "b", "c"}] == ["abc"[k] for k in order]
    assert np.array_equal(picture(figure, "example 0"), images[1 + order[0], 0].numpy())
    assert not misplaced(figure)


def test_the_nearest_of_many_classes_are_drawn() -> None:
    model, images = SimilarityModel().eval(), model_images(24)
    names = [f"class {k}" for k in range(23)]
    figure = draw_class_ranking(model, images[0], images[1:], names=names)
    order = model.similarity_matrix(images[:1], images[1:])[0]
    nearest = [names[k] for k in order.argsort(descending=True).tolist()[:20]]
    assert [text for text in texts(figure) if text in names] == nearest
    assert "20 of 23" in title(figure)
    assert not misplaced(figure)


def test_classes_in_colour_and_of_unequal_size() -> None:
    model = SimilarityModel(EmbeddingNet(in_channels=3))
    examples = [torch.zeros(3, 10, 40, dtype=torch.uint8), torch.full((3, 60, 20), 200, dtype=torch.uint8)]
    figure = draw_class_ranking(model, images(1, channels=3), examples)
    assert {picture(figure, f"example {k}").shape for k in range(2)} == {(10, 40, 3), (60, 20, 3)}
    assert not misplaced(figure)


def test_preprocessed_images_do_not_wrap() -> None:
    size_28 = Preprocessing(image_size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))
    model = SimilarityModel(preprocessing=size_28)
    values = model.preprocessing(torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)) * 1.5
    with pytest.warns(UserWarning, match="got values from 4.232 to 4.232"):
        figure = draw_class_ranking(model, values[0], values)
    assert picture(figure, "example 1").min() == 255


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: draw_class_ranking(SimilarityModel(), images(2), images(2)),
        ValueError,
        "Expected one image as query, got 2",
    ),
    (lambda: draw_class_ranking(SimilarityModel(), images(1), []), ValueError, "at least one class, got none"),
    (
        lambda: draw_class_ranking(SimilarityModel(), images(1), images(2), true_label=5),
        ValueError,
        "Expected true_label to be the label of an example, got 5",
    ),
]


@pytest.mark.parametrize(("draw_classes", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_what_does_not_fit_a_model_is_said(
    draw_classes: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        draw_classes()
