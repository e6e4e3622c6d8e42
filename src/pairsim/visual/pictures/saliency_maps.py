"""A figure of the regions of two images that contribute to their similarity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pairsim.audits.saliency import Map, SaliencyMethod, prepared_image, similarity_saliency
from pairsim.images import PictureLike
from pairsim.models import SimilarityModel
from pairsim.visual.page.layout import Page, box_size
from pairsim.visual.page.pixels import to_pixels
from pairsim.visual.page.text_styles import INK, SMALL_BOLD, TEXT, format_signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _GAP, _PAIR_GAP, _SCALE_GAP, _SCALE_WIDTH, _TICKS = 1.4, 0.08, 0.3, 0.25, 0.14, 0.6
_ROUNDING = 2e-6
"""Rounding error in float32 of a similarity that does not change."""
_COLORS = "PuOr_r"
"""Purple below zero, orange above: different for all colour vision; lines show the same."""


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

    Both maps have the same scale. Regions that add more than half of its highest value have a solid outline, those that
    subtract as much a dashed one; the outlines are also drawn on the images.

    Args:
        model: The model; it runs in eval mode and is not changed.
        first: A tensor `[C, H, W]`, uint8 pixels or preprocessed, or a path, PIL image or uint8 array.
        second: The second image, as `first`.
        method: `"occlusion"` or `"gradient"`.
        patch: Side of the patches in pixels, for `"occlusion"`; by default a seventh of the shorter side.
        stride: Pixels from one patch to the next; by default half a patch.
        title: Title of the figure.

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
    saliency = similarity_saliency(model, first, second, method=method, patch=patch, stride=stride)
    pixels = [
        to_pixels(prepared_image(model, image, name), model.preprocessing)[0]
        for image, name in ((first, "first"), (second, "second"))
    ]
    explanation = "gradient × input: the slope of the similarity at each pixel, times its value"
    if saliency.method == "occlusion":
        explanation = (
            f"occlusion: how much the similarity falls where patches of {saliency.patch} × {saliency.patch} pixels are "
            "replaced by their local mean"
        )
    heading = f"{title or 'Saliency of two images'}: similarity {format_signed(saliency.similarity, 3)}"
    boxes = [box_size([image], _SIDE) for image in pixels]
    tallest = max(height for _, height in boxes)
    scale_left = sum(2 * width + _GAP for width, _ in boxes) + _PAIR_GAP + _SCALE_GAP
    width = scale_left + _SCALE_WIDTH + _TICKS
    maps = (saliency.first, saliency.second)
    limit = max(float(np.abs(values).max()) for values in maps)
    legend = "solid line: adds more than half of the scale's highest value; dashed line: subtracts as much"
    if limit <= _ROUNDING:
        limit, legend = 0.0, "No region changes the similarity."
    below = TEXT.wrap(legend, width)
    top = SMALL_BOLD.height() + 0.03
    bottom = top + tallest + 0.12
    page = Page(heading, width, bottom + TEXT.height(below), subtitle=explanation)
    left, mapped = 0.0, None
    for name, image, values, (across, high) in zip(("first", "second"), pixels, maps, boxes, strict=True):
        for label in (name, f"{name} map"):
            page.text(left + across / 2, 0.0, label, SMALL_BOLD, align="center")
            axes = page.picture(image, (left, top + (tallest - high) / 2, across, high), label=label)
            if label != name:
                mapped = axes.imshow(values, cmap=_COLORS, vmin=-(limit or 1.0), vmax=limit or 1.0, aspect="equal")
            _outline(axes, values, limit / 2)
            left += across + _GAP
        left += _PAIR_GAP - _GAP
    assert mapped is not None
    scale = page.axes((scale_left, top, _SCALE_WIDTH, tallest), label="scale")
    bar = page.figure.colorbar(mapped, cax=scale, ticks=np.linspace(-limit, limit, 5) if limit else [0.0])
    digits = max(2, 1 - math.floor(math.log10(limit))) if limit else 1
    bar.ax.set_yticklabels([format_signed(value, digits) for value in bar.get_ticks()])
    if limit:
        scale.axhline(limit / 2, color=INK, linestyle="solid", linewidth=1.0)
        scale.axhline(-limit / 2, color=INK, linestyle="dashed", linewidth=1.0)
    page.text(0.0, bottom, below)
    return page.figure


def _outline(axes: Axes, values: Map, level: float) -> None:
    """Draw lines around what is beyond the level, dark on white, so that they are visible on every image."""
    padded = np.pad(values, 1, constant_values=0.0)  # closes the outlines of regions at the edge
    rows, columns = (np.arange(-1, side + 1).clip(-0.4, side - 0.6) for side in values.shape)
    for sign, style in ((1.0, "solid"), (-1.0, "dashed")):
        if level > 0 and (sign * values).max() > level:
            for color, width, line in (("white", 2.6, "solid"), (INK, 1.2, style)):
                axes.contour(columns, rows, sign * padded, [level], colors=color, linewidths=width, linestyles=line)
