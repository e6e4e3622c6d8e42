"""Charts as SVG text that takes its colours from the page around it, light or dark.

Lines differ by dash and name as well as by colour. Text in a chart is escaped here, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import NormalDist
from typing import Literal

from pairsim._common.arrays import Float64Array

Scale = Literal["linear", "log", "deviate"]

WIDTH, HEIGHT = 460, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 68, 26, 34, 46
_MOST_POINTS = 400


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: What it shows, with its unit.
        low: Its lower end, above 0 unless linear.
        high: Its upper end, below 1 for "deviate".
        scale: "linear", "log", or "deviate" (of the normal distribution, as in a DET curve).
        ticks: Where it is labelled.
        percent: Whether labels are percentages.
    """

    label: str
    low: float
    high: float
    scale: Scale = "linear"
    ticks: tuple[float, ...] = ()
    percent: bool = False

    def share(self, value: float) -> float:
        """Where a value lies from the lower (0) to the upper end (1); values beyond lie at the end."""
        inside = min(max(value, self.low), self.high)
        low, high, at = (self._scaled(number) for number in (self.low, self.high, inside))
        return 0.5 if high == low else (at - low) / (high - low)

    def holds(self, value: float) -> bool:
        """Whether a value lies within the axis, but for rounding."""
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack

    def _scaled(self, value: float) -> float:
        if self.scale == "log":
            return math.log10(value)
        return NormalDist().inv_cdf(value) if self.scale == "deviate" else value

    def text(self, value: float) -> str:
        """The label of a tick."""
        return f"{value * 100:g} %" if self.percent else f"{value:g}"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through points.

    Attributes:
        name: Shown in the legend.
        x: `[K]`.
        y: `[K]`.
        kind: Its colour and dash: "first", "second" or "plain" (thin, for comparison).
        steps: Whether it goes on in steps, as the outline of a histogram does; y is then `[K - 1]`.
        dots: Whether its points are marked.
    """

    name: str
    x: Float64Array
    y: Float64Array
    kind: Literal["first", "second", "plain"] = "first"
    steps: bool = False
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point or, without y, an upright line, with a text beside it; `style` is a further class for the page."""

    x: float
    y: float | None = None
    text: str = ""
    style: str = ""


def draw_chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], *, marks: Sequence[Mark] = (), name: str, summary: str
) -> str:
    """An SVG element.

    Args:
        title: Shown above, and read out.
        x: The axis below.
        y: The axis to the left.
        lines: Drawn in this order, without points that are not finite or not within the axes.
        marks: Drawn above the lines.
        name: Begins the ids inside, one for each chart of a page.
        summary: What there is to see, in a sentence, for those who do not.

    Returns:
        SVG text.
    """
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-title {name}-summary">',
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-summary">{escape(summary)}</desc>',
        f'<text class="chart-title" x="{_LEFT}" y="16">{escape(title)}</text>',
        *_axes(x, y),
        *(_line(line, x, y) for line in lines),
        *_legend([line for line in lines if line.name]),
        *(_mark(mark, x, y) for mark in marks),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part)


def thin_out(x: Float64Array, y: Float64Array, most: int = _MOST_POINTS) -> tuple[Float64Array, Float64Array]:
    """At most so many points of a curve, its ends among them."""
    if len(x) <= most:
        return x, y
    chosen = [round(place * (len(x) - 1) / (most - 1)) for place in range(most)]
    return x[chosen], y[chosen]


def plot_span() -> dict[str, int]:
    """Where the plot of a chart begins from the left, and its width."""
    return {"left": _LEFT, "width": WIDTH - _LEFT - _RIGHT}


def nice_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """About so many round numbers from `low` to `high`.

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


def _place(x: Axis, y: Axis, a: float, b: float) -> tuple[float, float]:
    across, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    return _LEFT + across * x.share(a), HEIGHT - _BOTTOM - down * y.share(b)


def _axes(x: Axis, y: Axis) -> list[str]:
    parts = []
    for tick in x.ticks:
        at, _ = _place(x, y, tick, y.low)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - _BOTTOM + 15}">{escape(x.text(tick))}</text>')
    for tick in y.ticks:
        _, at = _place(x, y, x.low, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 6}" y="{at + 4:.1f}">{escape(y.text(tick))}</text>')
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts.append(f'<text class="axis" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}">{escape(x.label)}</text>')
    parts.append(
        f'<text class="axis" transform="translate(11 {middle}) rotate(-90)" x="0" y="0">{escape(y.label)}</text>'
    )
    return parts


def _line(line: Line, x: Axis, y: Axis) -> str:
    points = []
    if line.steps:
        heights = line.y.tolist()
        edges = line.x.tolist()
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            points += [(left, height), (right, height)]
    else:
        points = list(zip(line.x.tolist(), line.y.tolist(), strict=True))
    points = [(a, b) for a, b in points if x.holds(a) and y.holds(b)]
    placed = [_place(x, y, a, b) for a, b in points]
    if not placed:
        return ""
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in placed)
    drawn = f'<polyline class="line {line.kind}" points="{path}"/>'
    if line.dots or len(placed) == 1:
        drawn += "".join(f'<circle class="dot {line.kind}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in placed)
    return drawn


def _legend(lines: Sequence[Line]) -> list[str]:
    parts, at = [], float(_LEFT)
    for line in lines:
        parts.append(f'<line class="line {line.kind}" x1="{at:.0f}" y1="26" x2="{at + 24:.0f}" y2="26"/>')
        parts.append(f'<text class="legend" x="{at + 29:.0f}" y="30">{escape(line.name)}</text>')
        at += 44 + 6.1 * len(line.name)
    return parts


def _mark(mark: Mark, x: Axis, y: Axis) -> str:
    kind = f"mark {mark.style}".rstrip()
    at, height = _place(x, y, mark.x, y.high if mark.y is None else mark.y)
    right = at > WIDTH * 0.6
    label_at = at - 7 if right else at + 7
    text = f'<text class="mark-text{" end" if right else ""}" x="{label_at:.1f}" y="{height + 12:.1f}">'
    text = f"{text}{escape(mark.text)}</text>" if mark.text else ""
    if mark.y is None:
        return f'<line class="{kind}" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{HEIGHT - _BOTTOM}"/>{text}'
    return f'<path class="{kind}" d="M{at - 5:.1f},{height:.1f} h10 M{at:.1f},{height - 5:.1f} v10"/>{text}'
