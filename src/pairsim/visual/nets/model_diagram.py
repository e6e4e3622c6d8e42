"""A figure of a similarity model: from two images to similarity, probability and decision, with its own numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pairsim._common.unit_similarity import lowest_match
from pairsim.models import SimilarityModel
from pairsim.visual.nets.architecture import size_text
from pairsim.visual.nets.net_outline import num_parameters
from pairsim.visual.page.layout import Page, box_size
from pairsim.visual.page.pixels import ImageTensorLike, embed, one_image, to_pixels
from pairsim.visual.page.text_styles import ARROW, BOLD, INK, SMALL, TEXT, format_signed, label_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

_SIDE, _IMAGE_COLUMN, _HEIGHT = 0.8, 1.0, 2.55
_ARROW = 0.36
_PLOT_LEFT, _PLOT_WIDTH, _PLOT_HEIGHT = 0.55, 2.1, 1.75
_BOXES = {"net": "#CFE3F1", "embedding": "#FBE6C4", "similarity": "#F2F2F2", "logit": "#F2F2F2"}
"""Boxes in the order of the flow, and their colours."""


def draw_similarity_model(
    model: SimilarityModel,
    first: ImageTensorLike | None = None,
    second: ImageTensorLike | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Draw the computation of a model for two images, with the values of its projection or calibration and threshold.

    Both images go through the same embedding net; the cosine of their embeddings is the similarity, and a curve maps it
    to the probability. A dashed line marks the threshold. With two images, their similarity, probability and decision
    are written into the figure and marked on the curve.

    Args:
        model: The model; it is not changed.
        first: An image to show, `[1, C, H, W]`, `[C, H, W]` or `[H, W]`, uint8 pixels of any size or preprocessed.
        second: The second image.
        title: Title of the figure.

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
        images = [one_image(first, "first"), one_image(second, "second")]
        a, b = embed(model, images[:1], "first"), embed(model, images[1:], "second")
        similarity = float((a * b).sum().clamp(-1.0, 1.0))
    return _lay_out(model, images, similarity, title or "Similarity model")


def _texts(model: SimilarityModel, similarity: float | None) -> dict[str, list[str]]:
    """Return the lines of each box, with its heading first, and those below the figure."""
    net, calibration = model.embedding_net, model.calibration
    dim = getattr(net, "embedding_dim", None)
    if calibration is None:
        formula = _line(model.projection.weight.item(), model.projection.bias.item())
        logit = ["projection", *formula, "= logit"]
        below = ["probability = 1 / (1 + exp(−logit))"]
    else:
        platt = calibration.method == "platt"
        formula = _line(calibration.weight, calibration.bias) if platt else ["isotonic: by a", "rising function"]
        logit = ["calibration", *formula, "= evidence"]
        below = [
            f"probability = 1 / (1 + exp(−evidence − log-odds of {calibration.prior:.4g})), "
            f"for {100 * calibration.prior:.4g} % positive pairs"
        ]
    cosine = ["similarity", "cosine of both", "in [−1, 1]"]
    threshold = model.threshold
    if math.isnan(threshold):
        below.append("no threshold: the projection does not rise with similarity")
    else:
        limit = f"{format_signed(threshold, 3)} (dashed)"
        if math.isinf(threshold):
            limit = "∞: never" if threshold > 0 else "−∞: always"
        below.append(f"match where similarity ≥ {limit}")
    if similarity is not None:
        here = format_signed(similarity, 3)
        at = torch.tensor(similarity, device=model.device)
        value = (model.logits(at) if calibration is None else calibration.log_likelihood_ratio(at)).item()
        cosine.append(f"here {here}")
        logit.append(f"here {format_signed(value, 3)}")
        below.append(f"here: similarity {here}, probability {model.probability(at).item():.3f}")
        if not math.isnan(threshold):
            below[-1] += ": ● match" if similarity >= lowest_match(threshold) else ": ○ no match"
    return {
        "net": ["embedding net", type(net).__name__, f"{num_parameters(net):,} parameters", "one net for both"],
        "embedding": ["embedding", "length 1" if dim is None else f"[{dim}], length 1"],
        "similarity": cosine,
        "logit": logit,
        "below": below,
    }


def _line(weight: float, bias: float) -> list[str]:
    return [f"{format_signed(weight, 3)} × similarity", f"{'−' if bias < 0 else '+'} {abs(bias):.3f}"]


def _lay_out(model: SimilarityModel, images: list[Tensor] | None, similarity: float | None, title: str) -> Figure:
    texts = _texts(model, similarity)
    line = TEXT.height()
    widths = {name: BOLD.width(*texts[name]) + 0.24 for name in _BOXES}
    lefts, left = {}, _IMAGE_COLUMN + _ARROW
    for name in _BOXES:
        lefts[name] = left
        left += widths[name] + _ARROW
    plot_left = left + _PLOT_LEFT
    width = plot_left + _PLOT_WIDTH + 0.1
    below = TEXT.wrap("\n".join(texts["below"]), width)
    page = Page(title, width, _HEIGHT + 0.2 + TEXT.height(below))

    def arrow(right: float, middle: float) -> None:
        page.text(right - _ARROW / 2, middle - ARROW.height() / 2, "→", ARROW, align="center")

    def box(name: str, middle: float, height: float) -> None:
        left, width, top = lefts[name], widths[name], middle - height / 2
        axes = page.axes((left, top, width, height), label=name, ticks=False)
        axes.set_facecolor(_BOXES[name])
        first_line = middle - len(texts[name]) * line / 2
        page.text(left + width / 2, first_line, texts[name][0], BOLD, align="center")
        page.text(left + width / 2, first_line + line, "\n".join(texts[name][1:]), align="center")

    shape = size_text((model.preprocessing.channels, *model.preprocessing.image_size))
    pixels = [None, None] if images is None else to_pixels(images, model.preprocessing)
    middles = [_SIDE / 2, _HEIGHT - _SIDE / 2 - 2 * line - 0.04]
    center = _IMAGE_COLUMN / 2
    for name, image, middle in zip(("first", "second"), pixels, middles, strict=True):
        across, high = (1.0, 1.0) if image is None else box_size([image], 1.0)
        across, high = (side / max(across, high) * _SIDE for side in (across, high))
        image_box = (center - across / 2, middle - high / 2, across, high)
        if image is None:
            page.axes(image_box, label=name, ticks=False).set_facecolor("#E8E8E8")
        else:
            page.picture(image, image_box, label=name, frame=(INK, 0.6))
        page.text(center, middle + _SIDE / 2 + 0.04, name, align="center")
        page.text(center, middle + _SIDE / 2 + 0.04 + line, shape, SMALL.quiet, align="center")
        for right in (lefts["net"], lefts["embedding"], lefts["similarity"]):
            arrow(right, middle)
        box("embedding", middle, 0.6)
    between, middle = middles[1] - middles[0], sum(middles) / 2
    box("net", middle, between + _SIDE)
    box("similarity", middle, between + 0.6)
    box("logit", middle, 1.3)
    arrow(lefts["logit"], middle)
    arrow(left, middle)
    axes = page.axes((plot_left, 0.05, _PLOT_WIDTH, _PLOT_HEIGHT), label="probability")
    # A net that ends with a ReLU has no negative similarities, but the curve is defined there as well.
    values = torch.linspace(-1.0, 1.0, 401)
    axes.plot(values.numpy(), model.probability(values.to(model.device)).tolist(), color="#0072B2", linewidth=1.8)
    if math.isfinite(model.threshold):
        axes.axvline(model.threshold, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
    if similarity is not None:
        here = model.probability(torch.tensor([similarity], device=model.device)).tolist()
        axes.plot([similarity], here, "o", color=INK, markersize=6, clip_on=False)
    axes.set(xlim=(-1, 1), ylim=(0, 1))
    label_axis(axes.xaxis, "similarity (cosine)", [-1, -0.5, 0, 0.5, 1])
    label_axis(axes.yaxis, "probability of same class", [0, 0.5, 1])
    axes.spines[["top", "right"]].set_visible(False)
    page.text(0.0, _HEIGHT + 0.2, below)
    return page.figure
