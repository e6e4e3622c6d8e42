from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from types import ModuleType
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from figure_parts import MNIST, font_sizes, misplaced, model_images, picture, random_images, texts, title
from figure_parts import random_images as images
from matplotlib.colors import to_hex, to_rgb

from pairsim.data import ImageTensors
from pairsim.errors import MissingExtraError
from pairsim.visual import draw_confusing_pairs, draw_pairs
from pairsim.visual.pictures import pair_rows


def test_each_pair_has_its_two_images_truth_scores_and_verdict() -> None:
    figure = draw_pairs(
        images(4, 1),
        images(4, 2),
        [1, 0, 1, 0],
        similarity=[0.91, 0.85, -0.2, 0.1],
        probability=[0.99, 0.97, 0.001, 0.04],
        threshold=0.6,
    )
    labels = [axes.get_label() for axes in figure.axes]
    assert labels == [f"{side} {k}" for k in range(4) for side in ("first", "second")]
    assert np.array_equal(picture(figure, "first 2"), images(4, 1)[2, 0].numpy())
    assert np.array_equal(picture(figure, "second 3"), images(4, 2)[3, 0].numpy())
    written = texts(figure)
    assert [text for text in written if text in ("same", "different")] == ["same", "different", "same", "different"]
    assert [text for text in written if text.startswith("similarity")] == [
        "similarity 0.910", "similarity 0.850", "similarity −0.200", "similarity 0.100",
    ]  # fmt: skip
    assert "probability 0.001" in written
    verdicts = [text for text in figure.texts if text.get_text()[:1] in "✓✗"]
    assert [text.get_text() for text in verdicts] == ["✓ correct", "✗ wrong", "✗ wrong", "✓ correct"]
    colors = [to_hex(text.get_color()) for text in verdicts]
    assert colors[0] == colors[3] != colors[1] == colors[2]
    assert any("match at similarity ≥ 0.600: 2 of 4 correct" in text for text in written)
    assert not misplaced(figure)


def test_a_similarity_on_the_threshold_is_a_match() -> None:
    written = texts(draw_pairs(images(1), images(1), [1], similarity=[0.5], threshold=0.5))
    assert "✓ correct" in written


def test_only_what_was_given_is_written() -> None:
    figure = draw_pairs(images(2, 1), images(2, 2))
    assert title(figure) == "Pairs of images"
    assert texts(figure) == ["Pairs of images"]
    assert len(figure.axes) == 4
    written = texts(draw_pairs(images(2, 1), images(2, 2), similarity=torch.tensor([0.7, 0.2]), threshold=0.5))
    assert {"predicted same", "predicted different"} <= set(written)
    assert not any("correct" in text or "wrong" in text for text in written)


def test_six_pairs_stand_in_a_row() -> None:
    figure = draw_pairs(images(8, 1), images(8, 2), [1] * 8)
    tops = [round(axes.get_position().y1, 6) for axes in figure.axes[::2]]
    assert len(set(tops[:6])) == 1
    assert len(set(tops[6:])) == 1
    assert tops[0] > tops[6]
    lefts = [axes.get_position().x0 for axes in figure.axes[:12]]
    assert lefts == sorted(lefts)
    assert not misplaced(figure)


def test_more_pairs_than_fit_are_counted_in_the_title(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pair_rows.MAX_PAIRS == 24
    monkeypatch.setattr(pair_rows, "MAX_PAIRS", 3)
    target, similarity = torch.ones(10), torch.full((10,), 0.9)
    similarity[-1] = 0.0
    figure = draw_pairs(images(10, 1), images(10, 2), target, similarity=similarity, threshold=0.5, title="Test pairs")
    assert len(figure.axes) == 6
    assert title(figure) == "Test pairs: the first 3 of 10 pairs"
    assert any("9 of 10 correct" in text for text in texts(figure))
    assert "of 3" not in title(draw_pairs(images(3, 1), images(3, 2)))


def test_normalised_images_show_their_own_grey_levels() -> None:
    first, second = images(2, 1), images(2, 2)
    figure = draw_pairs(MNIST(first), MNIST(second), preprocessing=MNIST)
    for k in range(2):
        shown = picture(figure, f"first {k}").astype(int)
        assert np.abs(shown - first[k, 0].numpy().astype(int)).max() <= 1
    # a dark image stays dark: grey levels are not stretched to each image's own range
    assert all(axes.images[0].get_clim() == (0, 255) for axes in figure.axes)


def test_single_images_colour_and_mixed_sizes() -> None:
    assert len(draw_pairs(images(1)[0], images(1)[0, 0], 1).axes) == 2
    assert picture(draw_pairs(images(1, channels=3), images(1)), "first 0").shape == (12, 12, 3)
    wide = [torch.zeros(1, 10, 40 + 5 * k, dtype=torch.uint8) for k in range(4)]
    assert not misplaced(draw_pairs(wide[:2], wide[2:], [1, 0], similarity=[0.1, 0.2], threshold=0.15))


def test_long_titles_stay_on_the_page_and_dollars_are_no_formula() -> None:
    name = "Is this the same $5 note as that $10 note, or would you say that the two are different notes after all?"
    figure = draw_pairs(images(1), images(1), [1], title=name)
    assert title(figure) == name
    assert not misplaced(figure)


def test_the_page_is_white_and_text_dark_in_any_style() -> None:
    with mpl.rc_context():
        plt.style.use("dark_background")
        figure = draw_pairs(images(1), images(1), [1], similarity=[0.9], threshold=0.5, title="Dark")
        figure.savefig(io.BytesIO())
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    for text in figure.texts:
        assert float(np.dot(to_rgb(text.get_color()), (0.2126, 0.7152, 0.0722))) < 0.4
    assert min(font_sizes(figure)) >= 8


def test_no_figure_is_left_open() -> None:
    before = plt.get_fignums()
    buffer = io.BytesIO()
    draw_pairs(images(2), images(2), [1, 0], similarity=[0.1, 0.9], threshold=0.5).savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    assert plt.get_fignums() == before


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((images(0), images(0)), {}, "Expected at least one pair, got none"),
        ((images(2), images(3)), {}, "Expected as many first as second images, got 2 and 3"),
        ((images(2), images(2), [1]), {}, r"Expected target to have shape \[2\], one for each pair, got \[1\]"),
        ((images(2), images(2), [1, 2]), {}, r"1 \(same class\) or 0 \(different\), found 2 at index 1"),
        ((images(2), images(2)), {"similarity": [0.1]}, r"similarity to have shape \[2\]"),
        (
            (images(2), images(2)),
            {"similarity": [0.1, 4.2]},
            r"similarity in \[-1, 1\], found 0.1 to 4.2. Pass",
        ),
        ((images(2), images(2)), {"similarity": [0.1, float("nan")]}, "similarity to be finite, found nan at index 1"),
        ((images(2), images(2)), {"probability": [-3.0, 1.0]}, r"probability in \[0, 1\].*torch.sigmoid\(logits\)"),
        ((images(2), images(2)), {"threshold": 0.5}, "Expected similarity along with threshold"),
        (
            (images(2), images(2)),
            {"threshold": float("nan"), "similarity": [0.1, 0.2]},
            "Expected threshold to be finite, got nan",
        ),
        ((images(2)[None], images(2)), {}, r"Expected first to have shape \[N, C, H, W\]"),
        ((MNIST(images(2)), images(2)), {}, "Pass preprocessing=model.preprocessing"),
    ],
)
def test_what_does_not_fit_is_said(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_pairs(*arguments, **options)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"needs the package matplotlib.*pip install 'pairsim\[viz\]'"):
        draw_pairs(images(1), images(1))


def test_confusing_pairs_are_counted() -> None:
    images = model_images(4)
    figure = draw_confusing_pairs(ImageTensors(images, [0, 0, 1, 1]), torch.eye(2)[[0, 1, 0, 1]], 0.5)
    assert title(figure).replace("- ", "-").endswith("2 of 2 false matches and 2 of 2 false non-matches")
    assert np.array_equal(picture(figure, "second 0"), images[2, 0].numpy())
    assert not misplaced(figure)


def test_preprocessed_images_do_not_wrap() -> None:
    dark_and_light = MNIST(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 12, 12)) * 1.5
    figure = draw_confusing_pairs(ImageTensors(dark_and_light, [0, 0]), torch.eye(2), 0.5, preprocessing=MNIST)
    assert picture(figure, "first 0").max() == 0
    assert picture(figure, "second 0").min() == 255


MESSAGES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 1]), torch.eye(2), 0.5),
        ValueError,
        "Expected an error at threshold 0.5, found none: all 1 pairs",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 0]), torch.eye(2), 0.5, count=13),
        ValueError,
        "Expected count to be at most 12, got 13",
    ),
    (
        lambda: draw_confusing_pairs(ImageTensors(random_images(2), [0, 0]), torch.eye(2), float("inf")),
        ValueError,
        "Expected threshold to be finite, got inf",
    ),
]


@pytest.mark.parametrize(("draw", "error", "message"), MESSAGES, ids=[message[:40] for *_, message in MESSAGES])
def test_errors_that_cannot_be_drawn_are_said(draw: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw()
