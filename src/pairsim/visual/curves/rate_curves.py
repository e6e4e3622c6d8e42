"""Figures of error rates over all thresholds: ROC and DET curves of one or several models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from pairsim._common.arrays import Float64Array, Values
from pairsim.errors import require
from pairsim.evaluation import PairFigures
from pairsim.visual.curves.curve_parts import Intervals, RatedModel, draw_curves, read_rated
from pairsim.visual.curves.pair_input import ScoredPairs
from pairsim.visual.page.layout import SMALL_SIZE, shorten_text
from pairsim.visual.page.style import (
    Palette,
    Style,
    dress,
    figure_of,
    font_families,
    format_rate,
    halo,
    open_axes,
    palette_of,
    write_head,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DET_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
_TICK_ROOM = 0.45
"""Inches from one tick to the next."""
_NOWHERE = "at every threshold a rate is 0 or 100 %,\nwhich has no place on these axes"


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

    The curves are those of `evaluation.roc_curve`, joined by straight lines, with the dotted line of chance; of more
    than 20,000 pairs some 4,000 exact points are drawn, dense where either error is small. On the logarithmic axis the
    area under the curve is not the AUC, which the key has.

    Args:
        scores: One score per pair `[P]`, higher = more alike; or `PairScores` or `PairCounts`; or, for several models,
            `{name: (scores, targets) or PairScores or PairCounts}`, at most 7.
        targets: One target per pair `[P]`, 1 = same class; None where `scores` hold them.
        threshold: The operating point to mark; by name for several models, or one for all of them.
        intervals: What `evaluation.image_level_intervals` gives for these pairs, or `VerificationReport.intervals`; by
            name for several models. The FNMR at given FMRs become bars, from 8 on joined to a band; FMR and FNMR a
            cross at the operating point, whose threshold they must be for.
        log_fmr: Whether the FMR is on a logarithmic axis, which shows what low false match rates cost.
        title: Title; a plain one by default.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on; by default those of a new figure.

    Returns:
        The figure drawn on; one of its own belongs to no window.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a score or threshold is not finite, a target is not 0 or 1, there are no pairs of
            a kind, or names of models, `intervals` or `style` are wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_roc([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0], threshold=0.5, log_fmr=False)
        >>> figure.axes[0].get_ylabel()
        'true match rate, 1 − FNMR (%)'
    """
    models = read_rated(scores, targets, threshold, intervals)
    palette = palette_of(style)
    (axes,) = open_axes(ax, palette, width=5.6, height=5.2)
    dress(axes, palette, xlabel="false match rate, FMR (%)", ylabel="true match rate, 1 − FNMR (%)")
    low = 0.0
    if log_fmr:
        least = min(1 / model.pairs.num_negative for model in models)
        low = 10.0 ** min(math.floor(math.log10(least)), -2)
        axes.set_xscale("log")
        ticker = require("matplotlib.ticker", extra="viz", purpose="Drawing")
        # of the decades as many as have room for their texts
        axes.xaxis.set_major_locator(ticker.LogLocator(numticks=max(3, int(_inches(axes, "x") / _TICK_ROOM))))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    bottom = _lowest_tmr(models, low) if log_fmr else 0.0
    axes.set_xlim(low, 1.0) if log_fmr else axes.set_xlim(-0.02, 1.0)
    axes.set_ylim(bottom, 1.0 + 0.02 * (1 - bottom))
    _write_percent(axes)
    chance: Float64Array = np.geomspace(low, 1.0, 200) if log_fmr else np.array([0.0, 1.0])
    draw_curves(
        axes,
        palette,
        models,
        lambda fnmr: 1.0 - fnmr,
        lambda model: f"AUC {100 * model.pairs.roc_auc():.4g} %",
        name_above=False,
    )
    axes.plot(chance, chance, color=palette.quiet, linewidth=1.0, linestyle=":", label="chance")
    write_head(axes, palette, title=title or ("ROC curve" if len(models) == 1 else "ROC curves"))
    return figure_of(axes)


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

    Scores that are normal for both kinds of pairs give a straight line; lower left is better. Rates of 0 and 1 lie
    outside. The square marks where both rates are equal; a diamond marks the operating point, at the edge where a rate
    lies outside.

    Args:
        scores: As for `draw_roc`.
        targets: As for `draw_roc`.
        threshold: As for `draw_roc`.
        intervals: As for `draw_roc`; the key also has that of the EER.
        title: Title; a plain one by default.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on; by default those of a new figure.

    Returns:
        The figure drawn on; one of its own belongs to no window.

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
    models = read_rated(scores, targets, threshold, intervals)
    palette = palette_of(style)
    (axes,) = open_axes(ax, palette, width=5.6, height=5.8)
    dress(axes, palette, xlabel="false match rate, FMR (%)", ylabel="false non-match rate, FNMR (%)")
    worst = max(model.pairs.equal_error_rate() for model in models)
    high = 0.6 if worst < 0.2 else 0.95
    for axis, set_limits, least in (
        ("x", axes.set_xlim, min(_least_rate(model.curve.fmr, model.curve.fnmr, high) for model in models)),
        ("y", axes.set_ylim, min(_least_rate(model.curve.fnmr, model.curve.fmr, high) for model in models)),
    ):
        low = max([tick for tick in _DET_TICKS if tick <= min(least, 0.05)], default=_DET_TICKS[0])
        # limits first: the default ones, 0 and 1, are infinite on these axes
        set_limits(low, high)
        scale = axes.set_xscale if axis == "x" else axes.set_yscale
        scale("function", functions=(_to_deviate, _from_deviate))
        locator = require("matplotlib.ticker", extra="viz", purpose="Drawing").FixedLocator(
            _det_ticks(low, high, _TICK_ROOM / _inches(axes, axis))
        )
        getattr(axes, f"{axis}axis").set_major_locator(locator)
    axes.set_box_aspect(1.0)
    _write_percent(axes)
    draw_curves(axes, palette, models, lambda fnmr: fnmr, _error_rate, name_above=True)
    rates = [rate for rate in (model.pairs.equal_error_rate() for model in models) if 0 < rate < 1]
    if rates:
        axes.plot(
            rates, rates, linestyle="", marker="s", markersize=10, markerfacecolor="none",
            markeredgecolor=palette.ink, markeredgewidth=1.3, zorder=5, label="equal error rate (EER)",
        )  # fmt: skip
    _name_missing(axes, palette, models)
    write_head(axes, palette, title=title or ("DET curve" if len(models) == 1 else "DET curves"))
    return figure_of(axes)


def _error_rate(model: RatedModel) -> str:
    low, high = model.intervals.get("eer", (math.nan, math.nan))
    text = f"EER {format_rate(model.pairs.equal_error_rate())}"
    return text if math.isnan(low) else f"{text} [{100 * low:.3g}, {100 * high:.3g}]"


def _lowest_tmr(models: list[RatedModel], low: float) -> float:
    """A round true match rate that no curve falls below within the axes."""
    lowest = min(float(np.min(model.curve.tmr[model.curve.fmr >= low], initial=1.0)) for model in models)
    return next((bottom for bottom in (0.98, 0.95, 0.9, 0.8, 0.6) if bottom + 0.3 * (1 - bottom) <= lowest), 0.0)


def _name_missing(axes: Axes, palette: Palette, models: list[RatedModel]) -> None:
    """Say which curves lie outside of the axes as a whole, as those of models that make no error."""
    missing = []
    for model in models:
        fmr, fnmr = model.curve.fmr, model.curve.fnmr
        if not ((fmr > 0) & (fmr < 1) & (fnmr > 0) & (fnmr < 1)).any():
            missing.append(shorten_text(model.name, 30))
    if missing:
        named = ", ".join(filter(None, missing))
        axes.text(
            0.5, 0.55, f"{named}:\n{_NOWHERE}" if named else _NOWHERE, transform=axes.transAxes, color=palette.ink,
            fontsize=SMALL_SIZE, fontfamily=font_families(), horizontalalignment="center", verticalalignment="center",
            path_effects=halo(palette), parse_math=False,
        )  # fmt: skip


def _write_percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda rate, _: _percent(rate))


def _percent(rate: float) -> str:
    text = f"{100 * rate:.6f}"
    return text.rstrip("0").rstrip(".")


def _least_rate(rates: Float64Array, others: Float64Array, high: float) -> float:
    """The lowest rate above 0 of the points that the axes show."""
    return float(np.min(rates[(rates > 0) & (others > 0) & (others <= high)], initial=0.05))


def _inches(axes: Axes, axis: str) -> float:
    box = axes.get_window_extent()
    return float(box.width if axis == "x" else 2 * box.height) / figure_of(axes).dpi


def _det_ticks(low: float, high: float, share: float) -> list[float]:
    """Ticks from high to low rates, each some share of the axis from the last one."""
    room = share * float(_to_deviate(np.array(high)) - _to_deviate(np.array(low)))
    ticks: list[float] = []
    for tick in sorted((tick for tick in _DET_TICKS if low <= tick <= high), reverse=True):
        if not ticks or float(_to_deviate(np.array(ticks[-1])) - _to_deviate(np.array(tick))) >= room:
            ticks.append(tick)
    return ticks


def _to_deviate(rates: Float64Array) -> Float64Array:
    deviates: Float64Array = torch.special.ndtri(torch.as_tensor(np.asarray(rates, dtype=np.float64))).numpy()
    return deviates


def _from_deviate(deviates: Float64Array) -> Float64Array:
    rates: Float64Array = torch.special.ndtr(torch.as_tensor(np.asarray(deviates, dtype=np.float64))).numpy()
    return rates
