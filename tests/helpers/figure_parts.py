"""Texts, pictures and positions in figures, for tests that do not compare rendered pixels."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from pairsim.images import Preprocessing

MNIST = Preprocessing(image_size=(12, 12), channels=1, mean=(0.1307,), std=(0.3081,))


def random_images(count: int, seed: int = 0, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, channels, 12, 12), dtype=torch.uint8, generator=generator)


def model_images(count: int) -> Tensor:
    """Images of the size that the reference net takes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=generator)


def title(figure: Figure) -> str:
    return figure.get_suptitle().replace("\n", " ")


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def font_sizes(figure: Figure) -> list[float]:
    written = [*figure.texts]
    for axes in figure.axes:
        written += [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]
    return [float(text.get_fontsize()) for text in written if text.get_text()]


def axes_of(figure: Figure, label: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_label() == label]
    return axes


def picture(figure: Figure, label: str) -> Any:
    return axes_of(figure, label).images[0].get_array()


def misplaced(figure: Figure) -> list[tuple[str, str]]:
    """Texts and axes (with their ticks and labels) that lie on one another or leave the page."""
    # One renderer for all texts: without it, matplotlib makes a new one of the size of the page for each.
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box is not None
        boxes.append((str(axes.get_label()), box))
    page = figure.bbox
    found = []
    for k, (name, box) in enumerate(boxes):
        if box.x0 < page.x0 or box.y0 < page.y0 or box.x1 > page.x1 or box.y1 > page.y1:
            found.append((name, "the edge of the page"))
        found += [(name, other) for other, place in boxes[k + 1 :] if box.overlaps(place)]
    return found
