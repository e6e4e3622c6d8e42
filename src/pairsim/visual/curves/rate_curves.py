"""Figures of error rates over all thresholds: ROC and DET curves of one or several models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pairsim._common.arrays import Float64Array, Values
from pairsim.evaluation import PairFigures
from pairsim.visual.curves.curve_parts import Intervals, RatedModel, draw_curves, read_rated
from pairsim.visual.curves.pair_input import ScoredPairs
from pairsim.visual.page.plot import Plot, Style, show_percent
from pairsim.visual.page.text_styles import format_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DET_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999)
_FMR = "false match rate, FMR (%)"
_TICK_GAP = 0.45
"""Inches between ticks."""
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

    The curves are those of `evaluation.roc_curve`, joined by straight lines, with the dotted line of chance. Of more
    than 20,000 pairs, about 4,000 exact points are drawn, dense where either error is small. On the logarithmic axis,
    the area under the curve is not the AUC; the AUC is in the legend.

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
        ax: Axes to draw on; by default those of a new figure.

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
    models = read_rated(scores, targets, threshold, intervals)
    plot = Plot(ax, style, size=(5.6, 5.2), xlabel=_FMR, ylabels=["true match rate, 1 − FNMR (%)"])
    axes = plot.panels[0]
    chance: Float64Array = np.array([0.0, 1.0])
    if log_fmr:
        from matplotlib.ticker import LogLocator, NullLocator

        low = 10.0 ** min(math.floor(math.log10(min(1 / model.pairs.num_negative for model in models))), -2)
        chance = np.geomspace(low, 1.0, 200)
        axes.set_xscale("log")
        # As many decades as there is room for their texts.
        axes.xaxis.set_major_locator(LogLocator(numticks=max(3, int(plot.inches.width / _TICK_GAP))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(low, 1.0)
        bottom = _lowest_tmr(models, low)
    else:
        axes.set_xlim(-0.02, 1.0)
        bottom = 0.0
    axes.set_ylim(bottom, 1.0 + 0.02 * (1 - bottom))
    show_percent(axes.xaxis, axes.yaxis)
    draw_curves(plot, models, lambda fnmr: 1.0 - fnmr, _auc_text, name_above=False)
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

    Normally distributed scores of both kinds of pairs give a straight line; lower left is better. Rates of 0 and 1 are
    outside the axes. A square marks the equal error rate; a diamond marks the operating point, at the edge of the axes
    if a rate is outside.

    Args:
        scores: As for `draw_roc`.
        targets: As for `draw_roc`.
        threshold: As for `draw_roc`.
        intervals: As for `draw_roc`; the interval of the EER is in the legend.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on; by default those of a new figure.

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
    models = read_rated(scores, targets, threshold, intervals)
    plot = Plot(ax, style, size=(5.6, 5.8), xlabel=_FMR, ylabels=["false non-match rate, FNMR (%)"])
    axes = plot.panels[0]
    rates = [model.pairs.equal_error_rate() for model in models]
    high = 0.6 if max(rates) < 0.2 else 0.95
    points = np.concatenate([(model.curve.fmr, model.curve.fnmr) for model in models], axis=1)
    points = points[:, ((points > 0) & (points <= high)).all(axis=0)]
    sides = (plot.inches.width, 2 * plot.inches.height)
    for name, least_rate, inches in zip("xy", points.min(axis=1, initial=0.05).tolist(), sides, strict=True):
        _set_deviate_axis(axes, name, least_rate, high, inches)
    axes.set_box_aspect(1.0)
    show_percent(axes.xaxis, axes.yaxis)
    draw_curves(plot, models, lambda fnmr: fnmr, _eer_text, name_above=True)
    inside = [rate for rate in rates if 0 < rate < 1]
    if inside:
        look: dict[str, Any] = {"markersize": 10, "markeredgecolor": plot.palette.ink, "markeredgewidth": 1.3}
        axes.plot(inside, inside, "s", **look, markerfacecolor="none", zorder=5, label="equal error rate (EER)")
    _name_outside(plot, models)
    return plot.finish(title or ("DET curve" if len(models) == 1 else "DET curves"))


def _auc_text(model: RatedModel) -> str:
    return f"AUC {100 * model.pairs.roc_auc():.4g} %"


def _eer_text(model: RatedModel) -> str:
    low, high = model.intervals.get("eer", (math.nan, math.nan))
    text = f"EER {format_rate(model.pairs.equal_error_rate())}"
    return text if math.isnan(low) else f"{text} [{100 * low:.3g}, {100 * high:.3g}]"


def _lowest_tmr(models: list[RatedModel], low: float) -> float:
    """Return a round true match rate below all curves within the axes."""
    lowest = min(float(np.min(model.curve.tmr[model.curve.fmr >= low], initial=1.0)) for model in models)
    return next((bottom for bottom in (0.98, 0.95, 0.9, 0.8, 0.6) if bottom + 0.3 * (1 - bottom) <= lowest), 0.0)


def _name_outside(plot: Plot, models: list[RatedModel]) -> None:
    """Name the curves that are entirely outside the axes, such as those of models without an error."""
    outside = []
    for model in models:
        rates = np.stack([model.curve.fmr, model.curve.fnmr])
        if not ((rates > 0) & (rates < 1)).all(axis=0).any():
            outside.append(model.short_name)
    if outside:
        names = ", ".join(filter(None, outside))
        text = f"{names}:\n{_OUTSIDE}" if names else _OUTSIDE
        plot.annotate(text, (0.5, 0.55), horizontalalignment="center", verticalalignment="center")


def _set_deviate_axis(axes: Axes, name: str, least_rate: float, high: float, inches: float) -> None:
    """Set limits, scale and ticks of a normal-deviate axis, with ticks at least `_TICK_GAP` inches apart."""
    from matplotlib.ticker import FixedLocator

    low = max([tick for tick in _DET_TICKS if tick <= min(least_rate, 0.05)], default=_DET_TICKS[0])
    # Limits first: the default ones, 0 and 1, are infinite on this scale.
    getattr(axes, f"set_{name}lim")(low, high)
    getattr(axes, f"set_{name}scale")("function", functions=(_to_deviate, _from_deviate))
    candidates = np.array([tick for tick in reversed(_DET_TICKS) if low <= tick <= high])
    positions = _to_deviate(candidates)
    gap = _TICK_GAP / inches * float(_to_deviate(np.array(high)) - _to_deviate(np.array(low)))
    ticks: list[int] = []
    for k, position in enumerate(positions):
        if not ticks or positions[ticks[-1]] - position >= gap:
            ticks.append(k)
    getattr(axes, f"{name}axis").set_major_locator(FixedLocator(candidates[ticks].tolist()))


def _to_deviate(rates: Float64Array) -> Float64Array:
    return np.asarray(torch.special.ndtri(torch.as_tensor(np.asarray(rates, dtype=np.float64))))


def _from_deviate(deviates: Float64Array) -> Float64Array:
    return np.asarray(torch.special.ndtr(torch.as_tensor(np.asarray(deviates, dtype=np.float64))))
