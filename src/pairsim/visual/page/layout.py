"""A figure laid out in inches from its top left corner, so that nothing overlaps whatever its size."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

import numpy as np

from pairsim.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from pairsim.visual.page.pixels import Pixels

INK = "#1A1A1A"
"""Text, on the white page; both are set outright, so that a dark style of the reader's does not take the text away."""
QUIET_INK = "#595959"
"""Less important text: still 7 : 1 against white."""
GOOD_INK, BAD_INK = "#00664F", "#A83200"
"""Blue-green and vermilion dark enough for text; told apart with any colour vision, and never used alone."""

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 12.0, 9.0, 8.0
"""Points."""
LINE_HEIGHT = 1.35
"""Of the font size."""
_BASELINE = 0.76
"""Of the height of a line, from its top."""
MARGIN = 0.15
"""Inches around everything."""

_DPI = 150
FONT = "DejaVu Sans"
"""Comes with matplotlib and has the symbols used here."""

_SIMILARITY_ANCHORS = (
    "#8E2A00",
    "#944300",
    "#965A00",
    "#95711A",
    "#8F8637",
    "#869B54",
    "#7AAF73",
    "#6CC293",
    "#5FD3B3",
)


def similarity_colormap() -> Colormap:
    """Colours of similarity: dark vermilion for low, light blue-green for high.

    It reads as "red low, green high", and lightness (Oklab, 0.44 to 0.79) rises evenly along it, so that high and low
    stay apart for readers who do not tell red from green, and in grey print.

    Returns:
        A colormap over [0, 1].

    References:
        Okabe and Ito, "Color Universal Design" (2008), for the two hues; Ottosson, "Oklab" (2020), for the steps.
    """
    colors = require("matplotlib.colors", extra="viz", purpose="Drawing")
    colormap: Colormap = colors.LinearSegmentedColormap.from_list("pairsim_similarity", _SIMILARITY_ANCHORS)
    return colormap


class Page:
    """A white figure with places in inches from its top left corner.

    Args:
        width: Inches.
        height: Inches.

    Attributes:
        figure: The matplotlib figure; it belongs to no window and to no pyplot state.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """

    def __init__(self, width: float, height: float) -> None:
        module = require("matplotlib.figure", extra="viz", purpose="Drawing")
        self.width: float = width
        self.height: float = height
        self.figure: Figure = module.Figure(figsize=(width, height), dpi=_DPI, facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float, *, label: str) -> Axes:
        """Axes at a place, with dark text and lines.

        Args:
            left: Inches from the left edge.
            top: Inches from the top edge.
            width: Inches.
            height: Inches.
            label: Name of the axes, for whoever looks for them in `figure.axes`.
        """
        place = (
            left / self.width,
            1 - (top + height) / self.height,
            width / self.width,
            height / self.height,
        )
        axes = self.figure.add_axes(place, label=label, facecolor="white")
        axes.tick_params(colors=INK, labelsize=SMALL_SIZE, labelfontfamily=FONT)
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set(color=INK, linewidth=0.8)
        return axes

    def picture(
        self,
        pixels: Pixels,
        left: float,
        top: float,
        width: float,
        height: float,
        *,
        label: str,
        frame: str = QUIET_INK,
        frame_width: float = 0.6,
        anchor: Literal["C", "E", "W"] = "C",
    ) -> Axes:
        """An image in a box, as large as fits, in its true grey levels and proportions."""
        axes = self.axes(left, top, width, height, label=label)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, origin="upper", aspect="equal")
        axes.set(xticks=[], yticks=[], anchor=anchor)
        for spine in axes.spines.values():
            spine.set(color=frame, linewidth=frame_width)
        return axes

    def text(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float = TEXT_SIZE,
        color: str = INK,
        weight: Literal["normal", "bold"] = "normal",
        align: Literal["left", "center", "right"] = "left",
    ) -> None:
        """Lines of text, the first in a line box that begins `top` inches below the upper edge.

        Baselines depend on the place alone, not on which letters a line has; dollar signs are only dollar signs.
        """
        for number, line in enumerate(text.split("\n")):
            baseline = top + (number + _BASELINE) * text_height("", size)
            self.figure.text(
                left / self.width,
                1 - baseline / self.height,
                line,
                fontsize=size,
                color=color,
                fontweight=weight,
                fontfamily=_font_families(),
                horizontalalignment=align,
                verticalalignment="baseline",
                parse_math=False,
            )

    def title(self, text: str, *, subtitle: str = "") -> None:
        """The title as the figure's suptitle, left-aligned, with a smaller line below it."""
        self.figure.suptitle(
            text,
            x=MARGIN / self.width,
            y=1 - MARGIN / self.height,
            fontsize=TITLE_SIZE,
            fontweight="bold",
            fontfamily=_font_families(),
            color=INK,
            horizontalalignment="left",
            verticalalignment="top",
            linespacing=1.2,
            parse_math=False,
        )
        if subtitle:
            top = MARGIN + text_height(text, TITLE_SIZE)
            self.text(MARGIN, top, subtitle, size=TEXT_SIZE, color=QUIET_INK)


def _font_families() -> list[str]:
    """The font used here, and the reader's own for the letters it lacks, such as Chinese class names."""
    rc_params = require("matplotlib", extra="viz", purpose="Drawing").rcParams
    return [FONT, *rc_params["font.family"]]


def title_height(text: str, subtitle: str = "") -> float:
    """Inches that `Page.title` takes, with the space after it."""
    below = text_height(subtitle, TEXT_SIZE) if subtitle else 0.0
    return text_height(text, TITLE_SIZE) + below + 0.12


def text_height(text: str, size: float) -> float:
    """Inches that the lines of a text take."""
    return (text.count("\n") + 1) * size * LINE_HEIGHT / 72


def text_width(text: str, size: float, weight: Literal["normal", "bold"] = "normal") -> float:
    """Inches that the longest line of a text takes, as its font is measured."""
    textpath = require("matplotlib.textpath", extra="viz", purpose="Drawing")
    fonts = require("matplotlib.font_manager", extra="viz", purpose="Drawing")
    font = fonts.FontProperties(family=_font_families(), weight=weight, size=size)
    width = 0.0
    for line in filter(str.strip, text.split("\n")):
        # a dollar sign would begin a formula here; an S is as wide
        path = textpath.TextPath((0, 0), line.replace("$", "S"), prop=font)
        width = max(width, float(path.get_extents().width) / 72)
    return width


def wrap_text(text: str, size: float, width: float, weight: Literal["normal", "bold"] = "normal") -> str:
    """Break lines of a text that are wider than `width` inches."""
    lines = []
    for line in text.split("\n"):
        wide = text_width(line, size, weight)
        letters = len(line) if wide <= width else max(int(len(line) * width / wide), 8)
        lines += textwrap.wrap(line, letters) or [""]
    return "\n".join(lines)


def shorten_text(text: str, letters: int) -> str:
    """A text of at most so many letters, with an ellipsis in the middle where some are left out."""
    if len(text) <= letters:
        return text
    head = letters // 2
    return f"{text[:head]}…{text[len(text) - (letters - 1 - head) :]}"


def box_size(pixels: list[Pixels], side: float) -> tuple[float, float]:
    """Width and height in inches of a box that suits images of these proportions and has the area of a square.

    Args:
        pixels: At least one image.
        side: Inches of the square.
    """
    ratios = [image.shape[0] / image.shape[1] for image in pixels]
    ratio = float(np.exp(np.mean(np.log(ratios))).clip(1 / 3, 3))
    return side / ratio**0.5, side * ratio**0.5
