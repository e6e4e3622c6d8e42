from __future__ import annotations

import html
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pairsim._common import markdown as md

yaml = pytest.importorskip("yaml")  # installed with huggingface_hub


def cells_of(table: str) -> list[str]:
    page = str(MarkdownIt("commonmark", {"html": True}).enable("table").render(table))
    return [html.unescape(text) for text in re.findall(r"<td>(.*?)</td>", page, re.DOTALL)]


@given(st.text(max_size=40))
def test_any_name_is_text_in_a_cell(name: str) -> None:
    assert cells_of(md.table(("a",), [(f"x{md.escape(name)}x",)])) == [f"x{md.one_line(name)}x"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=3),
        max_leaves=8,
    )
)
def test_front_matter_is_yaml_of_the_same_values(value: Any) -> None:
    def clean(item: Any) -> Any:
        if isinstance(item, dict):
            return {md.one_line(key): clean(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [clean(inner) for inner in item]
        return md.one_line(item) if isinstance(item, str) else item

    text = md.front_matter({"value": value})
    assert yaml.safe_load(text.removeprefix("---").removesuffix("---")) == {"value": clean(value)}


def test_a_code_block_may_contain_fences() -> None:
    assert md.code_block("a\n````\nb", "text") == "`````text\na\n````\nb\n`````"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (md.count(1234), "1,234"),
        (md.count(None), "not recorded"),
        (md.rate(0.01234), "1.234%"),
        (md.rate(float("nan")), "not measured"),
        (md.plain(0.5), "0.5000"),
        (md.plain("0.5"), "not measured"),
        (md.interval([0.1, 0.25]), "10.000% to 25.000%"),
        (md.interval([0.1, None]), "not measured"),
        (md.interval(None), "not measured"),
    ],
)
def test_figures_as_text(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(("value", "expected"), [(2, 2.0), (0.5, 0.5), (True, None), ("1", None), (float("inf"), None)])
def test_finite(value: Any, expected: float | None) -> None:
    assert md.finite(value) == expected


def test_names_that_are_not_utf_8_are_shown_with_escapes() -> None:
    assert md.one_line("caf\udce9\n x") == "caf\\udce9 x"
    assert cells_of(md.table(("a",), [(md.escape("caf\udce9"),)])) == ["caf\\udce9"]
