"""Error curves of one or several models: their data, lines, intervals, operating points and names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np

from pairsim._common.arrays import Float64Array, Values
from pairsim.evaluation import PairFigures, RocCurve
from pairsim.evaluation.curve_data import curve_points
from pairsim.visual.curves.pair_input import ScoredPairs, read_models
from pairsim.visual.page.plot import LINES, Plot
from pairsim.visual.page.text_styles import SMALL_BOLD, format_rate, format_signed, shorten_text
from pairsim.visual.page.values import check_finite_threshold

Intervals: TypeAlias = Mapping[str, tuple[float, float]]
ToY: TypeAlias = Callable[[Float64Array], Float64Array]

_MAX_MARKED_POINTS = 30
"""The points of a curve with no more of them are marked."""
_MIN_BAND_POINTS = 8
_AT_FMR = "fnmr_at_fmr_"
_MAX_NAME, _MAX_NAME_ON_CURVE = 30, 14
_SLACK = 1.35
"""Axes shrink when the layout makes room for the legend; then names take a larger share of them."""


@dataclass(frozen=True)
class RatedModel:
    """A model with the data that is drawn of it.

    Attributes:
        name: Its name; empty for a single model.
        pairs: Its scores.
        curve: Points of its error curve.
        threshold: Its operating point.
        intervals: Intervals by the name of the figure.
    """

    name: str
    pairs: PairFigures
    curve: RocCurve
    threshold: float | None
    intervals: Intervals

    @property
    def short_name(self) -> str:
        """The name as it is written in the legend."""
        return shorten_text(self.name, _MAX_NAME)


def read_rated(
    scores: Values | PairFigures | Mapping[str, ScoredPairs],
    targets: Values | None,
    threshold: float | Mapping[str, float] | None,
    intervals: Intervals | Mapping[str, Intervals] | None,
) -> list[RatedModel]:
    """Check and combine the data of each model; see `read_models` for the input.

    Raises:
        ValueError: Also if a threshold is not finite, or options name unknown models.
    """
    pairs = read_models(scores, targets)
    single = list(pairs) == [""]
    thresholds = threshold if isinstance(threshold, Mapping) else dict.fromkeys(pairs, threshold)
    all_intervals = cast("Mapping[str, Intervals]", {"": intervals} if single and intervals else intervals or {})
    for option, by_name in (("threshold", thresholds), ("intervals", all_intervals)):
        unknown = [name for name in by_name if name not in pairs]
        if unknown:
            names = "one model without a name" if single else ", ".join(pairs)
            raise ValueError(f"Expected {option} by model ({names}), got {unknown[0]!r}. Use the names of the scores.")
    for value in thresholds.values():
        if value is not None:
            check_finite_threshold(value)
    return [
        RatedModel(name, scored, curve_points(scored), thresholds.get(name), all_intervals.get(name, {}))
        for name, scored in pairs.items()
    ]


def draw_curves(
    plot: Plot, models: list[RatedModel], to_y: ToY, figure_text: Callable[[RatedModel], str], *, name_above: bool
) -> None:
    """Draw curves, intervals, operating points and names into axes whose limits are set.

    Args:
        plot: Plot of one panel.
        models: At most as many as there are line styles.
        to_y: Maps the FNMR to the y axis.
        figure_text: Returns the text of a model in the legend.
        name_above: Whether names are above the curves or below.
    """
    axes, colors, interval_label = plot.panels[0], plot.palette.series, "95 % interval"
    for model, color, line in zip(models, colors, LINES, strict=False):
        marker = "." if len(model.curve.fmr) <= _MAX_MARKED_POINTS else None
        look: dict[str, Any] = {"color": color, "linestyle": line, "linewidth": 1.8, "marker": marker}
        label = ": ".join(filter(None, (model.short_name, figure_text(model))))
        axes.plot(model.curve.fmr, to_y(model.curve.fnmr), **look, label=label, zorder=3)
        if _draw_intervals(plot, model.intervals, color, to_y, interval_label):
            interval_label = ""
    for model, color in zip(models, colors, strict=False):
        if model.threshold is not None:
            _draw_operating_point(plot, model, model.threshold, color, to_y)
    if len(models) > 1:
        _name_curves(plot, models, to_y, above=name_above)


def _draw_intervals(plot: Plot, intervals: Intervals, color: str, to_y: ToY, label: str) -> bool:
    """Draw the intervals of the FNMR at given FMRs, and return whether there are any."""
    bars = sorted(
        (float(key.removeprefix(_AT_FMR)), *ends)
        for key, ends in intervals.items()
        if key.startswith(_AT_FMR) and not any(map(math.isnan, ends))
    )
    if not bars:
        return False
    fmr, *ends = np.array(bars, dtype=np.float64).T
    low, high = (to_y(np.maximum(end, 1e-9)) for end in ends)  # zero is at infinity on a deviate axis
    # Between a few bars the straight edges of a band would leave the curve.
    if len(fmr) >= _MIN_BAND_POINTS:
        plot.panels[0].fill_between(fmr, low, high, color=color, alpha=0.18, linewidth=0, zorder=2)
    plot.panels[0].vlines(fmr, low, high, color=color, linewidth=4, alpha=0.45, zorder=2, label=label)
    return True


def _draw_operating_point(plot: Plot, model: RatedModel, threshold: float, color: str, to_y: ToY) -> None:
    axes, ink = plot.panels[0], plot.palette.ink
    fmr, fnmr = model.pairs.fmr_fnmr(threshold)
    x = float(np.clip(fmr, *axes.get_xlim()))
    y = float(np.clip(to_y(np.array(fnmr)), *axes.get_ylim()))
    missing = (math.nan, math.nan)
    fmr_ends, fnmr_ends = (np.maximum(model.intervals.get(key, missing), 1e-9) for key in ("fmr", "fnmr"))
    for across, up in ((fmr_ends, [y, y]), ([x, x], to_y(fnmr_ends))):
        if not np.isnan([*across, *up]).any():
            axes.plot(across, up, color=ink, linewidth=1.2, zorder=4)
    rates = f"FMR {format_rate(fmr)}, FNMR {format_rate(fnmr)}"
    name = f"{model.short_name}, " if model.name else ""
    label = f"{name}threshold {format_signed(threshold, 3)}: {rates}"
    style: dict[str, Any] = {"markersize": 7, "markerfacecolor": color, "markeredgecolor": ink}
    axes.plot([x], [y], "D", **style, zorder=6, clip_on=False, label=label)


def _name_curves(plot: Plot, models: list[RatedModel], to_y: ToY, *, above: bool) -> None:
    """Write the name of each model on its curve, where it does not overlap another name."""
    axes, colors = plot.panels[0], plot.palette.series
    inch_x, inch_y = 1 / plot.inches.width, 1 / plot.inches.height
    to_axes = axes.transData + axes.transAxes.inverted()
    height = _SLACK * 1.3 * SMALL_BOLD.size / 72 * inch_y
    names: list[tuple[float, float, float]] = []
    for k, model in enumerate(models):
        name = shorten_text(model.name, _MAX_NAME_ON_CURVE)
        width = _SLACK * SMALL_BOLD.width(name) * inch_x
        points = np.stack([model.curve.fmr, to_y(model.curve.fnmr)], axis=1)
        # Rates of 0, and on deviate axes of 1, are outside the axes.
        points = points[(points > 0).all(axis=1) & (points < (1.0 if above else 1.1)).all(axis=1)]
        positions = to_axes.transform(points).reshape(-1, 2)
        positions[:, 1] += (4 if above else -12) / 72 * inch_y
        inside = ((positions > 0.02) & (positions < (0.98 - width, 0.98 - height))).all(axis=1)
        positions = positions[inside]
        # The preferred position differs between models, so that names on close curves do not overlap.
        preferred = 0.25 + 0.5 * k / len(models)
        for x, y in positions[np.argsort(np.abs(positions[:, 0] - preferred), kind="stable")].tolist():
            if all(x >= left + wide or left >= x + width or abs(y - low) >= height for left, low, wide in names):
                names.append((x, y, width))
                plot.annotate(name, (x, y), color=colors[k], fontweight="bold", zorder=7)
                break
