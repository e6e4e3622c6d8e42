"""A figure of an embedding net as blocks whose sides are those of their outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from torch import nn

from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.backbones import channels_of
from pairsim.visual.nets.net_outline import num_parameters, outline_net
from pairsim.visual.page.layout import Page
from pairsim.visual.page.text_styles import ARROW, BOLD, INK, SMALL, TextStyle, shorten_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_WIDTH, _MIN_TITLE_WIDTH = 10.5, 5.0
_ARROW, _ROW_GAP, _BELOW = 0.34, 0.3, 0.08
_MAX_HEIGHT, _MAX_LENGTH, _MAX_SLANT = 1.0, 0.5, 0.32
_MAX_LAYER_NAME = 22
_FACES = {"image": ("#E8E8E8", "#D2D2D2", "#BDBDBD"), "block": ("#CFE3F1", "#B4D2E8", "#92BBDA")}
"""Colours of the front, top and side."""


def draw_embedding_net(
    net: nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    depth: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a net as blocks with the sizes of their outputs, which are found by running it on one blank image.

    Each block is a box with the sides of its output: channels along the flow, height and width across it, on a
    logarithmic scale; vectors are bars. Its layers, the output size and the number of parameters are written below it.
    Consecutive blocks of the same kind and output size are drawn once, with their number.

    Args:
        net: An `EmbeddingNet`, a `SimilarityModel`, whose embedding net is drawn, or any module that maps images.
        image_size: Height and width, or one number for both; by default the net's own `image_size`.
        in_channels: Channels of the images; by default the net's own `in_channels`, or those of its first convolution.
        depth: Levels of modules to open, at least 1; by default as many as keep the figure readable.
        title: Title of the figure.

    Returns:
        A figure that belongs to no window. Its axes are labelled `image`, `block 0` and so on.

    Raises:
        TypeError: If `net` is not a module.
        ValueError: If the net fails on such images or their size is unknown, or `depth` is below 1.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_embedding_net(EmbeddingNet())
        >>> [axes.get_label() for axes in figure.axes]
        ['image', 'block 0', 'block 1', 'block 2']
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"Expected net to be a torch.nn.Module, got {type(net).__name__}. Pass the net, not its class.")
    if isinstance(net, SimilarityModel):
        preprocessing, net = net.preprocessing, net.embedding_net
        image_size = preprocessing.image_size if image_size is None else image_size
        in_channels = preprocessing.channels if in_channels is None else in_channels
    size = getattr(net, "image_size", None) if image_size is None else image_size
    if size is None:
        raise ValueError(
            f"Expected image_size, because {type(net).__name__} has no image_size of its own. Pass a size, such as 224."
        )
    height, width = (size, size) if isinstance(size, int) else size
    channels = channels_of(net) if in_channels is None else in_channels
    if channels is None:
        raise ValueError(
            f"Expected in_channels, because {type(net).__name__} has none of its own. Pass 1 (grey) or 3 (colour)."
        )
    if min(height, width, channels) < 1:
        raise ValueError(f"Expected image_size and in_channels of at least 1, got {size} and {channels}.")
    shape = (channels, height, width)
    blocks = outline_net(net, shape, depth=depth)
    if isinstance(net, EmbeddingNet) and net.normalize:
        blocks[-1] = replace(blocks[-1], layers=(*blocks[-1].layers, "unit length"))
    total, in_blocks = num_parameters(net), sum(block.num_parameters for block in blocks)
    notes = "below: layers, size of the output, parameters; sides of boxes on a logarithmic scale"
    if total > in_blocks:
        notes += f"; {total - in_blocks:,} parameters belong to no block"
    shapes = [shape, *(block.output_shape for block in blocks)]
    items = [_Item("image", _box(shape, shapes), [("image", SMALL), (size_text(shape), BOLD)])]
    for k, block in enumerate(blocks):
        lines = [(shorten_text(name, _MAX_LAYER_NAME), SMALL) for name in block.layers]
        count = (f"{block.num_parameters:,}" if block.num_parameters else "none", SMALL.quiet)
        lines += [(size_text(block.output_shape), BOLD), count]
        items.append(_Item(f"block {k}", _box(block.output_shape, shapes), lines))
    return _lay_out(items, title or f"{type(net).__name__}: {total:,} parameters", notes)


def size_text(shape: tuple[int, ...]) -> str:
    """Format a shape, such as `32 × 14 × 14`; sides of 1 after the first one are left out if all are 1."""
    if len(shape) > 1 and all(side == 1 for side in shape[1:]):
        shape = shape[:1]
    return " × ".join(map(str, shape)) if shape else "no tensor"


@dataclass(frozen=True)
class _Item:
    """The image or a block: label of its axes, its box in inches (length, height, slant), and lines of text below."""

    label: str
    box: tuple[float, float, float]
    lines: list[tuple[str, TextStyle]]

    @cached_property
    def width(self) -> float:
        return max(self.box[0] + self.box[2], *(style.width(text) for text, style in self.lines))


def _box(shape: tuple[int, ...], shapes: list[tuple[int, ...]]) -> tuple[float, float, float]:
    """Compute length along the flow, height and slant in inches, on one logarithmic scale for all shapes."""
    images = [other for other in shapes if len(other) == 3]
    if len(shape) == 3 and max(shape[1:]) > 1:
        # At least 64, so that three colours are thin in a net without feature maps.
        most_channels = max(64, *(other[0] for other in images))
        longest_side = max(max(other[1:]) for other in images)
        return (
            _scaled(shape[0], most_channels, 0.06, _MAX_LENGTH),
            _scaled(shape[1], longest_side, 0.15, _MAX_HEIGHT),
            _scaled(shape[2], longest_side, 0.05, _MAX_SLANT),
        )
    if len(shape) == 2:  # tokens by features: a sheet
        return _MAX_LENGTH, _scaled(shape[0], max(shape[0], 256), 0.2, _MAX_HEIGHT), 0.06
    length = shape[0] if shape else 1
    longest = max(length, *(other[-1] for other in shapes if 0 < len(other) < 3), 1)
    return 0.12, _scaled(length, longest, 0.2, _MAX_HEIGHT), 0.04


def _scaled(value: int, highest: int, low: float, high: float) -> float:
    return low + math.log2(value + 1) / math.log2(highest + 1) * (high - low)


def _lay_out(items: list[_Item], title: str, notes: str) -> Figure:
    rows: list[list[_Item]] = [[]]
    for item in items:
        if rows[-1] and _row_width([*rows[-1], item]) > _MAX_WIDTH:
            rows.append([])
        rows[-1].append(item)
    tallest = [max(item.box[1] + item.box[2] for item in row) for row in rows]
    texts = [max(sum(style.height() for _, style in item.lines) for item in row) for row in rows]
    heights = [tall + _BELOW + below for tall, below in zip(tallest, texts, strict=True)]
    width = max(map(_row_width, rows)) + 0.1
    height = sum(heights) + _ROW_GAP * (len(rows) - 1)
    page = Page(title, width, height, subtitle=notes, min_width=_MIN_TITLE_WIDTH)
    top = 0.0
    for row, tall, row_height in zip(rows, tallest, heights, strict=True):
        left, middle = 0.0, top + tall / 2
        for item in row:
            if item.label != "image":
                page.text(left + _ARROW / 2 - 0.03, middle - ARROW.height() / 2, "→", ARROW, align="center")
                left += _ARROW
            center = left + item.width / 2
            _draw_box(page, item, center, middle)
            text_top = top + tall + _BELOW
            for text, style in item.lines:
                page.text(center, text_top, text, style, align="center")
                text_top += style.height()
            left += item.width
        top += row_height + _ROW_GAP
    return page.figure


def _row_width(row: list[_Item]) -> float:
    return sum(item.width + _ARROW for item in row)


def _draw_box(page: Page, item: _Item, center: float, middle: float) -> None:
    from matplotlib.patches import Polygon

    along, high, slant = item.box
    width, height = along + slant, high + slant
    axes = page.axes((center - width / 2, middle - height / 2, width, height), label=item.label)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    faces = (
        [(0, 0), (along, 0), (along, high), (0, high)],
        [(0, high), (along, high), (width, height), (slant, height)],
        [(along, 0), (width, slant), (width, height), (along, high)],
    )
    for corners, color in zip(faces, _FACES["image" if item.label == "image" else "block"], strict=True):
        axes.add_patch(Polygon(corners, facecolor=color, edgecolor=INK, linewidth=0.7, clip_on=False))
