from __future__ import annotations

import importlib
import io
import itertools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from number_data import history, labelled_embeddings, off_place, panels, scored_pairs
from searched_identities import search_report

from pairsim.errors import MissingExtraError
from pairsim.visual import (
    draw_class_similarity,
    draw_cmc,
    draw_det,
    draw_embedding_map,
    draw_fpir_fnir,
    draw_reliability,
    draw_roc,
    draw_score_histogram,
    draw_training_curves,
)
from pairsim.visual.page.plot import LINES, MARKERS, Style, palette_of

Draw = Callable[..., Figure]

FIGURES: dict[str, Draw] = {
    "histogram": lambda **options: draw_score_histogram(*scored_pairs(), threshold=0.3, **options),
    "roc": lambda **options: draw_roc(*scored_pairs(), threshold=0.3, **options),
    "det": lambda **options: draw_det({"a": scored_pairs(), "b": scored_pairs(seed=1)}, **options),
    "fpir-fnir": lambda **options: draw_fpir_fnir({"a": search_report(), "b": search_report(seed=1)}, **options),
    "cmc": lambda **options: draw_cmc(search_report(), **options),
    "reliability": lambda **options: draw_reliability(
        np.abs(scored_pairs()[0]),
        scored_pairs()[1],
        first=np.arange(460) % 90,
        second=np.arange(460) % 90 + 90,
        **options,
    ),
    "training": lambda **options: draw_training_curves(history(12, best=9), **options),
    "classes": lambda **options: draw_class_similarity(*labelled_embeddings(6), **options),
    "map": lambda **options: draw_embedding_map(*labelled_embeddings(12), **options),
}
every_figure = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
both_styles = pytest.mark.parametrize("style", ["light", "dark"])


def contrast(one: str, other: str) -> float:
    """Of WCAG 2: from 1 to 21."""
    light = []
    for color in (one, other):
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
        light.append(float(np.dot(linear, (0.2126, 0.7152, 0.0722))) + 0.05)
    return max(light) / min(light)


@both_styles
def test_colours_stand_out_from_the_page(style: Style) -> None:
    palette = palette_of(style)
    assert contrast(palette.ink, palette.page) >= 7
    assert contrast(palette.quiet, palette.page) >= 4.5
    assert min(contrast(color, palette.page) for color in palette.series) >= 3
    assert len(set(palette.series)) == len(palette.series) == len(LINES) == len(set(map(str, LINES)))
    assert len({(k % len(palette.series), k % len(MARKERS)) for k in range(77)}) == 77


@both_styles
@every_figure
def test_a_figure_keeps_its_colours_in_any_style_of_the_readers(draw: Draw, style: Style) -> None:
    palette, before, buffer = palette_of(style), plt.get_fignums(), io.BytesIO()
    with mpl.rc_context():
        plt.style.use("dark_background" if style == "light" else "grayscale")
        figure = draw(style=style)
        assert not off_place(figure)
        figure.set_layout_engine("none")  # it has done its work
        figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert plt.get_fignums() == before  # none is left open
    assert all(axes.get_ylabel() for axes in panels(figure))
    assert any(axes.get_xlabel() for axes in panels(figure))
    assert to_hex(figure.get_facecolor()).upper() == palette.page
    for axes in panels(figure):
        assert to_hex(axes.get_facecolor()).upper() == palette.page or axes.get_label() == "<colorbar>"
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and not on_a_cell(text):
            assert contrast(to_hex(text.get_color()), palette.page) >= 3, text.get_text()
            assert float(text.get_fontsize()) >= 8


def on_a_cell(text: Any) -> bool:
    """Numbers in a matrix stand on colours, not on the page."""
    return bool(text.axes is not None and text.axes.images and text.get_transform() == text.axes.transData)


@both_styles
def test_numbers_in_a_matrix_can_be_read_on_their_cells(style: Style) -> None:
    axes = panels(draw_class_similarity(*labelled_embeddings(10, dim=3), style=style))[0]
    image = axes.images[0]
    written = [text for text in axes.texts if on_a_cell(text)]
    assert len(written) == 100
    for text in written:
        column, row = map(int, text.get_position())
        cell = to_hex(image.to_rgba(np.array([image.get_array()[row, column]]))[0])
        assert contrast(to_hex(text.get_color()), cell) >= 4.5


@every_figure
def test_title_subtitle_and_key_stand_one_above_the_other(draw: Draw) -> None:
    figure = draw(title="First line of the title\nsecond line")
    figure.draw_without_rendering()
    axes = panels(figure)[0]
    subtitle = [text for text in axes.texts if getattr(text, "xy", None) == (0.0, 1.0)]
    head = [text.get_window_extent() for text in (axes._left_title, *subtitle)]
    if axes.get_legend() is not None:
        head.append(axes.get_legend().get_window_extent())
    head.append(axes.get_window_extent())
    assert len(head) >= 3
    for above, below in itertools.pairwise(head):
        assert above.y0 >= below.y1 - 1


@every_figure
def test_given_axes_are_drawn_on_and_their_figure_comes_back(draw: Draw) -> None:
    figure = Figure(figsize=(12, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert draw(ax=left) is figure
    assert left.get_title(loc="left")
    assert not right.has_data()
    assert not off_place(figure)


@both_styles
@every_figure
def test_on_axes_of_any_figure_texts_can_be_read(draw: Draw, style: Style) -> None:
    palette = palette_of(style)
    with plt.style.context("dark_background" if style == "light" else "default"):
        figure = plt.figure()
    whole, part = (
        figure.subplots(1, 2)[0],
        Figure(figsize=(12, 6), layout="constrained").subfigures(1, 2, squeeze=False)[0],
    )
    draw(ax=whole, style=style)
    assert to_hex(figure.get_facecolor()).upper() == palette.page
    draw(ax=part[1].subplots(), style=style)
    assert to_hex(part[1].get_facecolor()).upper() == palette.page
    assert part[0].get_facecolor() != part[1].get_facecolor()
    plt.close(figure)


@every_figure
def test_texts_stay_in_a_figure_without_a_layout_engine(draw: Draw) -> None:
    with plt.rc_context({"figure.constrained_layout.use": False, "figure.autolayout": False}):
        figure, axes = plt.subplots(2, 2, figsize=(12, 12))
        for ax in axes.flat:
            draw(ax=ax)
        alone, ax = plt.subplots(figsize=(6.4, 6.4))
        draw(ax=ax)
    assert not off_place(figure)
    assert not off_place(alone)
    assert figure.get_layout_engine() is None
    plt.close(figure)
    plt.close(alone)


def test_a_figure_in_which_all_texts_fit_is_left_as_it_is() -> None:
    figure = Figure(figsize=(8, 8))
    figure.subplots_adjust(left=0.3, right=0.8, bottom=0.2, top=0.6)
    ax = figure.subplots()
    before = ax.get_position().bounds
    FIGURES["roc"](ax=ax)
    assert ax.get_position().bounds == before


@pytest.mark.parametrize("name", ["reliability", "training"])
@pytest.mark.parametrize("placed", ["by hand", "in a grid"])
def test_panels_stay_within_the_place_of_given_axes(name: str, placed: str) -> None:
    figure = Figure(figsize=(8, 8))
    ax = figure.add_axes((0.1, 0.1, 0.8, 0.7)) if placed == "by hand" else figure.add_subplot(2, 1, 2)
    place = ax.get_position()
    FIGURES[name](ax=ax)
    assert len(panels(figure)) > 1
    bottoms = [axes.get_position().y0 for axes in panels(figure)]
    assert bottoms == sorted(bottoms, reverse=True)
    for axes, below in zip(panels(figure), [*panels(figure)[1:], None], strict=True):
        assert place.y0 - 1e-9 <= axes.get_position().y0 < axes.get_position().y1 <= place.y1 + 1e-9
        assert below is None or below.get_position().y1 < axes.get_position().y0


@every_figure
def test_a_title_of_ones_own_is_written_as_it_is(draw: Draw) -> None:
    title = "Is this the same $5 note as that $10 note, or would you say that the two are different notes after all?"
    figure = draw(title=title)
    assert panels(figure)[0].get_title(loc="left").replace("\n", " ") == title
    # it may stand above a scale beside the axes
    assert "the edge of the page" not in {place for _, place in off_place(figure)}


@every_figure
def test_without_matplotlib_the_extra_is_named(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"needs the package matplotlib.*pip install 'pairsim\[viz\]'"):
        draw()


@every_figure
def test_an_unknown_style_is_refused(draw: Draw) -> None:
    with pytest.raises(ValueError, match=r"Expected style .* got 'sepia'"):
        draw(style="sepia")


@pytest.mark.parametrize(("ax", "given"), [(3, "int"), (np.zeros((1, 2)), "an array of 2, use one of them")])
def test_ax_that_is_no_axes_object(ax: Any, given: str) -> None:
    with pytest.raises(TypeError, match=f"Expected ax to be a matplotlib Axes, got {given}"):
        draw_roc(*scored_pairs(), ax=ax)
