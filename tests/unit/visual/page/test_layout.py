from __future__ import annotations

import numpy as np
import pytest
from figure_parts import misplaced, title
from matplotlib.colors import to_hex, to_rgb

from pairsim.visual.page.layout import Page, box_size, similarity_colormap
from pairsim.visual.page.text_styles import QUIET_INK, SMALL

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
_VISION = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


@pytest.mark.parametrize("vision", _VISION)
def test_colours_grow_lighter_with_similarity_for_any_reader(vision: str) -> None:
    srgb = np.asarray(similarity_colormap()(np.linspace(0, 1, 33)))[:, :3]
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = (linear @ _VISION[vision].T).clip(0, 1) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all()
    # the ends differ by more than the 3 : 1 that WCAG asks of graphics
    assert (luminance[-1] + 0.05) / (luminance[0] + 0.05) > 3


def test_low_is_red_and_high_is_green() -> None:
    low, high = to_rgb(similarity_colormap()(0.0)), to_rgb(similarity_colormap()(1.0))
    assert low[0] > max(low[1:])
    assert high[1] > max(high[0], high[2])


def test_axes_are_placed_in_inches_below_the_title() -> None:
    page = Page("Title", 4.0, 2.0, subtitle="subtitle")
    first = page.axes((0.0, 0.0, 1.0, 0.5), label="first", ticks=False)
    second = page.axes((3.0, 1.5, 1.0, 0.5), label="second", ticks=False)
    page.figure.canvas.draw()
    width, height = page.figure.get_size_inches()
    left, right = (axes.get_position() for axes in (first, second))
    assert (right.x0 - left.x0) * width == pytest.approx(3.0)
    assert (left.y1 - right.y1) * height == pytest.approx(1.5)
    assert (left.width * width, left.height * height) == pytest.approx((1.0, 0.5))
    assert right.x1 * width == pytest.approx(width - 0.15)
    assert right.y0 * height == pytest.approx(0.15)
    assert not second.get_xticks().size
    assert not misplaced(page.figure)


def test_a_long_title_is_wrapped_and_kept_on_the_page() -> None:
    text = "A title with many words that is wider than the content below it"
    narrow, wide = Page(text, 1.0, 1.0), Page(text, 1.0, 1.0, min_width=9.0)
    assert title(narrow.figure) == title(wide.figure) == text
    assert narrow.figure.get_suptitle().count("\n") > 0
    assert "\n" not in wide.figure.get_suptitle()
    assert not misplaced(narrow.figure)
    assert not misplaced(wide.figure)


def test_text_has_its_style_and_position() -> None:
    page = Page("", 4.0, 2.0)
    page.text(1.0, 0.5, "$1\n\nthird", SMALL.quiet, align="center")
    first, third = (text for text in page.figure.texts if text.get_text())
    assert [text.get_text() for text in (first, third)] == ["$1", "third"]
    assert (first.get_fontsize(), to_hex(first.get_color()).upper()) == (8.0, QUIET_INK)
    height = page.figure.get_size_inches()[1]
    assert (first.get_position()[1] - third.get_position()[1]) * height == pytest.approx(2 * SMALL.height())
    assert not first.get_parse_math()


def test_pictures_keep_their_grey_levels() -> None:
    page = Page("", 1.0, 1.0)
    pixels = np.array([[3, 200]], dtype=np.uint8)
    axes = page.picture(pixels, (0.0, 0.0, 1.0, 1.0), label="picture", frame=("#FF0000", 2.0))
    assert np.array_equal(axes.images[0].get_array(), pixels)  # type: ignore[arg-type]
    assert axes.images[0].get_clim() == (0, 255)
    assert {to_hex(spine.get_edgecolor()) for spine in axes.spines.values()} == {"#ff0000"}


@pytest.mark.parametrize(("shape", "ratio"), [((10, 10), 1.0), ((20, 10), 2.0), ((90, 10), 3.0), ((1, 50), 1 / 3)])
def test_boxes_have_the_proportions_and_the_area_asked_for(shape: tuple[int, int], ratio: float) -> None:
    width, height = box_size([np.zeros(shape, dtype=np.uint8)], 2.0)
    assert height / width == pytest.approx(ratio)
    assert width * height == pytest.approx(4.0)
