"""A figure of pictures in rows, each with text above and below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pairsim.visual.page.layout import BAD_INK, GOOD_INK, INK, QUIET_INK, Page, box_size
from pairsim.visual.page.pixels import Pixels
from pairsim.visual.page.text_layout import TEXT_SIZE, text_height, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Note: TypeAlias = tuple[str, str]
"""A line of text and its colour."""

_INNER_GAP, _ABOVE, _BELOW = 0.05, 0.03, 0.05
"""Inches between the pictures of a cell, and between pictures and text."""
_MIN_TITLE_WIDTH = 4.5


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a grid: an image, or two images side by side.

    Attributes:
        pixels: The images.
        labels: Label of the axes of each image.
        heading: Bold line above.
        heading_color: Its colour.
        notes: Lines below.
        verdict: Whether the cell is right, which is shown by the frame; None without a verdict.
        frame: Colour and line width of the frame of a cell without a verdict.
    """

    pixels: Sequence[Pixels]
    labels: Sequence[str]
    heading: str = ""
    heading_color: str = INK
    notes: Sequence[Note] = ()
    verdict: bool | None = None
    frame: tuple[str, float] = (QUIET_INK, 0.6)


def verdict_note(right: bool, text: str) -> Note:
    """Return a note that starts with a tick or a cross, which is also in its colour."""
    return (f"✓ {text}", GOOD_INK) if right else (f"✗ {text}", BAD_INK)


def draw_grid(
    cells: Sequence[Cell],
    max_columns: int,
    *,
    title: str,
    subtitle: str = "",
    side: float,
    gaps: tuple[float, float],
    first_gap: float = 0.0,
    size: float = TEXT_SIZE,
) -> Figure:
    """Draw cells in rows.

    Args:
        cells: At least one.
        max_columns: Cells in a row.
        title: Title of the figure.
        subtitle: Line below the title.
        side: Side in inches of a square with the area of an image.
        gaps: Inches between columns and between rows.
        first_gap: Additional inches after the first column.
        size: Font size of the text above and below images.

    Returns:
        A figure that belongs to no window.
    """
    columns = min(len(cells), max_columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    line, (column_gap, row_gap) = text_height("", size), gaps
    box_width, box_height = box_size([image for cell in cells for image in cell.pixels], side)
    pictures_width = len(cells[0].pixels) * (box_width + _INNER_GAP) - _INNER_GAP
    notes_width = max((text_width(text, size) for cell in cells for text, _ in cell.notes), default=0.0)
    cell_width = max(pictures_width, notes_width, *(text_width(cell.heading, size, "bold") for cell in cells))
    above = [line + _ABOVE if any(cell.heading for cell in row) else 0.0 for row in rows]
    below = _BELOW + max(len(cell.notes) for cell in cells) * line
    tops = [sum(above[:row]) + row * (box_height + below + row_gap) for row in range(len(rows))]

    page = Page(
        title,
        columns * (cell_width + column_gap) - column_gap + first_gap,
        tops[-1] + above[-1] + box_height + below,
        subtitle=subtitle,
        min_width=_MIN_TITLE_WIDTH,
    )
    for row, top, heading_height in zip(rows, tops, above, strict=True):
        for column, cell in enumerate(row):
            center = column * (cell_width + column_gap) + cell_width / 2 + (first_gap if column else 0.0)
            page.text(center, top, cell.heading, size=size, weight="bold", color=cell.heading_color, align="center")
            frame = cell.frame if cell.verdict is None else (GOOD_INK if cell.verdict else BAD_INK, 1.6)
            anchors: Sequence[Literal["C", "E", "W"]] = "C" if len(cell.pixels) == 1 else ("E", "W")
            for number, (image, label, anchor) in enumerate(zip(cell.pixels, cell.labels, anchors, strict=True)):
                left = center - pictures_width / 2 + number * (box_width + _INNER_GAP)
                box = (left, top + heading_height, box_width, box_height)
                page.picture(image, *box, label=label, frame=frame, anchor=anchor)
            for number, (text, color) in enumerate(cell.notes):
                note_top = top + heading_height + box_height + _BELOW + number * line
                page.text(center, note_top, text, size=size, color=color, align="center")
    return page.figure
