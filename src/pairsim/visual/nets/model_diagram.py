"""A figure of a similarity model: from two images to similarity, probability and decision, with its own numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from pairsim._common.unit_similarity import lowest_match
from pairsim.models import SimilarityModel
from pairsim.visual.nets.architecture import size_text
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
    text_height,
    text_width,
    title_height,
    wrap_text,
)
from pairsim.visual.page.pixels import ImageTensorLike, separate_images, to_pixels
from pairsim.visual.page.values import format_signed
from pairsim.visual.pictures.embedding import embed_shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

_SIDE, _IMAGE_COLUMN, _TALL = 0.8, 1.0, 2.55
_ARROW, _ARROW_SIZE = 0.36, 14
_PLOT_WIDTH, _PLOT_HEIGHT = 2.1, 1.75
_BOXES = {"net": "#CFE3F1", "embedding": "#FBE6C4", "similarity": "#F2F2F2", "logit": "#F2F2F2"}
"""Boxes in the order of the flow, and their colours."""


def draw_similarity_model(
    model: SimilarityModel,
    first: ImageTensorLike | None = None,
    second: ImageTensorLike | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Draw what a model does with two images, with the values of its projection or calibration and its threshold.

    Two images go through one embedding net, whose weights they share; the cosine of both embeddings is the similarity,
    and a curve gives the probability for it. A dashed line marks the threshold. With two images their own similarity,
    probability and decision are written in, and marked on the curve.

    Args:
        model: The model, which is left as it is.
        first: An image to show, `[1, C, H, W]`, `[C, H, W]` or `[H, W]`, uint8 pixels of any size or preprocessed.
        second: Another one.
        title: Title of the figure; a plain one by default.

    Returns:
        A figure that belongs to no window. Its axes are labelled `first`, `second`, `net`, `embedding` (twice),
        `similarity`, `logit` and `probability`.

    Raises:
        TypeError: If `model` is not a `SimilarityModel`, or images are not tensors.
        ValueError: If only one image is given, or more than two, or they do not fit the model.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_similarity_model(SimilarityModel())
        >>> sorted({axes.get_label() for axes in figure.axes})
        ['embedding', 'first', 'logit', 'net', 'probability', 'second', 'similarity']
    """
    if not isinstance(model, SimilarityModel):
        raise TypeError(f"Expected model to be a SimilarityModel, got {type(model).__name__}. Wrap the net in one.")
    if (first is None) != (second is None):
        raise ValueError("Expected both images or neither, got one. Pass first and second.")
    similarity, images = None, None
    if first is not None and second is not None:
        images = [_one(first, "first"), _one(second, "second")]
        a, b = embed_shown(model, [images[0]], "first"), embed_shown(model, [images[1]], "second")
        similarity = float((a * b).sum().clamp(-1.0, 1.0))
    return _lay_out(model, images, similarity, title or "Similarity model")


def _one(image: ImageTensorLike, name: str) -> Tensor:
    parts = separate_images(image, name)
    if len(parts) != 1:
        raise ValueError(f"Expected one image as {name}, got {len(parts)}. Draw one figure for each pair.")
    return parts[0]


def _probability_of(model: SimilarityModel, similarity: float) -> float:
    return float(model.probability(torch.tensor([similarity], device=model.device))[0])


def _texts(model: SimilarityModel, similarity: float | None) -> dict[str, list[str]]:
    """What stands in each box, its heading first, and below the figure."""
    net, here = model.embedding_net, None if similarity is None else format_signed(similarity, 3)
    dim = getattr(net, "embedding_dim", None)
    parameters = sum(p.numel() for p in net.parameters())
    texts = {
        "net": ["embedding net", type(net).__name__, f"{parameters:,} parameters", "one net for both"],
        "embedding": ["embedding", "length 1" if dim is None else f"[{dim}], length 1"],
        "similarity": ["similarity", "cosine of both", "in [−1, 1]"],
    }
    known = model.calibration
    if known is None:
        weight, bias = model.projection.weight.item(), model.projection.bias.item()
        texts["logit"] = ["projection", *_line(weight, bias), "= logit"]
        texts["below"] = ["probability = 1 / (1 + exp(−logit))"]
        value = None if similarity is None else weight * similarity + bias
    else:
        formula = _line(known.weight, known.bias) if known.method == "platt" else ["isotonic: by a", "rising function"]
        texts["logit"] = ["calibration", *formula, "= evidence"]
        texts["below"] = [
            f"probability = 1 / (1 + exp(−evidence − log-odds of {known.prior:.4g})), for {100 * known.prior:.4g} % "
            "positive pairs"
        ]
        value = None if similarity is None else float(known.log_likelihood_ratio(torch.tensor(similarity)))
    if here is not None and value is not None:
        texts["similarity"].append(f"here {here}")
        texts["logit"].append(f"here {format_signed(value, 3)}")
    cut = model.threshold
    if math.isnan(cut):
        texts["below"].append("no threshold: the projection does not rise with similarity")
    else:
        place = f"{format_signed(cut, 3)} (dashed)" if math.isfinite(cut) else "∞: never" if cut > 0 else "−∞: always"
        texts["below"].append(f"match where similarity ≥ {place}")
    if similarity is not None:
        verdict = f"here: similarity {here}, probability {_probability_of(model, similarity):.3f}"
        if not math.isnan(cut):
            verdict += ": ● match" if similarity >= lowest_match(cut) else ": ○ no match"
        texts["below"].append(verdict)
    return texts


def _line(weight: float, bias: float) -> list[str]:
    return [f"{format_signed(weight, 3)} × similarity", f"{'−' if bias < 0 else '+'} {abs(bias):.3f}"]


def _lay_out(model: SimilarityModel, images: list[Tensor] | None, similarity: float | None, title: str) -> Figure:
    texts = _texts(model, similarity)
    line, arrow_line = text_height("", TEXT_SIZE), text_height("", _ARROW_SIZE)
    widths = {name: max(text_width(text, TEXT_SIZE, "bold") for text in texts[name]) + 0.24 for name in _BOXES}
    lefts, left = {}, MARGIN + _IMAGE_COLUMN + _ARROW
    for name in _BOXES:
        lefts[name] = left
        left += widths[name] + _ARROW
    plot_left = left + 0.55
    width = plot_left + _PLOT_WIDTH + 0.1 + MARGIN
    title = wrap_text(title, TITLE_SIZE, width - 2 * MARGIN, "bold")
    below = wrap_text("\n".join(texts["below"]), TEXT_SIZE, width - 2 * MARGIN)
    top = MARGIN + title_height(title)
    page = Page(width, top + _TALL + 0.2 + text_height(below, TEXT_SIZE) + MARGIN)
    page.title(title)

    def arrow(right: float, middle: float) -> None:
        page.text(right - _ARROW / 2, middle - arrow_line / 2, "→", size=_ARROW_SIZE, align="center")

    shape = size_text((model.preprocessing.channels, *model.preprocessing.image_size))
    pixels = [None, None] if images is None else to_pixels(images, model.preprocessing)
    centers = [top + _SIDE / 2, top + _TALL - _SIDE / 2 - 2 * line - 0.04]
    for name, image, middle in zip(("first", "second"), pixels, centers, strict=True):
        center = MARGIN + _IMAGE_COLUMN / 2
        if image is None:
            axes = page.axes(center - _SIDE / 2, middle - _SIDE / 2, _SIDE, _SIDE, label=name)
            axes.set(xticks=[], yticks=[], facecolor="#E8E8E8")
        else:
            across, high = box_size([image], _SIDE)
            scale = min(1.0, _SIDE / max(across, high))
            across, high = across * scale, high * scale
            page.picture(image, center - across / 2, middle - high / 2, across, high, label=name, frame=INK)
        page.text(center, middle + _SIDE / 2 + 0.04, name, align="center")
        page.text(center, middle + _SIDE / 2 + 0.04 + line, shape, size=SMALL_SIZE, color=QUIET_INK, align="center")
        arrow(lefts["net"], middle)
        _box(page, "embedding", texts["embedding"], lefts["embedding"], middle - 0.3, widths["embedding"], 0.6)
        arrow(lefts["embedding"], middle)
        arrow(lefts["similarity"], middle)
    middle = sum(centers) / 2
    _box(page, "net", texts["net"], lefts["net"], top, widths["net"], centers[1] - centers[0] + _SIDE)
    for name in ("similarity", "logit"):
        high = centers[1] - centers[0] + 0.6 if name == "similarity" else 1.3
        _box(page, name, texts[name], lefts[name], middle - high / 2, widths[name], high)
    arrow(lefts["logit"], middle)
    arrow(left, middle)
    _draw_curve(page.axes(plot_left, top + 0.05, _PLOT_WIDTH, _PLOT_HEIGHT, label="probability"), model, similarity)
    page.text(MARGIN, top + _TALL + 0.2, below)
    return page.figure


def _box(page: Page, name: str, lines: list[str], left: float, top: float, width: float, height: float) -> None:  # noqa: PLR0917
    axes = page.axes(left, top, width, height, label=name)
    axes.set(xticks=[], yticks=[], facecolor=_BOXES[name])
    begin = top + (height - text_height("\n".join(lines), TEXT_SIZE)) / 2
    page.text(left + width / 2, begin, lines[0], weight="bold", align="center")
    page.text(left + width / 2, begin + text_height("", TEXT_SIZE), "\n".join(lines[1:]), align="center")


def _draw_curve(axes: Axes, model: SimilarityModel, similarity: float | None) -> None:
    # a net that closes with a ReLU gives no negative similarity, but its curve is defined there all the same
    values: np.typing.NDArray[np.float64] = np.linspace(-1.0, 1.0, 401)
    given = model.probability(torch.from_numpy(values).to(model.device, torch.float32))
    axes.plot(values, given.cpu().numpy(), color="#0072B2", linewidth=1.8)
    if math.isfinite(model.threshold):
        axes.axvline(model.threshold, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    if similarity is not None:
        axes.plot([similarity], [_probability_of(model, similarity)], "o", color=INK, markersize=6, clip_on=False)
    axes.set(xlim=(-1, 1), ylim=(0, 1))
    ticks = [-1, -0.5, 0, 0.5, 1]
    axes.set_xticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_xlabel("similarity (cosine)", fontsize=SMALL_SIZE, color=INK, fontfamily=FONT)
    axes.set_ylabel("probability of same class", fontsize=SMALL_SIZE, color=INK, fontfamily=FONT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
