"""A figure of pictures in rows, each with text above and below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pairsim.visual.page.layout import QUIET_FRAME, Frame, Page, Size, box_size
from pairsim.visual.page.pixels import Pixels
from pairsim.visual.page.text_styles import BAD_INK, GOOD_INK, TEXT, TextStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Note: TypeAlias = tuple[str, TextStyle]
"""A line of text and its style."""

_INNER_GAP, _ABOVE, _BELOW = 0.05, 0.03, 0.05
"""Inches between the pictures of a cell, and between pictures and text."""
_MIN_TITLE_WIDTH = 4.5


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a grid: an image, or two images side by side.

    Attributes:
        pictures: The images, by the label of their axes.
        heading: Line above.
        notes: Lines below.
        verdict: Whether the cell is right, which is shown by the frame; None without a verdict.
        frame: Colour and line width of the frame of a cell without a verdict.
    """

    pictures: Mapping[str, Pixels]
    heading: Note | None = None
    notes: Sequence[Note] = ()
    verdict: bool | None = None
    frame: Frame = QUIET_FRAME


def verdict_note(right: bool, text: str, style: TextStyle = TEXT) -> Note:
    """Return a note with a tick or a cross, and in the colour of that verdict."""
    return (f"✓ {text}", style.colored(GOOD_INK)) if right else (f"✗ {text}", style.colored(BAD_INK))


def draw_grid(
    cells: Sequence[Cell], columns: int, *, title: str, subtitle: str, side: float, gaps: Size, first_gap: float = 0.0
) -> Figure:
    """Draw cells in rows.

    Args:
        cells: At least one.
        columns: Cells in a row.
        title: Title of the figure.
        subtitle: Line below the title.
        side: Side in inches of a square with the area of an image.
        gaps: Inches between columns and between rows.
        first_gap: Additional inches after the first column.

    Returns:
        A figure that belongs to no window.
    """
    columns = min(len(cells), columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    column_gap, row_gap = gaps
    box_width, box_height = box_size([image for cell in cells for image in cell.pictures.values()], side)
    pictures_width = len(cells[0].pictures) * (box_width + _INNER_GAP) - _INNER_GAP
    lines = [line for cell in cells for line in (cell.heading, *cell.notes) if line]
    cell_width = max(pictures_width, *(style.width(text) for text, style in lines), 0.0)
    above = [max(cell.heading[1].height() + _ABOVE if cell.heading else 0.0 for cell in row) for row in rows]
    below = _BELOW + max(sum(style.height() for _, style in cell.notes) for cell in cells)
    tops = [sum(above[:row]) + row * (box_height + below + row_gap) for row in range(len(rows))]

    width = columns * (cell_width + column_gap) - column_gap + first_gap
    height = tops[-1] + above[-1] + box_height + below
    page = Page(title, width, height, subtitle=subtitle, min_width=_MIN_TITLE_WIDTH)
    for row, row_top, heading_height in zip(rows, tops, above, strict=True):
        for column, cell in enumerate(row):
            center = column * (cell_width + column_gap) + cell_width / 2 + (first_gap if column else 0.0)
            if cell.heading:
                page.text(center, row_top, *cell.heading, align="center")
            top = row_top + heading_height
            frame = cell.frame if cell.verdict is None else (GOOD_INK if cell.verdict else BAD_INK, 1.6)
            anchors: Sequence[Literal["C", "E", "W"]] = ("C",) if len(cell.pictures) == 1 else ("E", "W")
            for number, (label, image) in enumerate(cell.pictures.items()):
                left = center - pictures_width / 2 + number * (box_width + _INNER_GAP)
                box = (left, top, box_width, box_height)
                page.picture(image, box, label=label, frame=frame, anchor=anchors[number])
            top += box_height + _BELOW
            for text, style in cell.notes:
                page.text(center, top, text, style, align="center")
                top += style.height()
    return page.figure
