"""A figure of images whose labels look wrong, each with its number, given and proposed label, and score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from pairsim._common.arrays import check_count
from pairsim.data.image_sets import in_memory
from pairsim.images import Preprocessing
from pairsim.visual.page.pixels import fetch_separate, to_pixels
from pairsim.visual.page.text_styles import BAD_INK, BOLD, GOOD_INK, TEXT, Names, format_signed, name_of, shorten_names
from pairsim.visual.page.values import read_values
from pairsim.visual.pictures.picture_grid import Cell, draw_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pairsim.data.random import Int64Array

MAX_SUSPECTS = 48
"""Number of images drawn at most; the title gives the total if there were more."""
SUSPECTS_PER_ROW = 8

_MAX_NAME = 16


class Suspects(Protocol):
    """Columns `[n]` that rank images by suspicion, the most suspicious first, such as a `LabelAudit`."""

    @property
    def images(self) -> Int64Array:
        """Image numbers."""

    @property
    def given(self) -> npt.NDArray[Any]:
        """Labels of the images."""

    @property
    def proposed(self) -> npt.NDArray[Any]:
        """Labels proposed instead."""

    @property
    def score(self) -> npt.NDArray[np.float64]:
        """Degree of suspicion."""


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

    The number of each image is above it. Below it are the given label after a cross, the proposed label after an arrow,
    and the score. There are eight images in a row. Only images whose proposed label differs from their own are drawn,
    at most `MAX_SUSPECTS` (48); the title gives the total.

    Args:
        dataset: The dataset of the images; only those that are drawn are read.
        suspects: The ranking, as `audit_labels` returns it.
        count: Images to draw, at least 1.
        names: Names to write instead of labels, by label (`names[label]`); other labels are written as they are.
        preprocessing: Preprocessing of floating-point images, which is undone; or reads items that are pictures.
        title: Title of the figure.

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
    check_count(count, "count", 1, 24)
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
    pixels = to_pixels(fetch_separate(images, numbers.tolist(), preprocessing), preprocessing)
    names_of_rows = [name_of(label, names) for row in shown for label in (suspects.given[row], suspects.proposed[row])]
    texts = shorten_names(names_of_rows, _MAX_NAME)
    cells = [
        Cell(
            pictures={f"suspect {k}": pixels[k]},
            heading=(f"no. {suspects.images[row]}", BOLD),
            notes=[
                (f"✗ {texts[2 * k]}", TEXT.colored(BAD_INK)),
                (f"→ {texts[2 * k + 1]}", TEXT.colored(GOOD_INK)),
                (f"score {format_signed(score[row], 3)}", TEXT),
            ],
        )
        for k, row in enumerate(shown)
    ]
    heading = title or "Labels that look wrong"
    if len(shown) < len(ranked):
        heading += f": the first {len(shown)} of {len(ranked):,}"
    subtitle = "above: number of the image; below: ✗ given label, → proposed label"
    return draw_grid(cells, SUSPECTS_PER_ROW, title=heading, subtitle=subtitle, side=0.85, gaps=(0.2, 0.22))
