"""Figures of one image beside one example of every class, ranked by given similarities or by those of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values
from pairsim._common.unit_similarity import lowest_match
from pairsim.data.image_sets import in_memory
from pairsim.data.labels import read_labels
from pairsim.images import Preprocessing
from pairsim.models import SimilarityModel
from pairsim.visual.page.layout import Page, box_size, similarity_colormap
from pairsim.visual.page.pixels import ImageTensorLike, embed, fetch_separate, one_image, separate_images, to_pixels
from pairsim.visual.page.text_styles import (
    BOLD,
    INK,
    SMALL_BOLD,
    TEXT,
    Names,
    format_signed,
    label_axis,
    name_of,
    shorten_names,
    shorten_text,
)
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
    labels = [name_of(name) for name in names]
    if len(labels) != count:
        raise ValueError(
            f"Expected {count} names, one for each example, got {len(labels)}. Name the class of every example."
        )
    similarities = read_values("similarity", similarity, count, "example")
    probabilities = read_values("probability", probability, count, "example")
    check_finite_threshold(threshold)
    true = None if true_name is None else name_of(true_name)
    if true not in (None, *labels):
        raise ValueError(
            f"Expected true_name to be one of names, got {true_name!r}. Leave it out if that class has no example."
        )

    order = np.argsort(-similarities, kind="stable").tolist()
    drawn = order[:MAX_CLASSES]
    query_pixels, *pixels = to_pixels([image, *(parts[k] for k in drawn)], preprocessing)
    texts = shorten_names([labels[k] for k in drawn], _MAX_NAME)
    heading = title or "Classes ranked by similarity to the query"
    if len(drawn) < count:
        heading += f": the top {len(drawn)} of {count:,}"
    caption = "query"
    if true is not None:
        gap = " " if len(true) <= 8 else "\n"
        caption += f"\n{TRUE_CLASS} true class:{gap}{shorten_text(true, 18)}"
        rank = [labels[k] for k in order].index(true) + 1
        if rank > len(drawn):
            caption += f"\n(rank {rank:,}, not drawn)"

    line = TEXT.height()
    query_width, query_height = box_size([query_pixels], _QUERY_SIDE)
    box_width, box_height = box_size(pixels, _SIDE)
    row_height = max(box_height, line) + _ROW_GAP
    scale_height = min(max(len(drawn) * row_height, _MIN_SCALE_HEIGHT), _MAX_SCALE_HEIGHT)

    # The columns from left to right; numbers are aligned to the right.
    example_left = max(query_width, TEXT.width(caption)) + 2 * _GAP
    rank_right = example_left + box_width + _GAP + TEXT.width(str(len(drawn)))
    star_left = rank_right + _GAP
    name_left = star_left + (TEXT.width(f"{TRUE_CLASS} ") + 0.06 if TRUE_CLASS in caption else 0.0)
    bar_left = name_left + BOLD.width("class", *texts) + 1.6 * _GAP
    similarity_right = bar_left + _BAR_WIDTH + _GAP + SMALL_BOLD.width("similarity")
    probability_right = similarity_right + _GAP + SMALL_BOLD.width("probability")
    match_left = probability_right + _GAP
    scale_left = match_left + 1.5 * _GAP + (0.0 if threshold is None else TEXT.width(MATCH) + _GAP)

    top = SMALL_BOLD.height() + 0.06
    query_bottom = query_height + 0.06 + TEXT.height(caption)
    height = top + max(len(drawn) * row_height + 0.48, scale_height + 0.1, query_bottom)
    rule = ""
    if threshold is not None:
        rule = f"dashed: threshold {format_signed(threshold, 3)}; {MATCH} match, {NO_MATCH} no match"
    page = Page(heading, scale_left + _SCALE_WIDTH + _SCALE_TICKS, height, subtitle=rule)
    page.picture(query_pixels, (0.0, top, query_width, query_height), label="query", frame=(INK, 1.2))
    page.text(0.0, top + query_height + 0.05, caption)
    page.text(name_left, 0.0, "class", SMALL_BOLD.quiet)
    page.text(similarity_right, 0.0, "similarity", SMALL_BOLD.quiet, align="right")
    page.text(probability_right, 0.0, "probability", SMALL_BOLD.quiet, align="right")
    for number, k in enumerate(drawn):
        middle = top + (number + 0.5) * row_height
        line_top, is_true = middle - line / 2, labels[k] == true
        box = (example_left, middle - box_height / 2, box_width, box_height)
        page.picture(pixels[number], box, label=f"example {number}")
        page.text(rank_right, line_top, str(number + 1), TEXT.quiet, align="right")
        page.text(star_left, line_top, TRUE_CLASS if is_true else "")
        page.text(name_left, line_top, texts[number], BOLD if is_true else TEXT)
        page.text(similarity_right, line_top, format_signed(similarities[k], 3), align="right")
        page.text(probability_right, line_top, f"{probabilities[k]:.3f}", align="right")
        if threshold is not None:
            page.text(match_left, line_top, MATCH if similarities[k] >= lowest_match(threshold) else NO_MATCH)
    bars = page.axes((bar_left, top, _BAR_WIDTH, len(drawn) * row_height), label="bars")
    scale = page.axes((scale_left, top, _SCALE_WIDTH, scale_height), label="scale")
    _draw_bars(bars, scale, similarities[drawn], threshold)
    return page.figure


def draw_class_ranking(
    model: SimilarityModel,
    query: Tensor,
    examples: ImageTensorLike | Any,
    *,
    names: Names = None,
    true_label: int | str | None = None,
    threshold: float | None = None,
    title: str | None = None,
) -> Figure:
    """Compare one image with one example of every class, and draw the classes by similarity, the highest first.

    Draws with `draw_ranking`: each class has its example, rank, name, a bar, the similarity and probability as numbers,
    and a circle that is full for a match. Of more than `MAX_CLASSES` (20) classes the nearest are drawn; the title
    then gives the total.

    Args:
        model: Computes similarity and probability; also has the threshold if none is given.
        query: One image `[1, C, H, W]`, `[C, H, W]` or `[H, W]`, uint8 pixels of any size or preprocessed.
        examples: One image for each class as a tensor or a sequence of tensors, with the labels 0, 1 and so on; or a
            labelled dataset, whose first image of every class is used.
        names: Names of the classes, by label (`names[label]`); other labels are written as they are.
        true_label: Label of the query; its class is marked with a star.
        threshold: Threshold of similarity in [-1, 1]; by default the model's own, if it has one.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Its axes are labelled `query`, `example 0` and so on by rank, `bars`, and
        `scale`.

    Raises:
        TypeError: If `model` is not a `SimilarityModel`, or images are not tensors.
        ValueError: If there is not exactly one query, there is no class, images do not fit the model, the threshold
            is not finite, or `true_label` has no example.
        DataError: If the labels of a dataset cannot be read, or its items are not images.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
        >>> figure = draw_class_ranking(SimilarityModel(), images[0], images[1:], names=["cat", "dog"], true_label=1)
        >>> [axes.get_label() for axes in figure.axes]
        ['query', 'example 0', 'example 1', 'bars', 'scale']
    """
    image = one_image(query, "query")
    if hasattr(examples, "__getitem__") and not hasattr(examples, "ndim") and not isinstance(examples, list | tuple):
        dataset = in_memory(examples)
        found, indices = np.unique(read_labels(dataset, None), return_index=True)
        pictures, labels = fetch_separate(dataset, indices.tolist(), model.preprocessing), found.tolist()
    else:
        pictures = separate_images(examples, "examples")
        labels = list(range(len(pictures)))
    if labels and true_label is not None and true_label not in labels:
        raise ValueError(
            f"Expected true_label to be the label of an example, got {true_label!r}. Leave it out if there is none."
        )
    similarity = (embed(model, [image], "query") @ embed(model, pictures, "examples").T)[0].clamp(-1.0, 1.0)
    if threshold is None and math.isfinite(model.threshold):
        threshold = model.threshold
    return draw_ranking(
        image,
        pictures,
        [name_of(label, names) for label in labels],
        similarity,
        model.probability(similarity),
        threshold=threshold,
        preprocessing=model.preprocessing,
        true_name=None if true_label is None else name_of(true_label, names),
        title=title,
    )


def _draw_bars(bars: Axes, scale: Axes, similarity: Float64Array, threshold: float | None) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low = -1.0 if min(*similarity, 0.0 if threshold is None else threshold) < 0 else 0.0
    mapping = ScalarMappable(norm=Normalize(low, 1.0), cmap=similarity_colormap())
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
        label_axis(axis, "similarity (cosine)", np.linspace(low, 1.0, 5).tolist())
