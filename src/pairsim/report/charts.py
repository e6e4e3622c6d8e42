"""Charts as SVG text that takes its colours from the page around it, light or dark.

Lines differ by dash and name as well as by colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from pairsim._common.arrays import Float64Array
from pairsim.report.rendering import render

Scale = Literal["linear", "log", "deviate"]

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 78, WIDTH - 26, 34, HEIGHT - 46
"""Edges of the area of the data."""
_AREA = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: Label, with the unit.
        low: Lower end, above 0 unless linear.
        high: Upper end, below 1 for "deviate".
        scale: "linear", "log", or "deviate" (of the normal distribution, as in a DET curve).
        ticks: Values with a label.
        percent: Whether labels are percentages.
    """

    label: str
    low: float
    high: float
    scale: Scale = "linear"
    ticks: tuple[float, ...] = ()
    percent: bool = False

    def share(self, value: float) -> float:
        """Return the position of a value, from 0 at the lower to 1 at the upper end; values beyond are at the end."""
        inside = min(max(value, self.low), self.high)
        low, high, at = (self._scaled(number) for number in (self.low, self.high, inside))
        return 0.5 if high == low else (at - low) / (high - low)

    def spread(self, count: int) -> Float64Array:
        """Return values from the lower to the upper end at equal distances on the axis."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        places = [low + (high - low) * k / (count - 1) for k in range(1, count - 1)]
        return np.array([self.low, *map(self._unscaled, places), self.high])

    def contains(self, value: float) -> bool:
        """Return whether a value is within the axis, up to rounding."""
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack

    def _scaled(self, value: float) -> float:
        if self.scale == "log":
            return math.log10(value)
        return NormalDist().inv_cdf(value) if self.scale == "deviate" else value

    def _unscaled(self, place: float) -> float:
        if self.scale == "log":
            return float(10.0**place)
        return NormalDist().cdf(place) if self.scale == "deviate" else place

    def text(self, value: float) -> str:
        """Return the label of a tick."""
        return f"{value * 100:g} %" if self.percent else f"{value:g}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through points.

    Attributes:
        name: Name in the legend.
        x: `[K]`.
        y: `[K]`.
        kind: Colour and dash: "first", "second", "plain" (thin, for comparison) or "interval" (thin, of a mark).
        steps: Whether it is a step line, such as the outline of a histogram; y is then `[K - 1]`.
        dots: Whether its points are marked.
    """

    name: str
    x: Float64Array
    y: Float64Array
    kind: Literal["first", "second", "plain", "interval"] = "first"
    steps: bool = False
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Band:
    """A filled area, such as of intervals, below the lines.

    Attributes:
        name: Name in the legend.
        outline: Its corners, x and y `[K, 2]`; those beyond the axes are at their ends.
    """

    name: str
    outline: Float64Array


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point or, without y, a vertical line, with a text beside it.

    Attributes:
        x: Position on the horizontal axis.
        y: Position on the vertical axis.
        text: The text; beside a point it is on the side of the line that is free.
        falling: Whether the point is on a line that falls, whose upper right and lower left are free.
        css_class: A further class for the page.
    """

    x: float
    y: float | None = None
    text: str = ""
    falling: bool = False
    css_class: str = ""


def draw_chart(
    title: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    *,
    bands: Sequence[Band] = (),
    marks: Sequence[Mark] = (),
    note: str = "",
    name: str,
    summary: str,
) -> str:
    """Draw a chart.

    Args:
        title: Title, which screen readers read as well.
        x: The horizontal axis.
        y: The vertical axis.
        lines: Lines in the order of drawing; points that are not finite or outside the axes are left out.
        bands: Areas below the lines.
        marks: Marks above the lines.
        note: Text in the middle, where there is no line.
        name: Prefix of the ids in the chart, which differs between the charts of a page.
        summary: Description of the chart in a sentence, for screen readers.

    Returns:
        An SVG element as markup; texts in it are escaped.
    """
    shown: list[Line | Band] = [*lines, *bands]
    named = [item for item in shown if item.name]
    widths = [44 + 6.1 * len(item.name) for item in named]
    return render(
        "chart.svg",
        title=title,
        summary=summary,
        note=note,
        name=name,
        **_AREA,
        x=x,
        y=y,
        x_ticks=[(_across(x, tick), x.text(tick)) for tick in x.ticks],
        y_ticks=[(_down(y, tick), y.text(tick)) for tick in y.ticks],
        lines=[{"kind": line.kind, "dots": line.dots, "points": _points(line, x, y)} for line in lines],
        bands=[[(_across(x, a), _down(y, b)) for a, b in band.outline.tolist()] for band in bands],
        legend=[
            (round(LEFT + sum(widths[:k])), item.name, item.kind if isinstance(item, Line) else "")
            for k, item in enumerate(named)
        ],
        marks=[(mark, _across(x, mark.x), TOP if mark.y is None else _down(y, mark.y)) for mark in marks],
    )


def _across(axis: Axis, value: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * axis.share(value), 1)


def _down(axis: Axis, value: float) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * axis.share(value), 1)


def _points(line: Line, x: Axis, y: Axis) -> list[tuple[float, float]]:
    across, up = (np.repeat(line.x, 2)[1:-1], np.repeat(line.y, 2)) if line.steps else (line.x, line.y)
    points = zip(across.tolist(), up.tolist(), strict=True)
    return [(_across(x, a), _down(y, b)) for a, b in points if x.contains(a) and y.contains(b)]


def nice_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Return about `count` round numbers from `low` to `high`.

    Example:
        >>> nice_ticks(0.0, 1.0)
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    if not high > low:
        return (low,)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return tuple(round((first + k) * step, 12) for k in range(math.floor(high / step + 1e-9) - first + 1))
