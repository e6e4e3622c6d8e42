"""Error curves of one or several models: what they are drawn from, and their lines, bars, points and names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

from pairsim._common.arrays import Float64Array, Values
from pairsim.evaluation import PairFigures, RocCurve
from pairsim.visual.curves.pair_input import ScoredPairs, read_models, read_threshold
from pairsim.visual.page.layout import SMALL_SIZE, shorten_text, text_width
from pairsim.visual.page.style import LINES, Palette, figure_of, font_families, format_rate, halo
from pairsim.visual.page.values import format_signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Intervals: TypeAlias = Mapping[str, tuple[float, float]]
ToY: TypeAlias = Callable[[Float64Array], Float64Array]

_ALL_POINTS, _MOST_POINTS = 20_000, 4_000
_FEW_POINTS = 30
"""A curve with no more points has each of them marked."""
_BAND_POINTS = 8
_AT_FMR = "fnmr_at_fmr_"
_LONGEST_NAME, _LONGEST_ON_CURVE = 30, 14
_SLACK = 1.35
"""Axes become smaller when the layout makes room for the head; names then take a larger share of them."""


@dataclass(frozen=True)
class RatedModel:
    """A model with what is drawn of it."""

    name: str
    pairs: PairFigures
    curve: RocCurve
    threshold: float | None
    intervals: Intervals


def read_rated(
    scores: Values | PairFigures | Mapping[str, ScoredPairs],
    targets: Values | None,
    threshold: float | Mapping[str, float] | None,
    intervals: Intervals | Mapping[str, Intervals] | None,
) -> list[RatedModel]:
    """Check and bring together what is drawn of each model; see `read_models` for what is refused.

    Raises:
        ValueError: Also if a threshold is not finite, or options name unknown models.
    """
    pairs = read_models(scores, targets)
    one = list(pairs) == [""]
    cuts = threshold if isinstance(threshold, Mapping) else dict.fromkeys(pairs, threshold)
    given = cast("Mapping[str, Intervals]", {"": intervals} if one and intervals else intervals or {})
    for option, by_name in (("threshold", cuts), ("intervals", given)):
        unknown = [name for name in by_name if name not in pairs]
        if unknown:
            names = ", ".join(pairs) if not one else "one model without a name"
            raise ValueError(f"Expected {option} by model ({names}), got {unknown[0]!r}. Use the names of the scores.")
    models = []
    for name, scored in pairs.items():
        cut = cuts.get(name)
        curve = scored.roc_curve(None if scored.num_pairs <= _ALL_POINTS else _MOST_POINTS)
        models.append(
            RatedModel(name, scored, curve, None if cut is None else read_threshold(cut), given.get(name, {}))
        )
    return models


def draw_curves(
    axes: Axes,
    palette: Palette,
    models: list[RatedModel],
    to_y: ToY,
    figure_text: Callable[[RatedModel], str],
    *,
    name_above: bool,
) -> None:
    """Draw curves, bars, operating points and names into axes whose limits are set.

    Args:
        axes: Axes.
        palette: Colours.
        models: At most as many as there are line styles.
        to_y: Maps the FNMR to what the y axis shows.
        figure_text: What the key says of a model.
        name_above: Whether names stand above the curves or below.
    """
    labelled = False
    for k, model in enumerate(models):
        color, name = palette.series[k], shorten_text(model.name, _LONGEST_NAME)
        label = f"{name}: {figure_text(model)}" if name else figure_text(model)
        axes.plot(
            model.curve.fmr,
            to_y(model.curve.fnmr),
            color=color,
            linestyle=LINES[k],
            linewidth=1.8,
            marker="." if len(model.curve.fmr) <= _FEW_POINTS else None,
            label=label,
            zorder=3,
        )
        if (bars := _read_bars(model)) is not None:
            _draw_bars(axes, bars, color, to_y, label="" if labelled else "95 % interval")
            labelled = True
    for k, model in enumerate(models):
        if model.threshold is not None:
            _draw_operating_point(axes, palette, model, palette.series[k], to_y)
    if len(models) > 1:
        _name_curves(axes, palette, models, to_y, above=name_above)


def _read_bars(model: RatedModel) -> Float64Array | None:
    """FMRs with the ends of the FNMR at each `[3, K]`, by rising FMR; None where there are none."""
    found = sorted(
        (float(key.removeprefix(_AT_FMR)), *ends)
        for key, ends in model.intervals.items()
        if key.startswith(_AT_FMR) and not any(map(math.isnan, ends))
    )
    return np.array(found, dtype=np.float64).T if found else None


def _draw_bars(axes: Axes, bars: Float64Array, color: str, to_y: ToY, *, label: str) -> None:
    fmr, low, high = bars
    # zero has no place on a deviate axis
    low = np.maximum(low, 1e-9)
    # between a few of them straight lines would leave the curve
    if len(fmr) >= _BAND_POINTS:
        axes.fill_between(fmr, to_y(low), to_y(high), color=color, alpha=0.18, linewidth=0, zorder=2)
    axes.vlines(
        fmr, to_y(low), to_y(high), color=color, linewidth=4, alpha=0.45, zorder=2,
        label=label,
    )  # fmt: skip


def _draw_operating_point(axes: Axes, palette: Palette, model: RatedModel, color: str, to_y: ToY) -> None:
    assert model.threshold is not None
    fmr, fnmr = model.pairs.fmr_fnmr(model.threshold)
    x = float(np.clip(fmr, *axes.get_xlim()))
    y = float(np.clip(to_y(np.array(fnmr)), *axes.get_ylim()))
    for key, points in (("fmr", lambda ends: (ends, (y, y))), ("fnmr", lambda ends: ((x, x), to_y(ends)))):
        ends = np.array(model.intervals.get(key, (math.nan, math.nan)))
        if not np.isnan(ends).any():
            axes.plot(*points(np.maximum(ends, 1e-9)), color=palette.ink, linewidth=1.2, zorder=4)
    name = f"{shorten_text(model.name, _LONGEST_NAME)}, " if model.name else ""
    axes.plot(
        [x], [y], linestyle="", marker="D", markersize=7, markerfacecolor=color, markeredgecolor=palette.ink,
        zorder=6, clip_on=False,
        label=f"{name}threshold {format_signed(model.threshold, 3)}: FMR {format_rate(fmr)}, FNMR {format_rate(fnmr)}",
    )  # fmt: skip


def _name_curves(axes: Axes, palette: Palette, models: list[RatedModel], to_y: ToY, *, above: bool) -> None:
    """Write the name of each model on its curve, where it is on no other name."""
    box = axes.get_window_extent()
    inches = figure_of(axes).dpi
    to_axes = axes.transData + axes.transAxes.inverted()
    lift = 4 if above else -12
    height = _SLACK * 1.3 * SMALL_SIZE / 72 * inches / box.height
    taken: list[tuple[float, float, float]] = []
    for k, model in enumerate(models):
        name = shorten_text(model.name, _LONGEST_ON_CURVE)
        width = _SLACK * text_width(name, SMALL_SIZE, "bold") * inches / box.width
        points = np.stack([model.curve.fmr, to_y(model.curve.fnmr)], axis=1)
        # rates of 0, and on deviate axes of 1, are nowhere
        points = points[(points > 0).all(axis=1) & (points < (1.0 if above else 1.1)).all(axis=1)]
        places = to_axes.transform(points).reshape(-1, 2)
        places[:, 1] += lift / 72 * inches / box.height
        inside = (places > (0.02, 0.02)).all(axis=1) & (places < (0.98 - width, 0.98 - height)).all(axis=1)
        places = places[inside]
        # the first choice differs from model to model, so that lines close together have their names apart
        across = 0.25 + 0.5 * k / len(models)
        for x, y in places[np.argsort(np.abs(places[:, 0] - across), kind="stable")].tolist():
            if all(x >= left + wide or left >= x + width or abs(y - low) >= height for left, low, wide in taken):
                taken.append((x, y, width))
                axes.text(
                    x, y, name, transform=axes.transAxes, color=palette.series[k], fontsize=SMALL_SIZE,
                    fontfamily=font_families(), fontweight="bold", path_effects=halo(palette), zorder=7,
                    parse_math=False,
                )  # fmt: skip
                break
