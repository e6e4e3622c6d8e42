from __future__ import annotations

import json

import jinja2
import pytest

from pairsim.report import rendering
from pairsim.report.rendering import percent, render, settings_text


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Templates by name, in place of the package's own."""
    templates: dict[str, str] = {}
    monkeypatch.setattr(rendering._environment(), "loader", jinja2.DictLoader(templates))
    return templates


def test_values_are_escaped_and_rendered_markup_is_not_escaped_again(template: dict[str, str]) -> None:
    template |= {"inner": "<b>{{ name }}</b>", "outer": "<p title='{{ name }}'>{{ inner }}</p>"}
    name = "<script>'\"&"
    inner = render("inner", name=name)
    assert inner == "<b>&lt;script&gt;&#39;&#34;&amp;</b>"
    assert render("outer", name=name, inner=inner) == f"<p title='&lt;script&gt;&#39;&#34;&amp;'>{inner}</p>"


def test_a_missing_value_is_an_error(template: dict[str, str]) -> None:
    template["page"] = "{{ absent }}"
    with pytest.raises(jinja2.UndefinedError, match="absent"):
        render("page")


def test_json_cannot_end_its_script_and_has_no_nan(template: dict[str, str]) -> None:
    template["json"] = "<script>{{ values|tojson }}</script>"
    text = render("json", values={"a": "</script><b>", "b": [1, 2]})
    assert text.count("</script>") == 1
    assert json.loads(text.removeprefix("<script>").removesuffix("</script>")) == {"a": "</script><b>", "b": [1, 2]}
    with pytest.raises(ValueError, match="Out of range float"):
        render("json", values=float("nan"))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.5, 3, "50.000 %"),
        (0.12345, 2, "12.35 %"),
        (0.0, 2, "0.00 %"),
        (float("nan"), 3, "not measurable with so few pairs"),
    ],
)
def test_rates_in_per_cent(value: float, digits: int, text: str) -> None:
    assert percent(value, digits) == text


def test_settings_are_in_one_line() -> None:
    assert settings_text({"a": 1, "b": {"c": None, "d": {"e": "x"}}, "f": None, "g": {}}) == "a 1, e x"
    assert settings_text({}) == ""
