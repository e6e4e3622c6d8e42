"""Figures of error rates over all thresholds: ROC and DET curves of one or several models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from pairsim._common.arrays import Float64Array, Values
from pairsim._common.numbers import truth_value
from pairsim.evaluation import PairFigures
from pairsim.evaluation.curve_data import JoinedCurve, join_points
from pairsim.visual.curves.pair_input import Intervals, RatedModel, ScoredPairs, read_models
from pairsim.visual.page.plot import LINES, POINT_MARKERS, Plot, Style, show_percent
from pairsim.visual.page.text_styles import SMALL, SMALL_BOLD, format_rate, format_signed, shorten_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ToY: TypeAlias = Callable[[Float64Array], Float64Array]

_DET_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
_FMR = "false match rate, FMR (%)"
_TICK_GAP = 0.45
"""Inches between ticks."""
_MAX_MARKED_POINTS = 30
"""The points of a curve with no more of them are marked."""
_MIN_BAND_POINTS = 8
_POINTS_BETWEEN = 200
"""Rates from one end of an axis to the other, at which points are added between those of a curve."""
_AT_FMR = "fnmr_at_fmr_"
_MAX_NAME_ON_CURVE = 14
_SLACK = 1.35
"""Axes shrink when the layout makes room for the legend; then names take a larger share of them."""
_OUTSIDE = "at every threshold a rate is 0 or 100 %,\nwhich is outside these axes"


def draw_roc(
    scores: Values | PairFigures | Mapping[str, ScoredPairs],
    targets: Values | None = None,
    *,
    threshold: float | Mapping[str, float] | None = None,
    intervals: Intervals | Mapping[str, Intervals] | None = None,
    log_fmr: bool = True,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the true match rate against the false match rate, at every threshold.

    The curves are those of `evaluation.roc_curve`, with the dotted line of chance. Between two points they are straight
    in rates, as the AUC takes them to be, and so bent on the logarithmic axis. Of more than 20,000 pairs, about 4,000
    exact points are drawn, dense where either error is small. On the logarithmic axis, the area under the curve is not
    the AUC; the AUC is in the legend.

    Args:
        scores: One score per pair `[P]`, higher = more similar; or `PairScores` or `PairCounts`; or, for several
            models, `{name: (scores, targets) or PairScores or PairCounts}`, at most 7.
        targets: One target per pair `[P]`, 1 = same class; None if `scores` contain them.
        threshold: The operating point to mark; by name for several models, or one for all of them.
        intervals: Result of `evaluation.image_level_intervals` for these pairs, or `VerificationReport.intervals`; by
            name for several models. FNMRs at given FMRs are drawn as bars, 8 or more of them joined to a band; FMR and
            FNMR as a cross at the operating point, for whose threshold they must have been computed.
        log_fmr: Whether the FMR is on a logarithmic axis, which shows the range of low false match rates.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a score or threshold is not finite, a target is not 0 or 1, pairs of one
            kind are missing, or names of models, `intervals` or `style` are wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_roc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.5, log_fmr=False)
        >>> figure.axes[0].get_ylabel()
        'true match rate, 1 − FNMR (%)'
    """
    truth_value(log_fmr, "log_fmr")
    models = read_models(scores, targets, threshold, intervals)
    plot = Plot(ax, style, size=_size(models, 5.2), xlabel=_FMR, ylabels=["true match rate, 1 − FNMR (%)"])
    axes = plot.panels[0]
    bottom, chance = 0.0, np.array([0.0, 1.0])
    if log_fmr:
        low = 10.0 ** min(math.floor(math.log10(min(1 / model.pairs.num_negative for model in models))), -2)
        chance = np.geomspace(low, 1.0, _POINTS_BETWEEN)
        axes.set_xscale("log")
        # As many decades as there is room for their texts.
        axes.locator_params(axis="x", numticks=max(3, int(plot.inches.width / _TICK_GAP)))
        axes.minorticks_off()
        axes.set_xlim(low, 1.0)
    else:
        axes.set_xlim(-0.02, 1.0)
    curves = [join_points(model.curve, chance, np.zeros(0)) for model in models]
    if log_fmr:
        lowest = min(1.0 - float(np.max(curve.fnmr[curve.fmr >= low])) for curve in curves)
        # A round rate below all curves.
        bottom = next((rate for rate in (0.98, 0.95, 0.9, 0.8, 0.6) if rate + 0.3 * (1 - rate) <= lowest), 0.0)
    axes.set_ylim(bottom, 1.0 + 0.02 * (1 - bottom))
    show_percent(axes.xaxis, axes.yaxis)
    texts = [f"AUC {100 * model.pairs.roc_auc():.4g} %" for model in models]
    _draw_curves(plot, models, curves, lambda fnmr: 1.0 - fnmr, texts, name_above=False)
    axes.plot(chance, chance, color=plot.palette.quiet, linewidth=1.0, linestyle=":", label="chance")
    return plot.finish(title or ("ROC curve" if len(models) == 1 else "ROC curves"))


def draw_det(
    scores: Values | PairFigures | Mapping[str, ScoredPairs],
    targets: Values | None = None,
    *,
    threshold: float | Mapping[str, float] | None = None,
    intervals: Intervals | Mapping[str, Intervals] | None = None,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the detection error trade-off: FNMR against FMR, both on normal-deviate axes.

    Scores that are normal for both kinds of pairs give a straight line; lower left is better. Between two points the
    curve is straight in rates, and so bent on these axes. Rates of 0 and 1 are outside the axes. A square marks the
    equal error rate, and a marker for each model its operating point, at the edge of the axes if a rate is outside.

    Args:
        scores: As for `draw_roc`.
        targets: As for `draw_roc`.
        threshold: As for `draw_roc`.
        intervals: As for `draw_roc`; the interval of the EER is in the legend.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: As `draw_roc`.
        ValueError: As `draw_roc`.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_det([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        >>> figure.axes[0].get_ylabel()
        'false non-match rate, FNMR (%)'

    References:
        A. Martin et al., The DET curve in assessment of detection task performance, Eurospeech 1997.
    """
    models = read_models(scores, targets, threshold, intervals)
    plot = Plot(ax, style, size=_size(models, 6.2), xlabel=_FMR, ylabels=["false non-match rate, FNMR (%)"])
    axes = plot.panels[0]
    rates = [model.pairs.equal_error_rate() for model in models]
    high = 0.6 if max(rates) < 0.2 else 0.95
    points = np.concatenate([np.stack([model.curve.fmr, model.curve.fnmr]) for model in models], axis=1)
    points = points[:, ((points > 0) & (points <= high)).all(axis=0)]
    sides = (plot.inches.width, 2 * plot.inches.height)
    between = []
    for name, least_rate, inches in zip("xy", points.min(axis=1, initial=0.05).tolist(), sides, strict=True):
        low = max([tick for tick in _DET_TICKS if tick <= least_rate], default=_DET_TICKS[0])
        # Limits first: the default ones, 0 and 1, are infinite on this scale.
        getattr(axes, f"set_{name}lim")(low, high)
        getattr(axes, f"set_{name}scale")("function", functions=(_to_deviate, _from_deviate))
        getattr(axes, f"{name}axis").set_ticks(_deviate_ticks(low, high, inches))
        first, last = _to_deviate(np.array([low, high])).tolist()
        between.append(_from_deviate(np.linspace(first, last, _POINTS_BETWEEN)))
    axes.set_box_aspect(1.0)
    show_percent(axes.xaxis, axes.yaxis)
    curves = [join_points(model.curve, *between) for model in models]
    texts = [_eer_text(rate, model.intervals) for rate, model in zip(rates, models, strict=True)]
    _draw_curves(plot, models, curves, lambda fnmr: fnmr, texts, name_above=True)
    inside = [rate for rate in rates if 0 < rate < 1]
    if inside:
        look: dict[str, Any] = {"markersize": 10, "markeredgecolor": plot.palette.ink, "markeredgewidth": 1.3}
        axes.plot(inside, inside, "s", **look, markerfacecolor="none", zorder=5, label="equal error rate (EER)")
    drawn = [np.stack([curve.fmr, curve.fnmr]) for curve in curves]
    visible = [((points > 0) & (points < 1)).all(axis=0).any() for points in drawn]
    if not all(visible):
        names = ", ".join(model.name for model, seen in zip(models, visible, strict=True) if not seen)
        text = f"{names}:\n{_OUTSIDE}" if names else _OUTSIDE
        plot.annotate(text, (0.5, 0.55), horizontalalignment="center", verticalalignment="center")
    return plot.finish(title or ("DET curve" if len(models) == 1 else "DET curves"))


def _size(models: list[RatedModel], height: float) -> tuple[float, float]:
    """Return the size of a figure for the legend of models, with a height that is for one of them."""
    lines = len(models) + sum(model.threshold is not None for model in models)
    return 5.6, height + max(0, lines - 2) * SMALL.height()


def _eer_text(rate: float, intervals: Intervals) -> str:
    low, high = intervals.get("eer", (math.nan, math.nan))
    text = f"EER {format_rate(rate)}"
    return text if math.isnan(low) else f"{text} [{100 * low:.3g}, {100 * high:.3g}]"


def _deviate_ticks(low: float, high: float, inches: float) -> list[float]:
    """Return the ticks of a normal-deviate axis, from the highest, at least `_TICK_GAP` inches apart."""
    candidates = [tick for tick in reversed(_DET_TICKS) if low <= tick <= high]
    gap = _TICK_GAP / inches * float(np.ptp(_to_deviate(np.array([low, high]))))
    ticks = candidates[:1]
    for tick, position in zip(candidates, _to_deviate(np.array(candidates)), strict=True):
        if _to_deviate(np.array(ticks[-1])) - position >= gap:
            ticks.append(tick)
    return ticks


def _to_deviate(rates: Float64Array) -> Float64Array:
    return np.asarray(torch.special.ndtri(torch.as_tensor(np.asarray(rates, dtype=np.float64))))


def _from_deviate(deviates: Float64Array) -> Float64Array:
    return np.asarray(torch.special.ndtr(torch.as_tensor(np.asarray(deviates, dtype=np.float64))))


def _draw_curves(
    plot: Plot, models: list[RatedModel], curves: list[JoinedCurve], to_y: ToY, texts: list[str], *, name_above: bool
) -> None:
    """Draw curves, intervals, operating points and names into axes whose limits are set.

    Args:
        plot: Plot of one panel.
        models: At most as many as there are line styles.
        curves: The curve of each model.
        to_y: Maps the FNMR to the y axis.
        texts: Text of each model in the legend.
        name_above: Whether names are above the curves or below.
    """
    axes, colors, interval_label = plot.panels[0], plot.palette.series, "95 % interval"
    for model, curve, text, color, line in zip(models, curves, texts, colors, LINES, strict=False):
        look: dict[str, Any] = {"color": color, "linestyle": line, "linewidth": 1.8}
        if np.count_nonzero(curve.exact) <= _MAX_MARKED_POINTS:
            look |= {"marker": ".", "markevery": curve.exact}
        label = ": ".join(filter(None, (model.name, text)))
        axes.plot(curve.fmr, to_y(curve.fnmr), **look, label=label, zorder=3)
        bars = sorted(
            (float(key.removeprefix(_AT_FMR)), *ends)
            for key, ends in model.intervals.items()
            if key.startswith(_AT_FMR) and not any(map(math.isnan, ends))
        )
        if bars:
            fmr, *ends = np.array(bars, dtype=np.float64).T
            low, high = (to_y(np.maximum(end, 1e-9)) for end in ends)  # zero is at infinity on a deviate axis
            # Between a few bars the straight edges of a band would leave the curve.
            if len(fmr) >= _MIN_BAND_POINTS:
                axes.fill_between(fmr, low, high, color=color, alpha=0.18, linewidth=0, zorder=2)
            axes.vlines(fmr, low, high, color=color, linewidth=4, alpha=0.45, zorder=2, label=interval_label)
            interval_label = ""  # once in the legend
    for model, color, marker in zip(models, colors, POINT_MARKERS, strict=False):
        if model.threshold is not None:
            fmr, fnmr = model.pairs.fmr_fnmr(model.threshold)
            x = float(np.clip(fmr, *axes.get_xlim()))
            y = float(np.clip(to_y(np.array(fnmr)), *axes.get_ylim()))
            missing = (math.nan, math.nan)
            fmr_ends, fnmr_ends = (np.maximum(model.intervals.get(key, missing), 1e-9) for key in ("fmr", "fnmr"))
            for across, up in ((fmr_ends, [y, y]), ([x, x], to_y(fnmr_ends))):
                if not np.isnan([*across, *up]).any():
                    axes.plot(across, up, color=plot.palette.ink, linewidth=1.2, zorder=4)
            point = ", ".join(filter(None, (model.name, f"threshold {format_signed(model.threshold, 3)}")))
            label = f"{point}: FMR {format_rate(fmr)}, FNMR {format_rate(fnmr)}"
            look = {"markersize": 7, "markerfacecolor": color, "markeredgecolor": plot.palette.ink}
            axes.plot([x], [y], marker, **look, zorder=6, clip_on=False, label=label)
    if len(models) > 1:
        _name_curves(plot, models, curves, to_y, above=name_above)


def _name_curves(plot: Plot, models: list[RatedModel], curves: list[JoinedCurve], to_y: ToY, *, above: bool) -> None:
    """Write the name of each model on its curve, where it does not overlap another name."""
    axes, colors = plot.panels[0], plot.palette.series
    inch_x, inch_y = 1 / plot.inches.width, 1 / plot.inches.height
    to_axes = axes.transData + axes.transAxes.inverted()
    height = _SLACK * 1.3 * SMALL_BOLD.size / 72 * inch_y
    names: list[tuple[float, float, float]] = []
    texts = shorten_names([model.name for model in models], _MAX_NAME_ON_CURVE)
    for k, (name, curve) in enumerate(zip(texts, curves, strict=True)):
        width = _SLACK * SMALL_BOLD.width(name) * inch_x
        points = np.stack([curve.fmr, to_y(curve.fnmr)], axis=1)
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
