"""Figures of pictures: a white page laid out in inches, so that nothing overlaps at any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from pairsim.errors import require
from pairsim.visual.page.pixels import Pixels
from pairsim.visual.page.text_styles import FONT, INK, QUIET_INK, SMALL, TEXT, TITLE, TextStyle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, width and height."""
Size: TypeAlias = tuple[float, float]
"""Width and height, or horizontal and vertical."""
Frame: TypeAlias = tuple[str, float]
"""Colour and line width."""

Align: TypeAlias = Literal["left", "center", "right"]
"""Side of a text that is at its position."""

QUIET_FRAME: Frame = (QUIET_INK, 0.6)
DPI = 150
_MARGIN, _BELOW_TITLE = 0.15, 0.12
"""Inches."""
_BASELINE = 0.76
"""Of the height of a line, from its top."""

# As RGB, from low to high similarity.
_SIMILARITY_ANCHORS = (0x8E2A00, 0x944300, 0x965A00, 0x95711A, 0x8F8637, 0x869B54, 0x7AAF73, 0x6CC293, 0x5FD3B3)


def similarity_colormap() -> Colormap:
    """Return the colours of similarity: dark vermilion for low, light blue-green for high.

    Lightness (Oklab, 0.44 to 0.79) rises evenly along the colormap, so that high and low differ also for readers who
    cannot tell red from green, and in grey print.

    Returns:
        A colormap over [0, 1].

    References:
        Okabe and Ito, "Color Universal Design" (2008), for the two hues; Ottosson, "Oklab" (2020), for the steps.
    """
    colors = require("matplotlib.colors", extra="viz", purpose="Drawing")
    anchors = [f"#{anchor:06X}" for anchor in _SIMILARITY_ANCHORS]
    colormap: Colormap = colors.LinearSegmentedColormap.from_list("pairsim_similarity", anchors)
    return colormap


class Page:
    """A white figure with a title, and content placed in inches from the top left corner of the space below the title.

    Args:
        title: Title, wrapped to the width of the content.
        width: Width of the content in inches; the page is wider if the title needs it.
        height: Height of the content in inches.
        subtitle: Line in smaller print below the title.
        min_width: Inches that the title may take, also above narrower content.

    Attributes:
        figure: The matplotlib figure; it belongs to no window and to no pyplot state.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """

    def __init__(self, title: str, width: float, height: float, *, subtitle: str = "", min_width: float = 0.0) -> None:
        module = require("matplotlib.figure", extra="viz", purpose="Drawing")
        room = max(width, min_width)
        title, subtitle = TITLE.wrap(title, room), TEXT.wrap(subtitle, room)
        below_title = _MARGIN + TITLE.height(title)
        self._top = below_title + _BELOW_TITLE + (TEXT.height(subtitle) if subtitle else 0.0)
        widest = max(width, TITLE.width(title), TEXT.width(subtitle))
        self._width, self._height = widest + 2 * _MARGIN, self._top + height + _MARGIN
        self.figure: Figure = module.Figure(figsize=(self._width, self._height), dpi=DPI, facecolor="white")
        left, top = _MARGIN / self._width, 1 - _MARGIN / self._height
        self.figure.suptitle(title, x=left, y=top, **TITLE.properties(), horizontalalignment="left", linespacing=1.2)
        self.text(0.0, below_title - self._top, subtitle, TEXT.quiet)

    def axes(self, box: Box, *, label: str, ticks: bool = True) -> Axes:
        """Add axes with dark text and lines.

        Args:
            box: Left, top, width and height in inches, from the top left corner of the content.
            label: Label of the axes, by which they are found in `figure.axes`.
            ticks: Whether the axes have ticks.
        """
        left, top, width, height = box
        bottom = self._height - self._top - top - height
        box = ((_MARGIN + left) / self._width, bottom / self._height, width / self._width, height / self._height)
        axes = self.figure.add_axes(box, label=label, facecolor="white")
        axes.tick_params(colors=INK, labelsize=SMALL.size, labelfontfamily=FONT)
        axes.grid(False)
        axes.spines[:].set(color=INK, linewidth=0.8)
        if not ticks:
            axes.set(xticks=[], yticks=[])
        return axes

    def picture(
        self, pixels: Pixels, box: Box, *, label: str, frame: Frame = QUIET_FRAME, anchor: Literal["C", "E", "W"] = "C"
    ) -> Axes:
        """Add an image in a box, as large as fits, with its grey levels and proportions unchanged.

        Args:
            pixels: The image.
            box: As for `axes`.
            label: As for `axes`.
            frame: Colour and line width of the frame.
            anchor: Side of the box at which the image is placed.
        """
        axes = self.axes(box, label=label, ticks=False)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, origin="upper", aspect="equal")
        axes.set_anchor(anchor)
        axes.spines[:].set(color=frame[0], linewidth=frame[1])
        return axes

    def text(self, left: float, top: float, text: str, style: TextStyle = TEXT, *, align: Align = "left") -> None:
        """Add lines of text, the first one in a line box that begins `top` inches below the top of the content.

        Baselines depend on the position alone, not on the letters of a line. Dollar signs do not start formulas. Empty
        lines add no text to the figure.
        """
        for number, line in enumerate(text.split("\n")):
            if not line:
                continue
            baseline = self._top + top + (number + _BASELINE) * style.height()
            position = ((_MARGIN + left) / self._width, 1 - baseline / self._height)
            self.figure.text(*position, line, **style.properties(), horizontalalignment=align)


def box_size(pixels: Sequence[Pixels], side: float) -> Size:
    """Compute the size in inches of a box with the mean proportions of images and the area of a square.

    Args:
        pixels: At least one image.
        side: Side of the square in inches.

    Returns:
        Width and height; neither is more than three times the other.
    """
    ratios = [image.shape[0] / image.shape[1] for image in pixels]
    ratio = float(np.exp(np.mean(np.log(ratios))).clip(1 / 3, 3))
    return side / ratio**0.5, side * ratio**0.5
