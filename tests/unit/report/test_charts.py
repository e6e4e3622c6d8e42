"""Charts say what they show, and put points where the axes say."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Band,
    Line,
    Mark,
    draw_chart,
    nice_ticks,
)

UNIT = Axis(label="x", low=0.0, high=1.0, ticks=(0.0, 0.5, 1.0))


def points_of(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'<polyline class="line first" points="([^"]*)"', svg)
    assert found is not None
    return [(float(a), float(b)) for a, b in (pair.split(",") for pair in found[1].split())]


def test_chart_is_well_formed_and_names_itself() -> None:
    line = Line(name="a < b", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]))
    svg = draw_chart("<script>", UNIT, UNIT, [line], name="c", summary="x & y", marks=[Mark(x=0.5, text="here")])
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert [child.text for child in root[:2]] == ["<script>", "x & y"]
    texts = [element.text for element in root.iter("text")]
    assert {"a < b", "<script>", "here", "x", "0.5"} <= set(texts)


def test_points_lie_where_the_axes_say() -> None:
    line = Line(name="", x=np.array([0.0, 0.5, 1.0]), y=np.array([0.0, 0.25, 1.0]))
    (x0, y0), (x1, y1), (x2, y2) = points_of(draw_chart("t", UNIT, UNIT, [line], name="c", summary=""))
    assert (x0, x2) == (LEFT, RIGHT)
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y0 > y1 > y2
    assert (y0 - y1) / (y0 - y2) == pytest.approx(0.25, abs=0.01)


def test_points_outside_or_not_finite_are_left_out() -> None:
    line = Line(name="", x=np.array([-1.0, 0.0, 0.5, math.nan, 1.0]), y=np.array([0.0, 0.0, math.inf, 0.5, 1.0]))
    assert len(points_of(draw_chart("t", UNIT, UNIT, [line], name="c", summary=""))) == 2


def test_steps_go_on_from_edge_to_edge() -> None:
    line = Line(name="", x=np.array([0.0, 0.5, 1.0]), y=np.array([0.2, 0.8]), steps=True)
    points = points_of(draw_chart("t", UNIT, UNIT, [line], name="c", summary=""))
    assert len(points) == 4
    assert points[0][1] == points[1][1] > points[2][1] == points[3][1]


@given(st.floats(1e-4, 0.6), st.sampled_from(["linear", "log", "deviate"]))
def test_axis_rises_and_ends_at_its_ends(value: float, scale: str) -> None:
    axis = Axis(label="", low=1e-4, high=0.6, scale=scale)  # type: ignore[arg-type]
    assert 0.0 <= axis.share(value) <= 1.0
    assert axis.share(value) <= axis.share(min(value * 1.01, 0.6)) + 1e-12
    assert (axis.share(1e-4), axis.share(0.6)) == (0.0, 1.0)


@pytest.mark.parametrize("scale", ["linear", "log", "deviate"])
def test_values_are_spread_evenly_over_an_axis(scale: str) -> None:
    axis = Axis(label="", low=1e-4, high=0.6, scale=scale)  # type: ignore[arg-type]
    values = axis.spread(9)
    assert (values[0], values[-1]) == (1e-4, 0.6)
    assert [axis.share(value) for value in values.tolist()] == pytest.approx(np.linspace(0, 1, 9).tolist())


@pytest.mark.parametrize(
    ("at", "falling", "side"),
    [(0.2, False, "lower right"), (0.2, True, "upper right"), (0.9, False, "upper left"), (0.9, True, "lower left")],
)
def test_the_text_of_a_mark_is_beside_its_line(at: float, falling: bool, side: str) -> None:
    mark = Mark(x=at, y=0.5, text="here", falling=falling)
    root = ET.fromstring(draw_chart("t", UNIT, UNIT, [], name="c", summary="", marks=[mark]))
    (text,) = [element for element in root.iter("text") if element.text == "here"]
    left = text.attrib["class"] == "mark-text end"
    above = float(text.attrib["y"]) < (TOP + BOTTOM) / 2
    assert side == f"{'upper' if above else 'lower'} {'left' if left else 'right'}"


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_ticks_are_round_few_and_inside(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert 1 <= len(ticks) <= 12
    slack = 1e-6 * span
    assert all(low - slack <= tick <= low + span + slack for tick in ticks)
    assert list(ticks) == sorted(set(ticks))


def test_text_fits_the_page() -> None:
    axis = Axis(label="share", low=1e-6, high=1.0, scale="log", percent=True, ticks=(1e-6, 1.0))
    svg = draw_chart("t", axis, axis, [], name="c", summary="")
    root = ET.fromstring(svg)
    for text in root.iter("text"):
        if "tick" in text.attrib.get("class", ""):
            width = 7.0 * len(text.text or "")
            end = text.attrib["class"] == "tick end"
            left = float(text.attrib["x"]) - (width if end else width / 2)
            assert left >= (14 if end else 0)  # beside the label of the axis
            assert end or left + width <= WIDTH
            assert float(text.attrib["y"]) <= HEIGHT


def test_dots_marks_and_legend() -> None:
    lines = [
        Line(name="one", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]), dots=True),
        Line(name="two", x=np.array([0.5]), y=np.array([0.5]), kind="second"),
        Line(name="", x=np.array([0.0, 1.0]), y=np.array([0.5, 0.5]), kind="plain"),
    ]
    marks = [Mark(x=0.9, text="right"), Mark(x=0.1, y=0.5, css_class="point")]
    root = ET.fromstring(draw_chart("t", UNIT, UNIT, lines, name="c", summary="", marks=marks))
    assert [element.attrib["class"] for element in root.iter("circle")] == ["dot first", "dot first", "dot second"]
    legend = [element for element in root.iter("text") if element.attrib["class"] == "legend"]
    assert [element.text for element in legend] == ["one", "two"]
    (label,) = [element for element in root.iter("text") if element.text == "right"]
    assert label.attrib["class"] == "mark-text end"  # stays inside the chart
    assert [element.attrib["class"] for element in root.iter("path")] == ["mark point"]
    (upright,) = [element for element in root.iter("line") if element.attrib["class"] == "mark"]
    assert upright.attrib["x1"] == upright.attrib["x2"]


def test_a_band_is_below_the_lines_and_ends_at_the_axes() -> None:
    band = Band(name="around", outline=np.array([[-1.0, 0.0], [2.0, 0.5], [0.5, 9.0]]))
    line = Line(name="one", x=np.array([0.0, 1.0]), y=np.array([0.0, 1.0]))
    root = ET.fromstring(draw_chart("t", UNIT, UNIT, [line], bands=[band], name="c", summary=""))
    (drawn,) = list(root.iter("polygon"))
    corners = [tuple(map(float, corner.split(","))) for corner in drawn.attrib["points"].split()]
    assert [x for x, _ in corners] == [LEFT, RIGHT, (LEFT + RIGHT) / 2]
    assert [y for _, y in corners] == [BOTTOM, (TOP + BOTTOM) / 2, TOP]
    order = list(root.iter())
    assert order.index(drawn) < order.index(next(root.iter("polyline")))
    legend = [element.text for element in root.iter("text") if element.attrib["class"] == "legend"]
    assert legend == ["one", "around"]
    assert [element.attrib["class"] for element in root.iter("rect")] == ["band"]
