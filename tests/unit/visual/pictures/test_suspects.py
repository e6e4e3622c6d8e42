from __future__ import annotations

import importlib
import io
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_parts import MNIST, font_sizes, misplaced, picture, random_images, texts, title
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from pairsim.audits.label_audit import LabelAudit
from pairsim.data import ImageTensors
from pairsim.errors import MissingExtraError
from pairsim.visual.pictures import suspects
from pairsim.visual.pictures.suspects import draw_suspects


def audit(count: int, **columns: Any) -> LabelAudit:
    values: dict[str, Any] = {
        "images": np.arange(count)[::-1].astype(np.int64),
        "given": np.arange(count) % 5,
        "proposed": (np.arange(count) + 1) % 5,
        "score": np.linspace(0.99, 0.1, count),
    }
    return LabelAudit(**(values | columns))


def draw(
    size: int = 4, *, images: torch.Tensor | None = None, columns: dict[str, Any] | None = None, **options: Any
) -> Figure:
    pixels = random_images(size) if images is None else images
    return draw_suspects(ImageTensors(pixels, [0] * len(pixels)), audit(size, **(columns or {})), **options)


@pytest.fixture(scope="module")
def figure() -> Figure:
    return draw()


def test_each_suspect_has_its_image_number_labels_and_score(figure: Figure) -> None:
    assert [axes.get_label() for axes in figure.axes] == [f"suspect {k}" for k in range(4)]
    for k in range(4):
        assert np.array_equal(picture(figure, f"suspect {k}"), random_images(4)[3 - k, 0].numpy())
    written = texts(figure)
    assert [text for text in written if text.startswith("no.")] == ["no. 3", "no. 2", "no. 1", "no. 0"]
    assert [text for text in written if text.startswith("✗ ")] == ["✗ 0", "✗ 1", "✗ 2", "✗ 3"]
    assert [text for text in written if text.startswith("→ ")] == ["→ 1", "→ 2", "→ 3", "→ 4"]
    assert [text for text in written if text.startswith("score")] == [
        "score 0.990", "score 0.693", "score 0.397", "score 0.100",
    ]  # fmt: skip
    assert title(figure) == "Labels that look wrong"
    assert "above: number of the image; below: ✗ given label, → proposed label" in " ".join(written)
    assert not misplaced(figure)
    assert min(font_sizes(figure)) >= 8


def test_colour_is_not_the_only_signal(figure: Figure) -> None:
    colors = {text.get_text()[0]: to_hex(text.get_color()) for text in figure.texts if text.get_text()[:1] in "✗→"}
    assert set(colors) == {"✗", "→"}
    assert colors["✗"] != colors["→"]


def test_only_suspects_are_drawn_and_the_title_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert suspects.MAX_SUSPECTS == 48
    monkeypatch.setattr(suspects, "MAX_SUSPECTS", 17)
    columns = {"proposed": np.array([1, 2, 0, 1] + [1] * 56), "given": np.array([0, 0, 0, 0] + [2] * 56)}
    figure = draw(60, columns=columns, count=3)
    assert [text for text in texts(figure) if text.startswith("no.")] == ["no. 59", "no. 58", "no. 56"]
    assert title(figure) == "Labels that look wrong: the first 3 of 59"
    figure = draw(60, columns=columns, count=1000, title="MNIST")
    assert len(figure.axes) == 17
    assert title(figure) == "MNIST: the first 17 of 59"
    assert not misplaced(figure)


def test_names_of_labels() -> None:
    written = texts(draw(names=["cat", "dog", "owl"]))
    assert {"✗ cat", "→ dog", "✗ owl", "→ 3"} <= set(written)
    columns = {"given": np.array(["a", "b", "a", "b"]), "proposed": np.array(["b", "a", "b", "a"])}
    assert {"✗ A", "→ b"} <= set(texts(draw(columns=columns, names={"a": "A"})))


def test_nothing_is_cut_off_or_overlaps() -> None:
    long = np.array(["a_folder_name_that_is_far_too_long", "$5 or $10", "éclair", "x"])
    figure = draw(columns={"given": long, "proposed": long[::-1]})
    assert not misplaced(figure)
    assert "✗ a_folder…oo_long" in texts(figure)
    for options in (
        {"count": 1},
        {"images": torch.zeros(4, 1, 20, 60)},
        {"images": torch.zeros(4, 3, 60, 20)},
        {"columns": {"images": np.array([123_456, 0, 1, 2])}, "images": torch.zeros(123_457, 1, 2, 2)},
        {"title": "A title that goes on and on " * 6},
    ):
        assert not misplaced(draw(**options))


def test_normalised_images_and_images_of_many_sizes() -> None:
    pixels = random_images(4)
    figure = draw(images=MNIST(pixels), preprocessing=MNIST)
    assert np.abs(picture(figure, "suspect 0").astype(int) - pixels[3, 0].numpy().astype(int)).max() <= 1
    listed = [(torch.zeros(1, 5 + k, 9, dtype=torch.uint8), 0) for k in range(4)]
    figure = draw_suspects(listed, audit(4))
    assert picture(figure, "suspect 0").shape == (8, 9)
    assert not misplaced(figure)


def test_no_figure_is_left_open() -> None:
    before = plt.get_fignums()
    buffer = io.BytesIO()
    draw().savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "Expected count to be a whole number of at least 1, got 0"),
        ({"columns": {"proposed": np.arange(4)}}, "got none: no label looks wrong"),
        ({"columns": {"images": np.arange(1, 5)}}, "Expected image numbers from 0 to 3, got 1 to 4"),
        ({"columns": {"score": np.array([0.5])}}, r"Expected score to have shape \[4\]"),
        ({"images": MNIST(random_images(4))}, "Pass preprocessing=model.preprocessing"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**options)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"needs the package matplotlib.*pip install 'pairsim\[viz\]'"):
        draw()
