"""Figures of numbers: axes in a light or dark style, with title, subtitle and legend above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np

from pairsim.errors import require
from pairsim.visual.page.layout import DPI
from pairsim.visual.page.text_styles import FONT, INK, QUIET_INK, SMALL, TEXT, TITLE, font_families

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

Style: TypeAlias = Literal["light", "dark"]


@dataclass(frozen=True)
class Palette:
    """Colours of a figure, different for all colour vision; no figure relies on them alone.

    Attributes:
        page: Background.
        ink: Text, with a contrast of at least 7 : 1 against the page.
        quiet: Less important text and frames, at least 4.5 : 1.
        grid: Grid lines.
        series: Lines and markers, at least 3 : 1; the first is for pairs of the same class, the second for the others.
    """

    page: str
    ink: str
    quiet: str
    grid: str
    series: tuple[str, ...]


_LIGHT_SERIES = ("#0072B2", "#C24A00", "#00785A", "#9C3F78", "#6B5B00", "#3D3D3D", "#5A4FCF")
_DARK_SERIES = ("#56B4E9", "#F08A3C", "#35C29A", "#E58BBE", "#F0E442", "#D0D0D0", "#A79BFF")
_PALETTES: Mapping[str, Palette] = {
    "light": Palette(page="#FFFFFF", ink=INK, quiet=QUIET_INK, grid="#DDDDDD", series=_LIGHT_SERIES),
    "dark": Palette(page="#15181C", ink="#F2F2F2", quiet="#B4B8BD", grid="#3B4047", series=_DARK_SERIES),
}
_DASHES = ((5, 2), (1, 1.3), (7, 2, 1.5, 2), (9, 3), (3, 1, 1, 1, 1, 1))
LINES: tuple[Any, ...] = ("-", *((0, dashes) for dashes in _DASHES), ":")
"""Line styles, one for each colour."""
THRESHOLD_LINE = (0, (8, 2, 2, 2))
"""Line style of thresholds and of the best epoch."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
"""Markers. Their number and that of the colours have no common factor, so that both together identify 77 classes."""

POINT_MARKERS = ("D", "o", "^", "v", "P", "X", "p")
"""Markers of operating points, one for each line style."""

_LEGEND: dict[str, Any] = {"frameon": False, "borderaxespad": 0.3, "borderpad": 0.0, "labelspacing": 0.3}
_GAP = 4.0
"""Points between legend, subtitle and title."""
_MAX_FITS = 2
"""Layouts in a row: those of axes in other axes' areas are exact only after the second."""
_PANEL_GAP = 0.12
"""Share of the figure's height between panels of axes that are placed by hand."""


def palette_of(style: Style) -> Palette:
    """Return the colours of a style.

    Raises:
        ValueError: If the style is unknown.
    """
    if style not in _PALETTES:
        raise ValueError(f'Expected style "light" or "dark", got {style!r}. Choose one of them.')
    return _PALETTES[style]


class Plot:
    """Axes to draw on, one below the other: of a new figure, or in the area of given axes.

    Args:
        ax: Axes to use; they become the top panel and are made smaller for the others. Their figure, or subfigure, gets
            the colour of the page. None makes a new figure.
        style: `"light"` or `"dark"`; colours do not depend on the reader's matplotlib style.
        size: Width and height of a new figure in inches.
        xlabel: Label of the x axis of the lowest panel.
        ylabels: Label of the y axis of each panel.
        heights: Height of each panel, relative to the others.

    Attributes:
        panels: The axes, from top to bottom.
        palette: The colours.
        figure: The figure of the axes; a new one belongs to no window.

    Raises:
        TypeError: If `ax` is not a matplotlib Axes.
        ValueError: If the style is unknown.
        MissingExtraError: If matplotlib is not installed.
    """

    def __init__(
        self,
        ax: Axes | None,
        style: Style,
        *,
        size: tuple[float, float],
        xlabel: str,
        ylabels: Sequence[str],
        heights: Sequence[float] = (1.0,),
    ) -> None:
        self.palette: Palette = palette_of(style)
        module = require("matplotlib.figure", extra="viz", purpose="Drawing")
        given: Any = ax
        if not (given is None or hasattr(given, "get_figure")):
            several = isinstance(given, np.ndarray)
            found = f"an array of {given.size}, use one of them" if several else type(given).__name__
            raise TypeError(f"Expected ax to be a matplotlib Axes, got {found}.")
        if ax is None:
            figure = module.Figure(figsize=size, dpi=DPI, facecolor=self.palette.page, layout="constrained")
            figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
            self.panels: list[Axes] = list(figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
        else:
            self.panels = [ax, *_add_panels(ax, heights)]
            # Titles and labels are beside the axes; their colours are for this page.
            ax.get_figure(root=False).set_facecolor(self.palette.page)  # type: ignore[union-attr]
        self.figure: Figure = cast("Figure", self.panels[0].get_figure(root=True))
        palette, look = self.palette, TEXT.colored(self.palette.ink).properties()
        for panel, ylabel in zip(self.panels, ylabels, strict=True):
            panel.set_facecolor(palette.page)
            panel.set_axisbelow(True)
            panel.grid(False, which="both")
            panel.grid(True, color=palette.grid, linewidth=0.6, linestyle="-")
            panel.tick_params(which="both", colors=palette.ink, labelsize=SMALL.size, labelfontfamily=FONT)
            for side, spine in panel.spines.items():
                spine.set(color=palette.quiet, linewidth=0.8, visible=side in ("left", "bottom"))
            panel.set_ylabel(ylabel, **look)
            # The caller's own label may have a formula.
            panel.set_xlabel(xlabel if panel is self.panels[-1] else "", **look | {"parse_math": True})

    @property
    def inches(self) -> BboxBase:
        """The box of the top panel in inches."""
        return self.panels[0].get_window_extent().transformed(self.figure.dpi_scale_trans.inverted())

    def annotate(self, text: str, position: tuple[float, float], **options: Any) -> None:
        """Write small text into the top panel that is readable on lines, by an outline in the colour of the page.

        Args:
            text: The text.
            position: In fractions of the axes, if `xycoords` is not given.
            **options: For `Axes.annotate`; `color` replaces the colour of text.
        """
        from matplotlib.patheffects import withStroke

        outline = [withStroke(linewidth=2.5, foreground=self.palette.page)]
        look = {"xycoords": "axes fraction", "path_effects": outline} | SMALL.colored(self.palette.ink).properties()
        self.panels[0].annotate(text, position, **look | options)

    def finish(self, title: str, *, subtitle: str = "", columns: int = 1, narrow: bool = False) -> Figure:
        """Write title, subtitle and legend one above the other on top of the first panel, where they cover no data.

        In a figure without a layout engine, subplots are moved as by `Figure.tight_layout` if their texts do not fit.

        Args:
            title: Bold line.
            subtitle: Less prominent line below it.
            columns: Columns of the legend.
            narrow: Whether the legend shows markers without lines, which need less room.

        Returns:
            The figure.
        """
        ax, palette, above = self.panels[0], self.palette, _GAP
        width = max(self.inches.width, 3.0)
        if ax.get_legend_handles_labels()[0]:
            font = {"family": font_families(), "size": SMALL.size}
            look: dict[str, Any] = {"labelcolor": palette.ink, "prop": font, "handlelength": 1.0 if narrow else 3.4}
            legend = ax.legend(
                loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, columnspacing=1.2, **_LEGEND | look
            )
            for text in legend.get_texts():
                text.set_parse_math(False)
            above += legend.get_window_extent().height * 72 / self.figure.dpi + _GAP
        if subtitle:
            subtitle = TEXT.wrap(subtitle, width)
            look = TEXT.colored(palette.quiet).properties() | {"verticalalignment": "bottom", "path_effects": None}
            self.annotate(subtitle, (0.0, 1.0), xytext=(0.0, above), textcoords="offset points", **look)
            above += TEXT.height(subtitle) * 72 + _GAP / 2
        ax.set_title(TITLE.wrap(title, width), loc="left", y=1.0, pad=above, **TITLE.colored(palette.ink).properties())
        if self.figure.get_layout_engine() is None:
            _fit(self.figure)
        return self.figure


def show_percent(*axes: Axis) -> None:
    """Label the ticks of axes in per cent."""
    for axis in axes:
        axis.set_major_formatter(lambda rate, _: f"{100 * rate:.10f}".rstrip("0").rstrip("."))


def _fit(figure: Figure) -> None:
    """Make room for the texts of subplots where they leave the figure or cover those of others."""
    if figure.subfigs or any(axes.get_subplotspec() is None for axes in figure.axes):
        return  # placed by hand
    from matplotlib.layout_engine import TightLayoutEngine

    for _ in range(_MAX_FITS):
        boxes = [box for axes in figure.axes if (box := axes.get_tightbbox()) is not None]
        inside = np.allclose(figure.bbox.union([figure.bbox, *boxes]).extents, figure.bbox.extents)
        if inside and not any(one.overlaps(other) for one, other in combinations(boxes, 2)):
            break
        TightLayoutEngine().execute(figure)  # once: the figure keeps no layout engine


def _add_panels(ax: Axes, heights: Sequence[float]) -> list[Axes]:
    """Make axes smaller, and add the panels below them in the area that they had."""
    count = len(heights)
    if count == 1:
        return []
    figure, spec = cast("Figure", ax.get_figure(root=True)), ax.get_subplotspec()
    if spec is not None:
        # A layout engine computes the space between panels.
        space = 0.35 if figure.get_layout_engine() is None else None
        grid = spec.subgridspec(count, 1, height_ratios=list(heights), hspace=space)
        ax.set_subplotspec(grid[0])
        return [figure.add_subplot(grid[k]) for k in range(1, count)]
    area = ax.get_position()
    sizes = np.array(heights) / sum(heights) * (area.height - _PANEL_GAP * (count - 1))
    bottoms = area.y1 - np.cumsum(sizes) - _PANEL_GAP * np.arange(count)
    boxes = [(area.x0, bottom, area.width, size) for bottom, size in zip(bottoms.tolist(), sizes.tolist(), strict=True)]
    ax.set_position(boxes[0])
    return [figure.add_axes(box) for box in boxes[1:]]
