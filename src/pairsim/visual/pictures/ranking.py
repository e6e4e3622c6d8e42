"""A figure of one image beside one example of every class, ranked by similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pairsim._common.unit_similarity import lowest_match
from pairsim.errors import require
from pairsim.images import Preprocessing
from pairsim.visual.page.layout import (
    FONT,
    INK,
    MARGIN,
    QUIET_INK,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    Page,
    box_size,
    shorten_text,
    similarity_colormap,
    text_height,
    text_width,
    title_height,
    wrap_text,
)
from pairsim.visual.page.pixels import ImageTensorLike, separate_images, to_pixels
from pairsim.visual.page.values import (
    Float64Array,
    Values,
    check_finite_threshold,
    format_signed,
    read_probability,
    read_similarity,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from pairsim.visual.page.pixels import Pixels

MAX_CLASSES = 20
"""Classes that are drawn at most, the most similar ones; the title says where there were more."""
TRUE_CLASS = "★"
MATCH, NO_MATCH = "●", "○"

_QUERY_SIDE, _SIDE, _ROW_GAP, _GAP = 1.3, 0.4, 0.07, 0.14
_BAR_WIDTH, _SCALE_WIDTH = 2.6, 0.14
_LEAST_SCALE_HEIGHT, _MOST_SCALE_HEIGHT = 1.3, 3.2
_LONGEST_NAME = 28


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

    Each row has the example, its rank, the class name, a bar as long and as coloured as the similarity (see
    `similarity_colormap`), and the similarity and probability as numbers. With a threshold a dashed line marks it, a
    full circle what matches (`similarity >= threshold`) and an empty one what does not. The axis and the colour scale
    span [0, 1], or [-1, 1] if any similarity drawn or the threshold is negative. Classes of equal similarity keep the
    order they are given in. Of more than `MAX_CLASSES` (20) classes the most similar are drawn, and the title says so.

    Args:
        query: One image `[1, C, H, W]`, `[C, H, W]` or `[H, W]`, uint8 or floating point.
        examples: One image for each of N classes, `[N, C, H, W]` or a sequence of images (see `to_pixels`).
        names: `[N]` names of the classes; one may occur more than once.
        similarity: `[N]` in [-1, 1], of the query to each example.
        probability: `[N]` in [0, 1], that both show the same class.
        threshold: Cut on similarity in [-1, 1].
        preprocessing: What floating-point images went through, to undo it.
        true_name: Class of the query, one of `names`; its row is marked with a star.
        title: Title of the figure; a plain one by default.

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
    queries, parts = separate_images(query, "query"), separate_images(examples, "examples")
    if len(queries) != 1:
        raise ValueError(f"Expected one image as query, got {len(queries)}. Draw one figure for each.")
    count = len(parts)
    if not count:
        raise ValueError("Expected an example of at least one class, got none. Check what selected the examples.")
    labels = [str(name) for name in names]
    if len(labels) != count:
        raise ValueError(
            f"Expected {count} names, one for each example, got {len(labels)}. Name the class of every example."
        )
    similarities = read_similarity(similarity, count, "example")
    probabilities = read_probability(probability, count, "example")
    if threshold is not None:
        check_finite_threshold(threshold)
    if true_name is not None and str(true_name) not in labels:
        raise ValueError(
            f"Expected true_name to be one of names, got {true_name!r}. Leave it out if that class has no example."
        )

    order = np.argsort(-similarities, kind="stable")
    top = order[:MAX_CLASSES]
    pixels = to_pixels(queries + [parts[k] for k in top], preprocessing)
    heading = title or "Classes ranked by similarity to the query"
    if len(top) < count:
        heading += f": the top {len(top)} of {count:,}"
    true = None if true_name is None else str(true_name)
    caption = ["query"]
    if true is not None:
        gap = " " if len(true) <= 8 else "\n"
        caption.append(f"{TRUE_CLASS} true class:{gap}{shorten_text(true, 18)}")
        rank = 1 + next(place for place, k in enumerate(order) if labels[k] == true)
        if rank > len(top):
            caption.append(f"(rank {rank:,}, not drawn)")
    return _lay_out(
        pixels[0],
        pixels[1:],
        [labels[k] for k in top],
        similarities[top],
        probabilities[top],
        threshold=threshold,
        true=true,
        title=heading,
        caption="\n".join(caption),
    )


def _lay_out(
    query: Pixels,
    examples: list[Pixels],
    names: list[str],
    similarity: Float64Array,
    probability: Float64Array,
    *,
    threshold: float | None,
    true: str | None,
    title: str,
    caption: str,
) -> Figure:
    count = len(examples)
    query_width, query_height = box_size([query], _QUERY_SIDE)
    box_width, box_height = box_size(examples, _SIDE)
    row_height = max(box_height, text_height("", TEXT_SIZE)) + _ROW_GAP
    shown_names = [shorten_text(name, _LONGEST_NAME) for name in names]
    star_width = 0.0 if true is None else text_width(f"{TRUE_CLASS} ", TEXT_SIZE) + 0.06
    name_width = max(text_width(name, TEXT_SIZE, "bold") for name in [*shown_names, "class"])
    number_width = text_width("similarity", SMALL_SIZE, "bold")
    chance_width = text_width("probability", SMALL_SIZE, "bold")
    scale_height = min(max(count * row_height, _LEAST_SCALE_HEIGHT), _MOST_SCALE_HEIGHT)

    query_column = max(query_width, text_width(caption, TEXT_SIZE))
    example_left = MARGIN + query_column + 2 * _GAP
    rank_right = example_left + box_width + _GAP + text_width(str(count), TEXT_SIZE)
    star_left = rank_right + _GAP
    name_left = star_left + star_width
    bar_left = name_left + name_width + 1.6 * _GAP
    number_right = bar_left + _BAR_WIDTH + _GAP + number_width
    chance_right = number_right + _GAP + chance_width
    verdict_left = chance_right + _GAP
    verdict_width = 0.0 if threshold is None else text_width(MATCH, TEXT_SIZE) + _GAP
    scale_left = chance_right + verdict_width + 2.5 * _GAP
    width = scale_left + _SCALE_WIDTH + 0.75 + MARGIN

    title = wrap_text(title, TITLE_SIZE, width - 2 * MARGIN, "bold")
    rule = ""
    if threshold is not None:
        rule = f"dashed: threshold {format_signed(threshold, 3)}; {MATCH} match, {NO_MATCH} no match"
        rule = wrap_text(rule, TEXT_SIZE, width - 2 * MARGIN)
    head_top = MARGIN + title_height(title, rule)
    top = head_top + text_height("", SMALL_SIZE) + 0.06
    tall = max(
        count * row_height + 0.48,
        scale_height + 0.1,
        query_height + 0.06 + text_height(caption, TEXT_SIZE),
    )
    page = Page(width, top + tall + MARGIN)
    page.title(title, subtitle=rule)

    page.picture(query, MARGIN, top, query_width, query_height, label="query", frame=INK, frame_width=1.2)
    page.text(MARGIN, top + query_height + 0.05, caption)
    page.text(name_left, head_top, "class", size=SMALL_SIZE, weight="bold", color=QUIET_INK)
    for text, right in (("similarity", number_right), ("probability", chance_right)):
        page.text(right, head_top, text, size=SMALL_SIZE, weight="bold", color=QUIET_INK, align="right")
    for row, (image, name) in enumerate(zip(examples, names, strict=True)):
        row_top = top + row * row_height
        line_top = row_top + (row_height - text_height("", TEXT_SIZE)) / 2
        image_top = row_top + (row_height - box_height) / 2
        page.picture(image, example_left, image_top, box_width, box_height, label=f"example {row}")
        page.text(rank_right, line_top, str(row + 1), color=QUIET_INK, align="right")
        is_true = true is not None and name == true
        if is_true:
            page.text(star_left, line_top, TRUE_CLASS)
        page.text(name_left, line_top, shown_names[row], weight="bold" if is_true else "normal")
        page.text(number_right, line_top, format_signed(similarity[row], 3), align="right")
        page.text(chance_right, line_top, f"{probability[row]:.3f}", align="right")
        if threshold is not None:
            page.text(verdict_left, line_top, MATCH if similarity[row] >= lowest_match(threshold) else NO_MATCH)

    low = -1.0 if min(similarity.min(), 0.0 if threshold is None else threshold) < 0 else 0.0
    bars = page.axes(bar_left, top, _BAR_WIDTH, count * row_height, label="bars")
    scale = page.axes(scale_left, top, _SCALE_WIDTH, scale_height, label="scale")
    _draw_bars(bars, scale, similarity, low)
    if threshold is not None:
        bars.axvline(threshold, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    return page.figure


def _draw_bars(bars: Axes, scale: Axes, similarity: Float64Array, low: float) -> None:
    cm = require("matplotlib.cm", extra="viz", purpose="Drawing")
    colors = require("matplotlib.colors", extra="viz", purpose="Drawing")
    mapping = cm.ScalarMappable(norm=colors.Normalize(low, 1.0), cmap=similarity_colormap())
    ticks: npt.NDArray[np.float64] = np.linspace(low, 1.0, 5)
    places = np.arange(len(similarity))
    bars.set_axisbelow(True)
    bars.grid(True, axis="x", color="#D9D9D9", linewidth=0.6)
    bars.barh(places, similarity, height=0.56, color=mapping.to_rgba(similarity), edgecolor=INK, linewidth=0.6)
    bars.axvline(0.0, color=INK, linewidth=0.8)
    bars.set(xlim=(low, 1.0), ylim=(len(similarity) - 0.5, -0.5), yticks=[])
    tick_texts = [f"{tick:g}".replace("-", "−") for tick in ticks]
    bars.set_xticks(ticks, tick_texts)
    bars.set_xlabel("similarity (cosine)", fontsize=SMALL_SIZE, color=INK, fontfamily=FONT)
    for side in ("top", "right", "left"):
        bars.spines[side].set_visible(False)
    bar = bars.figure.colorbar(mapping, cax=scale, ticks=ticks)
    bar.set_ticklabels(tick_texts)
    bar.set_label("similarity (cosine)", fontsize=SMALL_SIZE, color=INK, fontfamily=FONT)
    bar.outline.set(edgecolor=INK, linewidth=0.8)
