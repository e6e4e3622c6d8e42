"""A sheet of images whose labels look wrong, each with its number, the two labels and the score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from pairsim.data.image_sets import fetch_images, in_memory
from pairsim.images import Preprocessing
from pairsim.visual.page.class_names import Names, name_of
from pairsim.visual.page.layout import (
    BAD_INK,
    GOOD_INK,
    INK,
    LINE_HEIGHT,
    MARGIN,
    QUIET_INK,
    TEXT_SIZE,
    TITLE_SIZE,
    Page,
    box_size,
    shorten_text,
    text_width,
    title_height,
    wrap_text,
)
from pairsim.visual.page.pixels import Pixels, separate_images, to_pixels
from pairsim.visual.page.values import Float64Array, format_signed, read_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pairsim.data.random import Int64Array

MAX_SUSPECTS = 48
"""Images that are drawn at most; the title says where there were more."""
SUSPECTS_PER_ROW = 8

_SIDE = 0.85
_COLUMN_GAP, _ROW_GAP = 0.2, 0.22
_LONGEST_NAME = 16
_LEAST_TITLE_WIDTH = 4.5


class Suspects(Protocol):
    """Columns `[n]` that rank images by suspicion, the most suspicious first, such as a `LabelAudit`."""

    @property
    def images(self) -> Int64Array:
        """Image numbers."""
        ...

    @property
    def given(self) -> npt.NDArray[Any]:
        """Labels that the images have."""
        ...

    @property
    def proposed(self) -> npt.NDArray[Any]:
        """Labels that are proposed for them."""
        ...

    @property
    def score(self) -> npt.NDArray[np.float64]:
        """How suspicious the labels are."""
        ...


def draw_suspects(
    dataset: Any,
    suspects: Suspects,
    *,
    count: int = 24,
    names: Names = None,
    preprocessing: Preprocessing | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the first images of a ranking of suspicious labels.

    Above each image stands its number, below it the given label after a cross, the proposed label after an arrow, and
    the score. Eight images stand in a row. Only images with another proposed label than their own are drawn, at most
    `MAX_SUSPECTS` (48); the title says how many there were.

    Args:
        dataset: Whose images the numbers count; only those that are drawn are read.
        suspects: The ranking, as `audit_labels` gives it.
        count: Images to draw, at least 1.
        names: Names to write instead of labels, by label (`names[label]`); a label without one is written as it is.
        preprocessing: What floating-point images went through, to undo it, or reads items that are pictures.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Its axes are labelled `suspect 0` and so on by rank.

    Raises:
        ValueError: If there is no suspect, `count` is below 1, the numbers do not fit the dataset, or images cannot be
            shown (see `to_pixels`).
        DataError: If items are not images.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> from pairsim.audits.label_audit import LabelAudit
        >>> images = ImageTensors(torch.rand(3, 28, 28), [0, 1, 1])
        >>> columns = {"given": np.array([1]), "proposed": np.array([0]), "score": np.array([0.9])}
        >>> figure = draw_suspects(images, LabelAudit(images=np.array([2]), **columns), names=["cat", "dog"])
        >>> [axes.get_label() for axes in figure.axes]
        ['suspect 0']
    """
    if count < 1:
        raise ValueError(f"Expected count to be at least 1, got {count}. Use 24, say.")
    images, score = in_memory(dataset), read_values("score", suspects.score, len(suspects.images), "image")
    ranked = np.flatnonzero(suspects.given != suspects.proposed)
    if not len(ranked):
        raise ValueError("Expected an image with another proposed label than its own, got none: no label looks wrong.")
    shown = ranked[: min(count, MAX_SUSPECTS)]
    numbers = suspects.images[shown]
    if numbers.min() < 0 or numbers.max() >= len(images):
        raise ValueError(
            f"Expected image numbers from 0 to {len(images) - 1}, got {numbers.min()} to {numbers.max()}. "
            "Pass the dataset that was audited."
        )
    parts = [part for number in numbers for part in separate_images(fetch_images(images, number[None], preprocessing))]
    heading = [title or "Labels that look wrong"]
    if len(shown) < len(ranked):
        heading.append(f"the first {len(shown)} of {len(ranked):,}")
    return _lay_out(
        to_pixels(parts, preprocessing),
        numbers=numbers,
        given=[name_of(label, names) for label in suspects.given[shown].tolist()],
        proposed=[name_of(label, names) for label in suspects.proposed[shown].tolist()],
        score=score[shown],
        title=": ".join(heading),
    )


def _lay_out(
    pixels: list[Pixels],
    *,
    numbers: Int64Array,
    given: list[str],
    proposed: list[str],
    score: Float64Array,
    title: str,
) -> Figure:
    line = TEXT_SIZE * LINE_HEIGHT / 72
    heads = [f"no. {number}" for number in numbers.tolist()]
    notes = [
        [
            (f"✗ {shorten_text(old, _LONGEST_NAME)}", BAD_INK),
            (f"→ {shorten_text(new, _LONGEST_NAME)}", GOOD_INK),
            (f"score {format_signed(value, 3)}", INK),
        ]
        for old, new, value in zip(given, proposed, score.tolist(), strict=True)
    ]
    box_width, box_height = box_size(pixels, _SIDE)
    widest = max(text_width(text, TEXT_SIZE) for lines in notes for text, _ in lines)
    cell_width = max(box_width, widest, *(text_width(head, TEXT_SIZE, "bold") for head in heads))
    above, below = line + 0.03, 0.05 + len(notes[0]) * line
    cell_height = above + box_height + below

    columns = min(len(pixels), SUSPECTS_PER_ROW)
    rows = -(-len(pixels) // columns)
    grid_width = columns * cell_width + (columns - 1) * _COLUMN_GAP
    room = max(grid_width, _LEAST_TITLE_WIDTH)
    title = wrap_text(title, TITLE_SIZE, room, "bold")
    subtitle = wrap_text("above: number of the image; below: ✗ given label, → proposed label", TEXT_SIZE, room)
    width = max(grid_width, text_width(title, TITLE_SIZE, "bold"), text_width(subtitle, TEXT_SIZE)) + 2 * MARGIN
    grid_top = MARGIN + title_height(title, subtitle)
    page = Page(width, grid_top + rows * cell_height + (rows - 1) * _ROW_GAP + MARGIN)
    page.title(title, subtitle=subtitle)
    for k, image in enumerate(pixels):
        row, column = divmod(k, columns)
        top = grid_top + row * (cell_height + _ROW_GAP)
        left = MARGIN + column * (cell_width + _COLUMN_GAP)
        center = left + cell_width / 2
        page.text(center, top, heads[k], weight="bold", align="center")
        page.picture(
            image, center - box_width / 2, top + above, box_width, box_height, label=f"suspect {k}", frame=QUIET_INK
        )
        for number, (text, color) in enumerate(notes[k]):
            page.text(center, top + above + box_height + 0.05 + number * line, text, color=color, align="center")
    return page.figure
