from __future__ import annotations

import importlib
import io
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_parts import MNIST, axes_of, font_sizes, misplaced, picture, texts, title
from figure_parts import random_images as images
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pairsim.errors import MissingExtraError
from pairsim.visual import draw_ranking
from pairsim.visual.page.layout import similarity_colormap
from pairsim.visual.pictures.ranking import MAX_CLASSES

NAMES = ["cat", "dog", "owl", "eel"]
SIMILARITY = [0.2, 0.95, 0.2, 0.6]
PROBABILITY = [0.05, 0.99, 0.05, 0.7]


def bars(figure: Figure) -> list[Rectangle]:
    return [patch for patch in axes_of(figure, "bars").patches if isinstance(patch, Rectangle)]


def draw(**options: Any) -> Figure:
    values: dict[str, Any] = {"names": NAMES, "similarity": SIMILARITY, "probability": PROBABILITY} | options
    query = values.pop("query", images(1, 9))
    return draw_ranking(query, values.pop("examples", images(len(values["names"]), 1)), **values)


def test_rows_are_ranked_and_ties_keep_their_order() -> None:
    figure = draw(true_name="eel")
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
    assert [text for text in written if text.startswith("0.")] == [
        "0.950", "0.990", "0.600", "0.700", "0.200", "0.050", "0.200", "0.050",
    ]  # fmt: skip
    assert {"class", "similarity", "probability", "query"} <= set(written)
    assert title(figure) == "Classes ranked by similarity to the query"
    assert axes_of(figure, "scale").get_ylabel() == "similarity (cosine)"
    assert axes_of(figure, "bars").get_xlabel() == "similarity (cosine)"


def test_the_true_class_has_a_symbol() -> None:
    figure = draw(true_name="eel")
    (star,) = [text for text in figure.texts if text.get_text() == "★"]
    (name,) = [text for text in figure.texts if text.get_text() == "eel"]
    assert star.get_position()[1] == name.get_position()[1]
    assert name.get_fontweight() == "bold"
    assert "★ true class: eel" in texts(figure)
    assert not any("★" in text for text in texts(draw()))


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


def test_more_classes_than_fit_are_counted_in_the_title() -> None:
    count = MAX_CLASSES + 5
    similarity = np.linspace(0.0, 1.0, count)
    names = [f"class {k}" for k in range(count)]
    figure = draw(names=names, similarity=similarity, probability=similarity, true_name="class 2", title="Digits")
    assert title(figure) == f"Digits: the top {MAX_CLASSES} of {count}"
    assert len(figure.axes) == MAX_CLASSES + 3
    shown = [text for text in texts(figure) if text in names]
    assert shown[:MAX_CLASSES] == names[::-1][:MAX_CLASSES]
    assert "(rank 23, not drawn)" in texts(figure)
    assert f"of {MAX_CLASSES}" not in title(
        draw(names=names[:20], similarity=similarity[:20], probability=similarity[:20])
    )


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
    assert "$5 or $10" in texts(draw(names=names))
    assert "a_folder_name_…or_the_column" in texts(draw(names=names))


def test_all_text_is_large_enough() -> None:
    assert min(font_sizes(draw(true_name="cat"))) >= 8


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
