from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from figure_parts import axes_of, misplaced, texts, title
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pairsim.visual.page.text_styles import BAD_INK, BOLD, GOOD_INK, SMALL, TEXT
from pairsim.visual.pictures.picture_grid import Cell, draw_grid, verdict_note


def cell(number: int, images: int = 1, **options: Any) -> Cell:
    pictures = {f"{number} {k}": np.full((8, 8), 10 * number + k, dtype=np.uint8) for k in range(images)}
    return Cell(pictures=pictures, notes=[(f"note {number}", TEXT)], **options)


def draw(cells: list[Cell], columns: int = 3, **options: float) -> Figure:
    return draw_grid(cells, columns, title="Grid", subtitle="subtitle", side=0.7, gaps=(0.2, 0.3), **options)


def test_cells_are_in_rows_from_left_to_right() -> None:
    figure = draw([cell(number) for number in range(5)])
    assert title(figure) == "Grid"
    boxes = [axes_of(figure, f"{number} 0").get_position() for number in range(5)]
    assert len({round(box.y0, 6) for box in boxes[:3]}) == len({round(box.y0, 6) for box in boxes[3:]}) == 1
    assert boxes[0].y0 > boxes[3].y0
    assert boxes[0].x0 < boxes[1].x0 < boxes[2].x0
    assert boxes[0].x0 == pytest.approx(boxes[3].x0)
    assert [text for text in texts(figure) if text.startswith("note")] == [f"note {number}" for number in range(5)]
    assert not misplaced(figure)


def test_two_images_of_a_cell_are_side_by_side() -> None:
    figure = draw([cell(number, images=2) for number in range(2)])
    left, right = (axes_of(figure, label).get_position() for label in ("0 0", "0 1"))
    assert left.y0 == pytest.approx(right.y0)
    assert left.x1 < right.x0
    assert not misplaced(figure)


def test_headings_take_room_only_in_their_row() -> None:
    plain = draw([cell(number) for number in range(4)], columns=2)
    headed = draw([cell(number, heading=("head", BOLD) if number < 2 else None) for number in range(4)], columns=2)
    heights = [figure.get_size_inches()[1] for figure in (plain, headed)]
    assert heights[1] - heights[0] == pytest.approx(BOLD.height() + 0.03)
    assert texts(headed).count("head") == 2
    assert not misplaced(headed)


def test_the_first_column_may_stand_apart() -> None:
    lefts = []
    for gap in (0.0, 0.5):
        figure = draw([cell(number) for number in range(3)], first_gap=gap)
        width = figure.get_size_inches()[0]
        lefts.append([axes_of(figure, f"{number} 0").get_position().x0 * width for number in range(3)])
    assert np.diff(lefts, axis=0)[0].tolist() == pytest.approx([0.0, 0.5, 0.5])


def test_verdicts_are_a_symbol_and_a_colour_of_note_and_frame() -> None:
    figure = draw([cell(0, verdict=True), cell(1, verdict=False), cell(2, frame=("#123456", 1.0))])
    frames = [to_hex(axes_of(figure, f"{number} 0").spines["left"].get_edgecolor()).upper() for number in range(3)]
    assert frames == [GOOD_INK, BAD_INK, "#123456"]
    (tick, good), (cross, bad) = verdict_note(True, "yes"), verdict_note(False, "no", SMALL)
    assert (tick, good.color, cross, bad.color, bad.size) == ("✓ yes", GOOD_INK, "✗ no", BAD_INK, SMALL.size)
