"""A figure of one image beside one example of every class, ranked by similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values
from pairsim._common.unit_similarity import lowest_match
from pairsim.images import Preprocessing
from pairsim.visual.page.layout import Page, box_size, similarity_colormap
from pairsim.visual.page.pixels import ImageTensorLike, Pixels, one_image, separate_images, to_pixels
from pairsim.visual.page.text_styles import BOLD, INK, SMALL, SMALL_BOLD, TEXT, format_signed, format_tick, shorten_text
from pairsim.visual.page.values import check_finite_threshold, read_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

MAX_CLASSES = 20
"""Number of classes drawn at most, the most similar ones; the title gives the total if there were more."""
TRUE_CLASS = "★"
MATCH, NO_MATCH = "●", "○"

_QUERY_SIDE, _SIDE, _ROW_GAP, _GAP = 1.3, 0.4, 0.07, 0.14
_BAR_WIDTH, _SCALE_WIDTH, _SCALE_TICKS = 2.6, 0.14, 0.75
_MIN_SCALE_HEIGHT, _MAX_SCALE_HEIGHT = 1.3, 3.2
_MAX_NAME = 28


def draw_ranking(
    query: Tensor,
    examples: ImageTensorLike,
    names: Sequence[str],
    similarity: Values,
    probability: Values,
    *,
    threshold: float | None = None,
    preprocessing: Preprocessing | None = None,
    true_name: str | None = None,
    title: str | None = None,
) -> Figure:
    """Draw one image beside one example of every class, the most similar class first.

    Each row has the example, its rank, the class name, a bar with the length and colour of the similarity (see
    `similarity_colormap`), and the similarity and probability as numbers. With a threshold, a dashed line marks it, a
    full circle marks a match (`similarity >= threshold`) and an empty circle no match. The axis and the colour scale
    span [0, 1], or [-1, 1] if a similarity drawn or the threshold is negative. Classes of equal similarity keep their
    order. Of more than `MAX_CLASSES` (20) classes the most similar are drawn; the title then gives the total.

    Args:
        query: One image `[1, C, H, W]`, `[C, H, W]` or `[H, W]`, uint8 or floating point.
        examples: One image for each of N classes, `[N, C, H, W]` or a sequence of images (see `to_pixels`).
        names: `[N]` names of the classes; a name may occur more than once.
        similarity: `[N]` in [-1, 1], of the query to each example.
        probability: `[N]` in [0, 1], that both show the same class.
        threshold: Threshold of similarity in [-1, 1].
        preprocessing: Preprocessing of floating-point images, which is undone.
        true_name: Class of the query, one of `names`; its row is marked with a star.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Its axes are labelled `query`, `example 0` and so on by rank, `bars`, and
        `scale`.

    Raises:
        ValueError: If there is not exactly one query, there is no class, numbers of examples, names and values
            differ, values are outside their range or not finite, the threshold is not finite, or `true_name` is not
            among the names.
        TypeError: If images are not tensors.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> images = torch.rand(3, 1, 28, 28)
        >>> figure = draw_ranking(images[0], images[1:], ["cat", "dog"], [0.2, 0.9], [0.05, 0.98])
        >>> [axes.get_label() for axes in figure.axes]
        ['query', 'example 0', 'example 1', 'bars', 'scale']
    """
    image, parts = one_image(query, "query"), separate_images(examples, "examples")
    count = len(parts)
    if not count:
        raise ValueError("Expected an example of at least one class, got none. Check what selected the examples.")
    labels = [str(name) for name in names]
    if len(labels) != count:
        raise ValueError(
            f"Expected {count} names, one for each example, got {len(labels)}. Name the class of every example."
        )
    similarities = read_values("similarity", similarity, count, "example")
    probabilities = read_values("probability", probability, count, "example")
    if threshold is not None:
        check_finite_threshold(threshold)
    if true_name is not None and str(true_name) not in labels:
        raise ValueError(
            f"Expected true_name to be one of names, got {true_name!r}. Leave it out if that class has no example."
        )

    order = np.argsort(-similarities, kind="stable")
    top = order[:MAX_CLASSES].tolist()
    true = None if true_name is None else str(true_name)
    pixels = to_pixels([image, *(parts[k] for k in top)], preprocessing)
    rows = [
        _Row(picture, shorten_text(labels[k], _MAX_NAME), labels[k] == true, similarities[k], probabilities[k])
        for picture, k in zip(pixels[1:], top, strict=True)
    ]
    heading = title or "Classes ranked by similarity to the query"
    if len(top) < count:
        heading += f": the top {len(top)} of {count:,}"
    caption = "query"
    if true is not None:
        gap = " " if len(true) <= 8 else "\n"
        caption += f"\n{TRUE_CLASS} true class:{gap}{shorten_text(true, 18)}"
        rank = [labels[k] for k in order].index(true) + 1
        if rank > len(top):
            caption += f"\n(rank {rank:,}, not drawn)"
    return _lay_out(pixels[0], rows, threshold, heading, caption)


@dataclass(frozen=True)
class _Row:
    pixels: Pixels
    name: str
    is_true: bool
    similarity: float
    probability: float


def _lay_out(query: Pixels, rows: list[_Row], threshold: float | None, title: str, caption: str) -> Figure:
    line = TEXT.height()
    query_width, query_height = box_size([query], _QUERY_SIDE)
    box_width, box_height = box_size([row.pixels for row in rows], _SIDE)
    row_height = max(box_height, line) + _ROW_GAP
    scale_height = min(max(len(rows) * row_height, _MIN_SCALE_HEIGHT), _MAX_SCALE_HEIGHT)

    # The columns from left to right; numbers are aligned to the right.
    example_left = max(query_width, TEXT.width(caption)) + 2 * _GAP
    rank_right = example_left + box_width + _GAP + TEXT.width(str(len(rows)))
    star_left = rank_right + _GAP
    name_left = star_left + (TEXT.width(f"{TRUE_CLASS} ") + 0.06 if TRUE_CLASS in caption else 0.0)
    bar_left = name_left + BOLD.width("class", *(row.name for row in rows)) + 1.6 * _GAP
    similarity_right = bar_left + _BAR_WIDTH + _GAP + SMALL_BOLD.width("similarity")
    probability_right = similarity_right + _GAP + SMALL_BOLD.width("probability")
    match_left = probability_right + _GAP
    scale_left = match_left + 1.5 * _GAP + (0.0 if threshold is None else TEXT.width(MATCH) + _GAP)

    top = SMALL.height() + 0.06
    query_bottom = query_height + 0.06 + TEXT.height(caption)
    height = top + max(len(rows) * row_height + 0.48, scale_height + 0.1, query_bottom)
    rule = ""
    if threshold is not None:
        rule = f"dashed: threshold {format_signed(threshold, 3)}; {MATCH} match, {NO_MATCH} no match"
    page = Page(title, scale_left + _SCALE_WIDTH + _SCALE_TICKS, height, subtitle=rule)
    page.picture(query, (0.0, top, query_width, query_height), label="query", frame=(INK, 1.2))
    page.text(0.0, top + query_height + 0.05, caption)
    page.text(name_left, 0.0, "class", SMALL_BOLD.quiet)
    page.text(similarity_right, 0.0, "similarity", SMALL_BOLD.quiet, align="right")
    page.text(probability_right, 0.0, "probability", SMALL_BOLD.quiet, align="right")
    for number, row in enumerate(rows):
        middle = top + (number + 0.5) * row_height
        line_top = middle - line / 2
        page.picture(
            row.pixels, (example_left, middle - box_height / 2, box_width, box_height), label=f"example {number}"
        )
        page.text(rank_right, line_top, str(number + 1), TEXT.quiet, align="right")
        page.text(star_left, line_top, TRUE_CLASS if row.is_true else "")
        page.text(name_left, line_top, row.name, BOLD if row.is_true else TEXT)
        page.text(similarity_right, line_top, format_signed(row.similarity, 3), align="right")
        page.text(probability_right, line_top, f"{row.probability:.3f}", align="right")
        if threshold is not None:
            page.text(match_left, line_top, MATCH if row.similarity >= lowest_match(threshold) else NO_MATCH)
    bars = page.axes((bar_left, top, _BAR_WIDTH, len(rows) * row_height), label="bars")
    scale = page.axes((scale_left, top, _SCALE_WIDTH, scale_height), label="scale")
    _draw_bars(bars, scale, np.array([row.similarity for row in rows]), threshold)
    return page.figure


def _draw_bars(bars: Axes, scale: Axes, similarity: Float64Array, threshold: float | None) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low = -1.0 if min(*similarity, 0.0 if threshold is None else threshold) < 0 else 0.0
    mapping = ScalarMappable(norm=Normalize(low, 1.0), cmap=similarity_colormap())
    ticks = np.linspace(low, 1.0, 5).tolist()
    bars.set_axisbelow(True)
    bars.grid(True, axis="x", color="#D9D9D9", linewidth=0.6)
    look: dict[str, Any] = {"color": mapping.to_rgba(similarity), "edgecolor": INK, "linewidth": 0.6}
    bars.barh(range(len(similarity)), similarity, height=0.56, **look)
    bars.axvline(0.0, color=INK, linewidth=0.8)
    if threshold is not None:
        bars.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    bars.set(xlim=(low, 1.0), ylim=(len(similarity) - 0.5, -0.5), yticks=[])
    bars.spines[["top", "right", "left"]].set_visible(False)
    bar = bars.figure.colorbar(mapping, cax=scale)
    bar.outline.set(edgecolor=INK, linewidth=0.8)
    for axis in (bars.xaxis, scale.yaxis):
        axis.set_ticks(ticks, [format_tick(tick) for tick in ticks])
        axis.set_label_text("similarity (cosine)", **SMALL.properties())
