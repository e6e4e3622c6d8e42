from __future__ import annotations

import pytest
from markdown_it import MarkdownIt

from pairsim._common import markdown


@pytest.mark.parametrize("name", ["<b>", "a|b", "*c* _d_", "`e`", "[f](g)", "1 ~ 2 $", "a\\b", "&amp;", "two\nlines"])
def test_escaped_text_is_shown_as_it_is(name: str) -> None:
    (inline,) = [token for token in MarkdownIt().parse(f"x {markdown.escape(name)}") if token.type == "inline"]
    assert {child.type for child in inline.children or []} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children or []) == f"x {markdown.one_line(name)}"


def test_one_line_has_no_control_characters() -> None:
    assert markdown.one_line("a\x1b[0m\r\n\tb  c") == "a [0m b c"


def test_the_fence_is_longer_than_those_inside() -> None:
    text = "```\ncode\n````"
    block = markdown.code_block(text, "bash")
    assert block.startswith("`````bash\n")
    (fence,) = [token for token in MarkdownIt().parse(block) if token.type == "fence"]
    assert (fence.info, fence.content) == ("bash", f"{text}\n")


def test_table() -> None:
    assert markdown.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_front_matter() -> None:
    values = {"tags": ["a", "no"], "yes": {"x y": 1, "deep": [{"one": 1, "two": None}]}, "empty": [], "share": 0.5}
    assert markdown.front_matter(values).splitlines() == [
        "---",
        "tags:",
        '  - "a"',
        '  - "no"',
        '"yes":',
        '  "x y": 1',
        "  deep:",
        "    - one: 1",
        "      two: null",
        "empty: []",
        "share: 0.5",
        "---",
    ]


@pytest.mark.parametrize("value", [None, "1", True, float("nan"), float("inf"), [1]])
def test_what_is_not_a_finite_number_is_not_measured(value: object) -> None:
    assert markdown.finite(value) is None
    assert markdown.rate(value) == markdown.plain(value) == "not measured"
    assert markdown.count(value) == "not recorded"
    assert markdown.interval([0.5, value]) == markdown.interval(value) == "not measured"


def test_figures() -> None:
    assert markdown.count(1234567) == "1,234,567"
    assert markdown.rate(0.12345) == "12.345%"
    assert markdown.plain(0.123456) == "0.1235"
    assert markdown.interval((0.1, 0.25)) == "10.000% to 25.000%"
    assert markdown.interval([0.1, 0.2, 0.3]) == "not measured"
