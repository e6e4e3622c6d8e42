"""A figure of pairs: two images, the target, and the predictions of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pairsim._common.arrays import BoolArray, Values
from pairsim.images import Preprocessing
from pairsim.visual.page.pixels import ImageTensorLike, separate_images, to_pixels
from pairsim.visual.page.text_styles import BOLD, TEXT, format_signed, name_of
from pairsim.visual.page.values import read_predictions, read_values
from pairsim.visual.pictures.picture_grid import Cell, Note, draw_grid, verdict_note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PAIRS = 24
"""Number of pairs drawn at most; the title gives the total if there were more."""
PAIRS_PER_ROW = 6

_MAX_NAME = 12


def draw_pairs(
    first: ImageTensorLike,
    second: ImageTensorLike,
    target: Values | None = None,
    *,
    similarity: Values | None = None,
    probability: Values | None = None,
    threshold: float | None = None,
    classes: Sequence[tuple[str, str]] | None = None,
    preprocessing: Preprocessing | None = None,
    title: str | None = None,
) -> Figure:
    """Draw pairs of images with the target above and the predictions of a model below them.

    There are six pairs in a row. At most the first `MAX_PAIRS` (24) are drawn; the title then gives the total. With a
    threshold, a pair is a match if `similarity >= threshold`; with targets as well, each pair is marked as correct or
    wrong.

    Args:
        first: First images `[N, C, H, W]`, one image, or a sequence of images (see `to_pixels`).
        second: As many second images.
        target: `[N]`, 1 = same class, 0 = different.
        similarity: `[N]` in [-1, 1].
        probability: `[N]` in [0, 1].
        threshold: Threshold of similarity, in [-1, 1].
        classes: `[N]` names of the classes of both images, written below them.
        preprocessing: Preprocessing of floating-point images, which is undone.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Each pair has two axes, labelled `first 0`, `second 0`, and so on.

    Raises:
        ValueError: If there is no pair, numbers of images and values differ, values are outside their range or not
            finite, or a threshold is given without similarities.
        TypeError: If images are not tensors.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> images = torch.rand(4, 1, 28, 28)
        >>> figure = draw_pairs(images[:2], images[2:], [1, 0], similarity=[0.9, 0.7], threshold=0.6)
        >>> len(figure.axes)
        4
    """
    firsts, seconds = separate_images(first, "first"), separate_images(second, "second")
    if len(firsts) != len(seconds):
        raise ValueError(
            f"Expected as many first as second images, got {len(firsts)} and {len(seconds)}. "
            "Pair k is first[k] with second[k]."
        )
    count = len(firsts)
    if not count:
        raise ValueError("Expected at least one pair, got none. Check what selected the pairs.")
    targets = None if target is None else _read_targets(target, count)
    predictions = read_predictions(count, similarity, probability, threshold)
    if classes is not None and len(classes) != count:
        raise ValueError(
            f"Expected {count} classes, two names for each pair, got {len(classes)}. Name those of every pair."
        )
    shown = min(count, MAX_PAIRS)
    pixels = to_pixels(firsts[:shown] + seconds[:shown], preprocessing)
    cells = []
    for k in range(shown):
        notes: list[Note] = []
        if classes is not None:
            notes.append((" | ".join(name_of(name, None, _MAX_NAME) for name in classes[k]), TEXT))
        if predictions.similarity is not None:
            notes.append((f"similarity {format_signed(predictions.similarity[k], 3)}", TEXT))
        if predictions.probability is not None:
            notes.append((f"probability {predictions.probability[k]:.3f}", TEXT))
        right = None
        if predictions.matches is not None and targets is not None:
            right = bool(predictions.matches[k] == targets[k])
            notes.append(verdict_note(right, "correct" if right else "wrong"))
        elif predictions.matches is not None:
            notes.append(("predicted same" if predictions.matches[k] else "predicted different", TEXT))
        cells.append(
            Cell(
                pixels=(pixels[k], pixels[shown + k]),
                labels=(f"first {k}", f"second {k}"),
                heading=None if targets is None else ("same" if targets[k] else "different", BOLD),
                notes=notes,
                verdict=right,
            )
        )
    heading = title or "Pairs of images"
    if shown < count:
        heading += f": the first {shown} of {count:,} pairs"
    subtitle = _describe(targets, predictions.matches, threshold)
    return draw_grid(cells, PAIRS_PER_ROW, title=heading, subtitle=subtitle, side=0.72, gaps=(0.26, 0.2))


def _read_targets(target: Values, count: int) -> BoolArray:
    values = read_values("target", target, count, "pair")
    wrong = np.flatnonzero((values != 0) & (values != 1))
    if wrong.size:
        raise ValueError(
            f"Expected target to be 1 (same class) or 0 (different), found {values[wrong[0]]:g} at index {wrong[0]}. "
            "Compare the labels of the two images."
        )
    same: BoolArray = values == 1
    return same


def _describe(targets: BoolArray | None, matches: BoolArray | None, threshold: float | None) -> str:
    """Describe what is written above the pairs, the rule of decision, and how many of all pairs are correct."""
    parts = [] if targets is None else ["above: target"]
    if matches is not None and threshold is not None:
        rule = f"match at similarity ≥ {format_signed(threshold, 3)}"
        correct = "" if targets is None else f": {int((matches == targets).sum()):,} of {len(targets):,} correct"
        parts.append(rule + correct)
    return "; ".join(parts)
