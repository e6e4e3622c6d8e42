"""Colours, line styles and markers of figures of numbers, light and dark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pairsim.visual.page.text_styles import INK, QUIET_INK

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


_PALETTES: Mapping[str, Palette] = {
    "light": Palette(
        page="#FFFFFF",
        ink=INK,
        quiet=QUIET_INK,
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
_DASHES = ((5, 2), (1, 1.3), (7, 2, 1.5, 2), (9, 3), (3, 1, 1, 1, 1, 1))
LINES: tuple[Any, ...] = ("-", *((0, dashes) for dashes in _DASHES), ":")
"""Line styles, one for each colour."""
THRESHOLD_LINE = (0, (8, 2, 2, 2))
"""Line style of thresholds and of the best epoch."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
"""Markers. Their number and that of the colours have no common factor, so that both together identify 77 classes."""


def palette_of(style: Style) -> Palette:
    """Return the colours of a style.

    Raises:
        ValueError: If the style is unknown.
    """
    if style not in _PALETTES:
        raise ValueError(f'Expected style "light" or "dark", got {style!r}. Choose one of them.')
    return _PALETTES[style]
