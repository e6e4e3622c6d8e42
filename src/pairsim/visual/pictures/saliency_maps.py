"""Draw which regions of two images add to their similarity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pairsim.audits.saliency import Map, PairSaliency, SaliencyMethod, prepared_image, similarity_saliency
from pairsim.images import PictureLike
from pairsim.models import SimilarityModel
from pairsim.visual.page.layout import (
    INK,
    MARGIN,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    Page,
    box_size,
    text_height,
    title_height,
    wrap_text,
)
from pairsim.visual.page.pixels import Pixels, to_pixels
from pairsim.visual.page.values import format_signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _GAP, _PAIR_GAP, _SCALE_GAP, _SCALE_WIDTH, _TICKS = 1.4, 0.08, 0.3, 0.25, 0.14, 0.6
_ROUNDING = 2e-6
"""What float32 leaves of a similarity that does not change."""
_COLORS = "PuOr_r"
"""Purple below zero, orange above: apart for all colour vision, and the lines say it too."""


def draw_saliency(
    model: SimilarityModel,
    first: PictureLike,
    second: PictureLike,
    *,
    method: SaliencyMethod = "occlusion",
    patch: int | None = None,
    stride: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw two images, each beside the map of how much its regions add to the similarity (see `similarity_saliency`).

    Both maps have one scale. A solid line surrounds regions that add more than half of its highest value, a dashed line
    those that take away as much; both are drawn on the images too.

    Args:
        model: Run in eval mode, and left as it is.
        first: A tensor `[C, H, W]`, uint8 pixels or preprocessed, or a path, PIL image or uint8 array.
        second: Likewise.
        method: `"occlusion"` or `"gradient"`.
        patch: Side of the patches in pixels, for `"occlusion"`; by default a seventh of the shorter side.
        stride: Pixels from one patch to the next; by default half a patch.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Its axes are labelled `first`, `first map`, `second`, `second map` and
        `scale`.

    Raises:
        ImageReadError: If a file cannot be read; the message names it.
        TypeError: If `model` is not a `SimilarityModel`.
        ValueError: As for `similarity_saliency`, or if images cannot be shown.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 28, 28)
        >>> figure = draw_saliency(SimilarityModel(), image, image.flip(2), method="gradient")
        >>> [axes.get_label() for axes in figure.axes]
        ['first', 'first map', 'second', 'second map', 'scale']
    """
    found = similarity_saliency(model, first, second, method=method, patch=patch, stride=stride)
    pixels = [
        to_pixels(prepared_image(model, image, name), model.preprocessing)[0]
        for image, name in ((first, "first"), (second, "second"))
    ]
    heading = f"{title or 'What makes two images alike'}: similarity {format_signed(found.similarity, 3)}"
    return _lay_out(pixels, found, heading)


def _method(found: PairSaliency) -> str:
    if found.method == "gradient":
        return "gradient × input: the slope of the similarity at each pixel, times its value"
    return (
        f"occlusion: how much the similarity falls where patches of {found.patch} × {found.patch} pixels are replaced "
        "by their local mean"
    )


def _lay_out(pixels: list[Pixels], found: PairSaliency, heading: str) -> Figure:
    boxes = [box_size([image], _SIDE) for image in pixels]
    tall = max(height for _, height in boxes)
    grid_width = sum(2 * width + _GAP for width, _ in boxes) + _PAIR_GAP
    width = grid_width + _SCALE_GAP + _SCALE_WIDTH + _TICKS + 2 * MARGIN
    room = width - 2 * MARGIN
    heading, how = wrap_text(heading, TITLE_SIZE, room, "bold"), wrap_text(_method(found), TEXT_SIZE, room)
    limit = max(float(np.abs(one).max()) for one in (found.first, found.second))
    if limit > _ROUNDING:
        lines = "solid line: adds more than half of the scale's highest value; dashed line: takes away as much"
    else:
        limit, lines = 0.0, "No region changes the similarity."
    below = wrap_text(lines, TEXT_SIZE, room)
    top = MARGIN + title_height(heading, how)
    grid_top = top + text_height("", SMALL_SIZE) + 0.03
    page = Page(width, grid_top + tall + 0.12 + text_height(below, TEXT_SIZE) + MARGIN)
    page.title(heading, subtitle=how)
    left, shown = MARGIN, None
    for name, image, values, (across, high) in zip(
        ("first", "second"), pixels, (found.first, found.second), boxes, strict=True
    ):
        for label in (name, f"{name} map"):
            page.text(left + across / 2, top, label, size=SMALL_SIZE, weight="bold", align="center")
            place = (left, grid_top + (tall - high) / 2, across, high)
            axes = page.picture(image, *place, label=label)
            if label != name:
                shown = axes.imshow(values, cmap=_COLORS, vmin=-(limit or 1.0), vmax=limit or 1.0, aspect="equal")
            _outline(axes, values, limit / 2)
            left += across + _GAP
        left += _PAIR_GAP - _GAP
    scale = page.axes(left - _PAIR_GAP + _SCALE_GAP, grid_top, _SCALE_WIDTH, tall, label="scale")
    assert shown is not None
    bar = page.figure.colorbar(shown, cax=scale, ticks=[-limit, -limit / 2, 0.0, limit / 2, limit] if limit else [0.0])
    digits = max(2, 1 - math.floor(math.log10(limit))) if limit else 1
    bar.ax.set_yticklabels([format_signed(value, digits) for value in bar.get_ticks()])
    if limit:
        for level, style in ((limit / 2, "solid"), (-limit / 2, "dashed")):
            scale.axhline(level, color=INK, linestyle=style, linewidth=1.0)
    page.text(MARGIN, grid_top + tall + 0.12, below, size=TEXT_SIZE)
    return page.figure


def _outline(axes: Axes, values: Map, level: float) -> None:
    """Lines around what is beyond the level, dark on white, so that they show on every image."""
    framed = np.pad(values, 1, constant_values=0.0)  # a region at the edge is closed, too
    rows, columns = (np.arange(-1, side + 1).clip(-0.4, side - 0.6) for side in values.shape)
    for sign, style in ((1.0, "solid"), (-1.0, "dashed")):
        if level > 0 and (sign * values).max() > level:
            for color, thickness in (("white", 2.6), (INK, 1.2)):
                axes.contour(
                    columns, rows, sign * framed, [level], colors=color, linewidths=thickness,
                    linestyles="solid" if color == "white" else style,
                )  # fmt: skip
