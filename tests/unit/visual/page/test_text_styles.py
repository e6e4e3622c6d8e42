from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.text import Text

from pairsim.search.gallery import SearchResult
from pairsim.visual import draw_class_similarity, draw_embedding_map, draw_neighbors, draw_pairs, draw_ranking, draw_roc
from pairsim.visual.page.text_styles import (
    BOLD,
    SMALL,
    TEXT,
    format_rate,
    format_signed,
    name_of,
    shorten_names,
    shorten_text,
)

PIXELS = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
ONE = torch.ones(1, 1)


def test_widths_are_those_of_the_longest_line() -> None:
    assert TEXT.width("wide text\nw") == TEXT.width("wide text") > TEXT.width("w") > TEXT.width("") == 0.0
    assert TEXT.width("a", "wide text") == TEXT.width("wide text")
    assert BOLD.width("text") > TEXT.width("text") > SMALL.width("text")
    assert TEXT.width("$x$") == TEXT.width("SxS")  # no formula


def test_heights_count_lines() -> None:
    assert TEXT.height("a\nb") == pytest.approx(2 * TEXT.height())
    assert TEXT.height() == pytest.approx(9 * 1.35 / 72)


def test_wrapping_keeps_every_word() -> None:
    text = "one two three four five six seven eight\nnine"
    wrapped = TEXT.wrap(text, 1.0)
    assert wrapped.split() == text.split()
    assert wrapped.count("\n") > 1
    assert TEXT.width(wrapped) < TEXT.width(text)
    assert TEXT.wrap(text, 100.0) == text
    assert TEXT.wrap("", 1.0) == ""


@pytest.mark.parametrize("length", [2, 5, 6, 8, 9])
def test_short_texts_have_both_ends(length: int) -> None:
    short = shorten_text("abcdefgh", length)
    assert len(short) == min(length, 8)
    assert short == "abcdefgh" if length >= 8 else ("…" in short and short[0] == "a")


GROCERIES = [
    *(f"Packages/Juice/Bravo-{kind}-Juice" for kind in ("Apple", "Orange", "Apricot")),
    *(f"Packages/Juice/Tropical-{kind}-Juice" for kind in ("Apple", "Orange")),
    "Packages/Milk/Arla-Standard-Milk",
    "Fruit/Apple",
]


@given(st.lists(st.text("ab/-", max_size=12), unique=True), st.integers(2, 8))
@example(GROCERIES, 16)
@example(["aab", "aba", "aaab"], 2)
def test_names_that_are_shown_together_stay_different(names: list[str], length: int) -> None:
    texts = shorten_names(names, length)
    assert len(set(texts)) == len(names)
    for name, text in zip(names, texts, strict=True):
        assert text == name or "…" in text or shorten_text(name, length) == text
        assert text == name or len(text) <= len(name)
        assert text == name or len(name) > length
    if len({shorten_text(name, length) for name in names}) == len(names):
        assert texts == [shorten_text(name, length) for name in names]


def test_alike_names_lose_what_they_begin_with() -> None:
    assert shorten_names([*GROCERIES, GROCERIES[0]], 12) == [
        "…Bravo-A…e-Juice",
        "…Bravo-O…e-Juice",
        "…Apric…-Juice",
        "…Apple-Juice",
        "…Orange-Juice",
        "Packag…-Milk",
        "Fruit/Apple",
        "…Bravo-A…e-Juice",
    ]


@pytest.mark.parametrize("draw", [draw_class_similarity, draw_embedding_map])
def test_figures_of_classes_name_each_one_differently(draw: Any) -> None:
    vectors, labels = np.eye(len(GROCERIES)), np.arange(len(GROCERIES))
    figure = draw(vectors, labels, names=GROCERIES)
    written = {text.get_text() for text in figure.findobj(Text)}
    assert set(shorten_names(GROCERIES, 16)) <= written


def test_names_of_labels_of_any_kind() -> None:
    names = ["cat", "dog"]
    assert [name_of(label, names) for label in (1, np.int64(1), torch.tensor(1), 2, -1, "x")] == [
        "dog", "dog", "dog", "2", "-1", "x"
    ]  # fmt: skip
    assert [name_of(label, {"x": "owl", 1: "eel"}) for label in ("x", np.str_("x"), 1, 0)] == ["owl", "owl", "eel", "0"]


def test_numbers_as_text() -> None:
    assert [format_signed(value, 1) for value in (-0.04, -0.06, 0.0, 2.0)] == ["0.0", "−0.1", "0.0", "2.0"]
    assert [format_rate(rate) for rate in (0.0, 1.0, 1.23456e-6)] == ["0 %", "100 %", "0.000123 %"]


def test_styles_have_other_colours_and_the_same_size() -> None:
    red = TEXT.colored("#FF0000")
    assert (red.size, red.weight, red.color) == (TEXT.size, TEXT.weight, "#FF0000")
    assert red.properties()["color"] == "#FF0000"
    assert TEXT.quiet.color != TEXT.color


@pytest.mark.parametrize(
    "draw",
    [
        lambda name: draw_class_similarity(np.eye(4), [0, 0, 1, 1], names=[name, "b"], title=name),
        lambda name: draw_roc({name: ([0.1, 0.9], [0, 1]), "b": ([0.2, 0.8], [0, 1])}, title=name),
        lambda name: draw_neighbors(PIXELS[:1], SearchResult([[name]], ONE, ONE), {name: PIXELS[0]}),
        lambda name: draw_ranking(PIXELS[0], PIXELS, [name, "b"], [0.2, 0.9], [0.05, 0.98], true_name=name, title=name),
        lambda name: draw_pairs(PIXELS, PIXELS, [1, 0], title=name),
    ],
    ids=["classes", "models", "neighbours", "ranking", "title"],
)
def test_figures_show_names_that_are_not_utf_8_with_escapes(draw: Any) -> None:
    figure = draw(os.fsdecode(b"caf\xe9"))
    figure.savefig(io.BytesIO())
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert any("caf\\udce9" in text for text in texts)
    assert all(text.isprintable() or "\n" in text for text in texts)
