"""How figures of numbers look: a light or a dark page, lines that differ without colour, and the head of a plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from pairsim.errors import require
from pairsim.visual.page.layout import FONT, SMALL_SIZE, TEXT_SIZE, TITLE_SIZE, text_height, wrap_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Style: TypeAlias = Literal["light", "dark"]


@dataclass(frozen=True)
class Palette:
    """Colours of a figure, told apart with any colour vision; no figure relies on them alone.

    Attributes:
        page: Behind everything.
        ink: Text, at least 7 : 1 against the page.
        quiet: Less important text and frames, at least 4.5 : 1.
        grid: Lines to read values by.
        series: Lines and marks, at least 3 : 1; the first is for pairs of the same class, the second for the others.
    """

    page: str
    ink: str
    quiet: str
    grid: str
    series: tuple[str, ...]


_PALETTES: Mapping[str, Palette] = {
    "light": Palette(
        page="#FFFFFF",
        ink="#1A1A1A",
        quiet="#595959",
        grid="#DDDDDD",
        series=("#0072B2", "#C24A00", "#00785A", "#9C3F78", "#6B5B00", "#3D3D3D", "#5A4FCF"),
    ),
    "dark": Palette(
        page="#15181C",
        ink="#F2F2F2",
        quiet="#B4B8BD",
        grid="#3B4047",
        series=("#56B4E9", "#F08A3C", "#35C29A", "#E58BBE", "#F0E442", "#D0D0D0", "#A79BFF"),
    ),
}
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.3)),
    (0, (7, 2, 1.5, 2)),
    (0, (9, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    ":",
)
"""Line styles, one for each colour."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
"""Marks; their number shares no factor with that of the colours, so that mark and colour together name 77 classes."""

_DPI = 150
_GAP = 4.0
"""Points between the lines of the head."""


def palette_of(style: Style) -> Palette:
    """Colours of a style.

    Raises:
        ValueError: If there is no such style.
    """
    if style not in _PALETTES:
        raise ValueError(f'Expected style "light" or "dark", got {style!r}. Choose one of them.')
    return _PALETTES[style]


def open_axes(
    ax: Axes | None, palette: Palette, *, width: float, height: float, heights: Sequence[float] = (1.0,)
) -> list[Axes]:
    """Axes to draw on, one below the other: of a new figure, or in the place of given ones.

    Args:
        ax: Axes to use; they become the top ones, and others go below them in their place. None makes a figure.
        palette: Colours.
        width: Inches of a new figure.
        height: Inches of a new figure.
        heights: Height of each axes, relative to the others.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    module = require("matplotlib.figure", extra="viz", purpose="Drawing")
    if ax is None:
        figure = module.Figure(figsize=(width, height), dpi=_DPI, facecolor=palette.page, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        made = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)
        return list(made[:, 0])
    if len(heights) == 1:
        return [ax]
    figure, spec = figure_of(ax), ax.get_subplotspec()
    if spec is not None:
        # a layout engine finds the room between by itself
        room = 0.35 if figure.get_layout_engine() is None else None
        grid = spec.subgridspec(len(heights), 1, height_ratios=list(heights), hspace=room)
        ax.set_subplotspec(grid[0])
        return [ax, *(figure.add_subplot(grid[k]) for k in range(1, len(heights)))]
    place = ax.get_position()
    height, total = place.height - 0.12 * (len(heights) - 1), sum(heights)
    axes, top = [ax], place.y1
    for k, part in enumerate(heights):
        box = (place.x0, top - height * part / total, place.width, height * part / total)
        if k:
            axes.append(figure.add_axes(box))
        else:
            ax.set_position(box)
        top = box[1] - 0.12
    return axes


def figure_of(ax: Axes) -> Figure:
    """The figure that axes stand on."""
    return cast("Figure", ax.get_figure(root=True))


def dress(ax: Axes, palette: Palette, *, xlabel: str, ylabel: str) -> None:
    """Give axes their colours and labels, whatever style the reader has set."""
    ax.set_facecolor(palette.page)
    ax.set_axisbelow(True)
    ax.grid(False, which="both")
    ax.grid(True, color=palette.grid, linewidth=0.6, linestyle="-")
    ax.tick_params(which="both", colors=palette.ink, labelsize=SMALL_SIZE, labelfontfamily=FONT)
    for side, spine in ax.spines.items():
        spine.set(color=palette.quiet, linewidth=0.8, visible=side in ("left", "bottom"))
    font: dict[str, Any] = {"fontsize": TEXT_SIZE, "color": palette.ink, "fontfamily": font_families()}
    ax.set_xlabel(xlabel, **font)
    ax.set_ylabel(ylabel, **font)


def write_head(
    ax: Axes, palette: Palette, *, title: str, subtitle: str = "", columns: int = 1, narrow: bool = False
) -> None:
    """Write title, subtitle and the key of what has a label, one above the other on top of axes, over no data.

    Args:
        ax: Axes whose plots are done.
        palette: Colours.
        title: Bold line.
        subtitle: Quiet line below it.
        columns: Of the key.
        narrow: Whether the key shows marks without lines, which need less room.
    """
    figure, above = figure_of(ax), _GAP
    width = max(ax.get_window_extent().width / figure.dpi, 3.0)
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        legend = ax.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=columns,
            frameon=False,
            borderaxespad=0.3,
            borderpad=0.0,
            labelspacing=0.3,
            handlelength=1.0 if narrow else 2.6,
            columnspacing=1.2,
            labelcolor=palette.ink,
            prop={"family": font_families(), "size": SMALL_SIZE},
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        above += legend.get_window_extent().height * 72 / figure.dpi + _GAP
    if subtitle:
        subtitle = wrap_text(subtitle, TEXT_SIZE, width)
        ax.annotate(
            subtitle,
            (0.0, 1.0),
            xycoords="axes fraction",
            xytext=(0.0, above),
            textcoords="offset points",
            fontsize=TEXT_SIZE,
            color=palette.quiet,
            fontfamily=font_families(),
            verticalalignment="bottom",
            parse_math=False,
            annotation_clip=False,
        )
        above += text_height(subtitle, TEXT_SIZE) * 72 + _GAP / 2
    ax.set_title(
        wrap_text(title, TITLE_SIZE, width, "bold"),
        loc="left",
        y=1.0,
        pad=above,
        fontsize=TITLE_SIZE,
        fontweight="bold",
        fontfamily=font_families(),
        color=palette.ink,
        parse_math=False,
    )


def halo(palette: Palette) -> list[Any]:
    """An outline in the colour of the page, that keeps text readable on lines."""
    effects = require("matplotlib.patheffects", extra="viz", purpose="Drawing")
    return [effects.withStroke(linewidth=2.5, foreground=palette.page)]


def font_families() -> list[str]:
    """The font of figures, and the reader's own for letters it lacks."""
    return [FONT, *require("matplotlib", extra="viz", purpose="Drawing").rcParams["font.family"]]


def format_rate(rate: float) -> str:
    """A share as per cent with three significant digits.

    Example:
        >>> format_rate(0.0078123), format_rate(float("nan"))
        ('0.781 %', 'not measurable')
    """
    return "not measurable" if math.isnan(rate) else f"{100 * rate:.3g} %"
