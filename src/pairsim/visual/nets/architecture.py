"""A figure of an embedding net as blocks whose sides are those of what each block gives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from pairsim.errors import require
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.visual.nets.net_outline import NetBlock, NetOutline, outline_net
from pairsim.visual.page.layout import (
    INK,
    MARGIN,
    QUIET_INK,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    Page,
    shorten_text,
    text_height,
    text_width,
    title_height,
    wrap_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_WIDTH = 10.5
_ARROW, _ROW_GAP = 0.34, 0.3
_TALLEST, _THICKEST, _SLANT = 1.0, 0.5, 0.32
_LONGEST_LAYER = 22
_LEAST_TITLE_WIDTH = 5.0
_FACES = {"image": ("#E8E8E8", "#D2D2D2", "#BDBDBD"), "block": ("#CFE3F1", "#B4D2E8", "#92BBDA")}
"""Front, top and side."""


def draw_embedding_net(
    net: nn.Module,
    *,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    depth: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a net as the blocks that one blank image goes through, found by running it.

    Each block is a box with the sides of its output: channels along the flow, height and width across it, on a
    logarithmic scale; vectors are bars. Below it stand its layers, the output size and the number of parameters.
    Blocks of one kind and output size that follow one another are drawn once, with their number.

    Args:
        net: An `EmbeddingNet`, a `SimilarityModel`, whose embedding net is drawn, or any module that maps images.
        image_size: Height and width, or one number for both; by default what the net says of itself.
        in_channels: Channels of the images; by default what the net says of itself, or its first convolution.
        depth: Levels of modules to open, at least 1; by default as many as keep the figure readable.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Its axes are labelled `image`, `block 0` and so on.

    Raises:
        TypeError: If `net` is not a module.
        ValueError: If the net does not take such images or does not tell their size, or `depth` is below 1.
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
    outline = outline_net(net, _input_shape(net, image_size, in_channels), depth=depth)
    blocks = list(outline.blocks)
    if isinstance(net, EmbeddingNet) and net.normalize:
        last = blocks[-1]
        blocks[-1] = NetBlock(
            last.name, (*last.layers, "unit length"), last.output_shape, last.num_parameters, last.repeats
        )
    return _lay_out(outline, blocks, type(net).__name__, title)


def _input_shape(
    net: nn.Module, image_size: int | tuple[int, int] | None, in_channels: int | None
) -> tuple[int, int, int]:
    size = getattr(net, "image_size", None) if image_size is None else image_size
    if size is None:
        raise ValueError(
            f"Expected image_size, as {type(net).__name__} does not tell it. Pass that of its images, such as 224."
        )
    height, width = (size, size) if isinstance(size, int) else size
    channels = getattr(net, "in_channels", None) if in_channels is None else in_channels
    if channels is None:
        channels = next((layer.in_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)), None)
    if not isinstance(channels, int):
        raise ValueError(
            f"Expected in_channels, as {type(net).__name__} does not tell it. Pass 1 (grey) or 3 (colour)."
        )
    if min(height, width, channels) < 1:
        raise ValueError(f"Expected image_size and in_channels of at least 1, got {size} and {channels}.")
    return channels, height, width


def size_text(shape: tuple[int, ...]) -> str:
    """A shape as text, such as `32 × 14 × 14`; sides of 1 after the first are left out if all are."""
    if len(shape) > 1 and all(side == 1 for side in shape[1:]):
        shape = shape[:1]
    return " × ".join(map(str, shape)) if shape else "no tensor"


def _lay_out(outline: NetOutline, blocks: list[NetBlock], kind: str, title: str | None) -> Figure:
    inside = sum(block.num_parameters for block in blocks)
    heading = title or f"{kind}: {outline.num_parameters:,} parameters"
    notes = "below: layers, size of the output, parameters; sides of boxes on a logarithmic scale"
    if outline.num_parameters > inside:
        notes += f"; {outline.num_parameters - inside:,} parameters belong to no block"
    shapes = [outline.input_shape, *(block.output_shape for block in blocks)]
    texts = [["image"], *([shorten_text(layer, _LONGEST_LAYER) for layer in block.layers] for block in blocks)]
    counts = ["", *(f"{block.num_parameters:,}" if block.num_parameters else "none" for block in blocks)]
    scale = _Scale(shapes)
    sizes = [scale.box(shape) for shape in shapes]
    widths = [
        max(
            size[0] + size[2],
            *(text_width(line, SMALL_SIZE) for line in lines),
            text_width(size_text(shape), TEXT_SIZE, "bold"),
            text_width(count, SMALL_SIZE),
        )
        for size, lines, shape, count in zip(sizes, texts, shapes, counts, strict=True)
    ]
    rows: list[list[int]] = [[]]
    for k, width in enumerate(widths):
        taken = sum(widths[j] + _ARROW for j in rows[-1])
        if rows[-1] and taken + _ARROW + width > _MOST_WIDTH:
            rows.append([])
        rows[-1].append(k)
    grid_width = max(sum(widths[k] for k in row) + _ARROW * len(row) for row in rows) + 0.1
    room = max(grid_width, _LEAST_TITLE_WIDTH)
    heading, notes = wrap_text(heading, TITLE_SIZE, room, "bold"), wrap_text(notes, TEXT_SIZE, room)
    line = text_height("", SMALL_SIZE)
    tops, top = [], MARGIN + title_height(heading, notes)
    for row in rows:
        tops.append(top)
        tallest = max(sizes[k][1] + sizes[k][2] for k in row)
        most = max(len(texts[k]) for k in row)
        top += tallest + 0.08 + (most + 1) * line + text_height("", TEXT_SIZE) + _ROW_GAP
    width = max(grid_width, text_width(heading, TITLE_SIZE, "bold"), text_width(notes, TEXT_SIZE)) + 2 * MARGIN
    page = Page(width, top - _ROW_GAP + MARGIN)
    page.title(heading, subtitle=notes)
    for number, row in enumerate(rows):
        tallest, left = max(sizes[k][1] + sizes[k][2] for k in row), MARGIN
        for k in row:
            middle = tops[number] + tallest / 2
            if k:
                page.text(left + _ARROW / 2 - 0.03, middle - text_height("", 14) / 2, "→", size=14, align="center")
                left += _ARROW
            center = left + widths[k] / 2
            across, high, slant = sizes[k]
            box = (center - (across + slant) / 2, middle - (high + slant) / 2, across + slant, high + slant)
            axes = page.axes(*box, label=f"block {k - 1}" if k else "image")
            _draw_box(axes, across, high, slant, _FACES["block" if k else "image"])
            below = tops[number] + tallest + 0.08
            for text in texts[k]:
                page.text(center, below, text, size=SMALL_SIZE, align="center")
                below += line
            page.text(center, below, size_text(shapes[k]), weight="bold", align="center")
            below += text_height("", TEXT_SIZE)
            if counts[k]:
                page.text(center, below, counts[k], size=SMALL_SIZE, color=QUIET_INK, align="center")
            left += widths[k]
    return page.figure


class _Scale:
    """Inches for the sides of outputs, on a logarithmic scale that all of a figure share."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        images = [shape for shape in shapes if len(shape) == 3]
        self.channels = max((shape[0] for shape in images), default=1)
        self.channels = max(self.channels, 64)  # that three colours stay thin in a net without feature maps
        self.side = max((max(shape[1:]) for shape in images), default=1)
        self.longest = max((shape[-1] for shape in shapes if 0 < len(shape) < 3), default=1)

    def box(self, shape: tuple[int, ...]) -> tuple[float, float, float]:
        """Length along the flow, height, and slant of the depth."""
        if len(shape) == 3 and max(shape[1:]) > 1:
            along = 0.06 + _share(shape[0], self.channels) * (_THICKEST - 0.06)
            high = 0.15 + _share(shape[1], self.side) * (_TALLEST - 0.15)
            return along, high, 0.05 + _share(shape[2], self.side) * (_SLANT - 0.05)
        if len(shape) == 2:  # tokens by features: a sheet
            return _THICKEST, 0.2 + _share(shape[0], max(shape[0], 256)) * (_TALLEST - 0.2), 0.06
        length = shape[0] if shape else 1
        return 0.12, 0.2 + _share(length, max(self.longest, length)) * (_TALLEST - 0.2), 0.04


def _share(value: int, most: int) -> float:
    return math.log2(value + 1) / math.log2(most + 1)


def _draw_box(axes: Axes, along: float, high: float, slant: float, colors: tuple[str, str, str]) -> None:
    patches = require("matplotlib.patches", extra="viz", purpose="Drawing")
    axes.set(xlim=(0, along + slant), ylim=(0, high + slant))
    axes.set_axis_off()
    faces = (
        [(0, 0), (along, 0), (along, high), (0, high)],
        [(0, high), (along, high), (along + slant, high + slant), (slant, high + slant)],
        [(along, 0), (along + slant, slant), (along + slant, high + slant), (along, high)],
    )
    for corners, color in zip(faces, colors, strict=True):
        axes.add_patch(patches.Polygon(corners, facecolor=color, edgecolor=INK, linewidth=0.7, clip_on=False))
