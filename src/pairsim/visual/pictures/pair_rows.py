"""A figure of pairs: the two images, the truth, and what a model says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pairsim._common.unit_similarity import lowest_match
from pairsim.images import Preprocessing
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
from pairsim.visual.page.pixels import ImageTensorLike, separate_images, to_pixels
from pairsim.visual.page.values import (
    Values,
    check_finite_threshold,
    format_signed,
    read_probability,
    read_similarity,
    read_values,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PAIRS = 24
"""Pairs that are drawn at most; the title says where there were more."""
PAIRS_PER_ROW = 6

_SIDE = 0.72
_INNER_GAP, _COLUMN_GAP, _ROW_GAP = 0.05, 0.26, 0.2
_LEAST_TITLE_WIDTH = 4.5
_LONGEST_NAME = 12


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
    """Draw pairs of images with the truth above and what the model says below them.

    Six pairs stand in a row; at most the first `MAX_PAIRS` (24) are drawn, and the title says so. With a threshold a
    pair is judged a match where `similarity >= threshold`, and marked correct or wrong where the target is given too.

    Args:
        first: First images `[N, C, H, W]`, one image, or a sequence of images (see `to_pixels`).
        second: As many second images.
        target: `[N]`, 1 = same class, 0 = different.
        similarity: `[N]` in [-1, 1].
        probability: `[N]` in [0, 1].
        threshold: Cut on similarity in [-1, 1].
        classes: `[N]` names of the classes of both images, written below them.
        preprocessing: What floating-point images went through, to undo it.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Of its axes, each pair has two, labelled `first 0`, `second 0`, and so on.

    Raises:
        ValueError: If there is no pair, numbers of images and values differ, values are outside their range or not
            finite, or a threshold comes without similarities.
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
    targets = None if target is None else _read_target(target, count)
    similarities = None if similarity is None else read_similarity(similarity, count, "pair")
    probabilities = None if probability is None else read_probability(probability, count, "pair")
    if threshold is not None:
        threshold = _read_threshold(threshold, similarity)

    if classes is not None and len(classes) != count:
        raise ValueError(
            f"Expected {count} classes, two names for each pair, got {len(classes)}. Name those of every pair."
        )
    matches = None if threshold is None or similarities is None else similarities >= lowest_match(threshold)
    shown = min(count, MAX_PAIRS)
    pixels = to_pixels(firsts[:shown] + seconds[:shown], preprocessing)
    titles = [title or "Pairs of images"]
    if shown < count:
        titles.append(f"the first {shown} of {count:,} pairs")
    subtitle = _describe(targets, matches, threshold)
    notes = [
        ([] if classes is None else [(" | ".join(shorten_text(str(n), _LONGEST_NAME) for n in classes[k]), INK)])
        + _notes(
            None if targets is None else bool(targets[k]),
            None if similarities is None else float(similarities[k]),
            None if probabilities is None else float(probabilities[k]),
            None if matches is None else bool(matches[k]),
        )
        for k in range(shown)
    ]
    return _lay_out(
        first=pixels[:shown],
        second=pixels[shown:],
        targets=targets,
        notes=notes,
        title=": ".join(titles),
        subtitle=subtitle,
    )


def _read_target(target: Values, count: int) -> npt.NDArray[np.bool_]:
    values = read_values("target", target, count, "pair")
    if not np.isin(values, (0.0, 1.0)).all():
        bad = int(np.flatnonzero(~np.isin(values, (0.0, 1.0)))[0])
        raise ValueError(
            f"Expected target to be 1 (same class) or 0 (different), found {values[bad]:g} at index {bad}. "
            "Compare the labels of the two images."
        )
    same: npt.NDArray[np.bool_] = values == 1.0
    return same


def _read_threshold(threshold: float, similarity: Values | None) -> float:
    if similarity is None:
        raise ValueError(
            "Expected similarity along with threshold, got none. Pass model.get_raw_similarity(first, second)."
        )
    return check_finite_threshold(threshold)


def _describe(
    targets: npt.NDArray[np.bool_] | None, matches: npt.NDArray[np.bool_] | None, threshold: float | None
) -> str:
    """The line below the title: how pairs are judged, and how many rightly, over all of them."""
    above = "" if targets is None else "above: the truth"
    if matches is None or threshold is None:
        return above
    rule = f"match at similarity ≥ {format_signed(threshold, 3)}"
    if targets is None:
        return rule
    return f"{above}; {rule}: {int((matches == targets).sum()):,} of {len(targets):,} correct"


def _notes(
    same: bool | None, similarity: float | None, probability: float | None, match: bool | None
) -> list[tuple[str, str]]:
    """Lines below a pair, each with its colour."""
    lines = []
    if similarity is not None:
        lines.append((f"similarity {format_signed(similarity, 3)}", INK))
    if probability is not None:
        lines.append((f"probability {probability:.3f}", INK))
    if match is not None:
        if same is None:
            lines.append(("judged same" if match else "judged different", INK))
        else:
            lines.append(("✓ correct", GOOD_INK) if match == same else ("✗ wrong", BAD_INK))
    return lines


def _lay_out(
    *,
    first: list[npt.NDArray[np.uint8]],
    second: list[npt.NDArray[np.uint8]],
    targets: npt.NDArray[np.bool_] | None,
    notes: list[list[tuple[str, str]]],
    title: str,
    subtitle: str,
) -> Figure:
    line = TEXT_SIZE * LINE_HEIGHT / 72
    box_width, box_height = box_size(first + second, _SIDE)
    pair_width = 2 * box_width + _INNER_GAP
    widest_note = max((text_width(text, TEXT_SIZE) for lines in notes for text, _ in lines), default=0.0)
    cell_width = max(pair_width, widest_note, 0.0 if targets is None else text_width("different", TEXT_SIZE, "bold"))
    above = 0.0 if targets is None else line + 0.03
    below = max(len(lines) for lines in notes) * line
    cell_height = above + box_height + 0.05 + below

    columns = min(len(first), PAIRS_PER_ROW)
    rows = -(-len(first) // columns)
    grid_width = columns * cell_width + (columns - 1) * _COLUMN_GAP
    room = max(grid_width, _LEAST_TITLE_WIDTH)
    title = wrap_text(title, TITLE_SIZE, room, "bold")
    subtitle = wrap_text(subtitle, TEXT_SIZE, room) if subtitle else ""
    width = max(grid_width, text_width(title, TITLE_SIZE, "bold"), text_width(subtitle, TEXT_SIZE)) + 2 * MARGIN
    grid_top = MARGIN + title_height(title, subtitle)
    page = Page(width, grid_top + rows * cell_height + (rows - 1) * _ROW_GAP + MARGIN)
    page.title(title, subtitle=subtitle)

    for k in range(len(first)):
        row, column = divmod(k, columns)
        top = grid_top + row * (cell_height + _ROW_GAP)
        cell_left = MARGIN + column * (cell_width + _COLUMN_GAP)
        center = cell_left + cell_width / 2
        left = center - pair_width / 2
        if targets is not None:
            page.text(center, top, "same" if targets[k] else "different", weight="bold", align="center")
        verdict = notes[k][-1][1] if notes[k] else INK
        judged = verdict in (GOOD_INK, BAD_INK)
        frame, frame_width = (verdict, 1.6) if judged else (QUIET_INK, 0.6)
        for name, image, x in (("first", first[k], left), ("second", second[k], left + box_width + _INNER_GAP)):
            page.picture(
                image,
                x,
                top + above,
                box_width,
                box_height,
                label=f"{name} {k}",
                frame=frame,
                frame_width=frame_width,
                anchor="E" if name == "first" else "W",
            )
        for number, (text, color) in enumerate(notes[k]):
            page.text(center, top + above + box_height + 0.05 + number * line, text, color=color, align="center")
    return page.figure
