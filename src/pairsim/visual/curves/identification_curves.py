"""Figures of searches in a gallery: FPIR against FNIR at every threshold, and the CMC, of one or several reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.numbers import counted
from pairsim.search import IdentificationReport
from pairsim.visual.curves.pair_input import MAX_MODELS
from pairsim.visual.page.plot import LINES, MARKERS, POINT_MARKERS, Plot, Style, show_percent
from pairsim.visual.page.text_styles import format_rate, format_signed, name_of, shorten_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_NAME = 30
_MAX_MARKED_POINTS = 30
"""The points of a curve with no more of them are marked."""
_OUTSIDE = "at every threshold a rate is 0 %,\nwhich is outside these axes"


def draw_fpir_fnir(
    reports: IdentificationReport | Mapping[str, IdentificationReport],
    *,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the FNIR against the FPIR at every threshold, as a DET curve on logarithmic axes; lower left is better.

    The rates hold for galleries of the size that is stated below the title. The band encloses, at each threshold, the
    95 % intervals of both rates together. A marker for each report shows its threshold with both intervals, at the edge
    of the axes if a rate is 0, which is outside.

    Args:
        reports: Result of `evaluate_gallery`; or, for several galleries or models, `{name: report}`, at most 7.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: If a report is of another type.
        ValueError: If there are no searches of one kind, no report or more than 7, or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> from pairsim import Gallery, SimilarityModel, evaluate_gallery
        >>> from pairsim.data import ImageTensors
        >>> images = torch.randint(0, 256, (8, 28, 28), dtype=torch.uint8)
        >>> gallery = Gallery(SimilarityModel())
        >>> gallery.add(images[:3, None], ["a", "b", "c"])
        ()
        >>> report = evaluate_gallery(gallery, ImageTensors(images[3:], ["a", "b", "c", "d", "e"]), threshold=0.5)
        >>> draw_fpir_fnir(report).axes[0].get_xlabel()
        'false positive identification rate, FPIR (%)'

    References:
        ISO/IEC 19795-1:2021, Biometric performance testing and reporting, part 1.
        P. Grother, M. Ngan, K. Hanaoka, Face Recognition Vendor Test (FRVT) part 2: Identification, NISTIR 8271, 2019.
    """
    named = _named(reports)
    for name, report in named.items():
        if not (report.num_mated and report.num_non_mated):
            of = f" of {name}" if name else ""
            raise ValueError(
                f"Expected searches of both kinds{of}, got {report.num_mated:,} mated and {report.num_non_mated:,} "
                "non-mated. Search for enrolled and for unknown identities."
            )
    plot = Plot(
        ax,
        style,
        size=(5.6, 5.9),
        xlabel="false positive identification rate, FPIR (%)",
        ylabels=["false negative identification rate, FNIR (%)"],
    )
    axes, palette = plot.panels[0], plot.palette
    curves = {name: np.array([(at.fpir, at.fnir) for at in report.curve]).T for name, report in named.items()}
    for place, axis in enumerate("xy"):
        least = min((float(curve[place][curve[place] > 0].min(initial=1.0)) for curve in curves.values()), default=1.0)
        getattr(axes, f"set_{axis}scale")("log")
        getattr(axes, f"set_{axis}lim")(10.0 ** min(math.floor(math.log10(least)), -1), 1.0)
    axes.minorticks_off()
    axes.set_box_aspect(1.0)
    show_percent(axes.xaxis, axes.yaxis)
    sizes = {name: _size(report) for name, report in named.items()}
    subtitle = next(iter(sizes.values())) if len(set(sizes.values())) == 1 else ""
    band_label = "95 % intervals of both rates"
    looks = zip(named.items(), palette.series, LINES, POINT_MARKERS, strict=False)
    for (name, report), color, line, point in looks:
        fpir, fnir = curves[name]
        across, up = np.maximum(report.band, 1e-9).T  # zero is at infinity on these axes
        axes.fill(across, up, color=color, alpha=0.18, linewidth=0, zorder=2, label=band_label)
        band_label = ""  # once in the legend
        marker = "." if len(fpir) <= _MAX_MARKED_POINTS else None
        label = ": ".join(filter(None, (name, "" if subtitle else sizes[name]))) or "all thresholds"
        axes.plot(fpir, fnir, color=color, linestyle=line, linewidth=1.8, marker=marker, label=label, zorder=3)
        if not math.isnan(report.threshold):
            _mark_threshold(plot, name, report, {"marker": point, "markerfacecolor": color})
    visible = [bool((curve > 0).all(axis=0).any()) for curve in curves.values()]
    if not all(visible):
        names = ", ".join(name for name, seen in zip(named, visible, strict=True) if not seen)
        text = f"{names}:\n{_OUTSIDE}" if names else _OUTSIDE
        plot.annotate(text, (0.5, 0.55), horizontalalignment="center", verticalalignment="center")
    return plot.finish(title or "Errors of identification", subtitle=subtitle)


def draw_cmc(
    reports: IdentificationReport | Mapping[str, IdentificationReport],
    *,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the cumulative match characteristic: how often the right identity is among the first 1, 2, ... ones.

    It is of the searches for enrolled identities, whatever the threshold, and depends on the size of the gallery. The
    bar at rank 1 is a 95 % interval for other enrolled identities.

    Args:
        reports: As for `draw_fpir_fnir`.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: As for `draw_fpir_fnir`.
        ValueError: If there are no mated searches, no report or more than 7, or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> import torch
        >>> from pairsim import Gallery, SimilarityModel, evaluate_gallery
        >>> from pairsim.data import ImageTensors
        >>> images = torch.randint(0, 256, (6, 28, 28), dtype=torch.uint8)
        >>> gallery = Gallery(SimilarityModel())
        >>> gallery.add(images[:3, None], ["a", "b", "c"])
        ()
        >>> report = evaluate_gallery(gallery, ImageTensors(images[3:], ["a", "b", "c"]))
        >>> draw_cmc(report).axes[0].get_xlabel()
        'rank'
    """
    named = _named(reports)
    for name, report in named.items():
        if not report.num_mated:
            of = f" of {name}" if name else ""
            raise ValueError(
                f"Expected searches for enrolled identities{of}, got none. Search for images of identities in the "
                "gallery."
            )
    plot = Plot(
        ax, style, size=(5.6, 4.4), xlabel="rank", ylabels=["share with the right identity up to that rank (%)"]
    )
    axes, bar_label = plot.panels[0], "95 % interval of rank-1"
    sizes = {name: _size(report, all_searches=False) for name, report in named.items()}
    subtitle = next(iter(sizes.values())) if len(set(sizes.values())) == 1 else ""
    looks = zip(named.items(), plot.palette.series, LINES, MARKERS, strict=False)
    for (name, report), color, line, marker in looks:
        known = f"rank-1 {format_rate(report.rank_1)}" + ("" if subtitle else f", {sizes[name]}")
        label = ": ".join(filter(None, (name, known)))
        look: dict[str, Any] = {"color": color, "linestyle": line, "linewidth": 1.8, "marker": marker, "markersize": 4}
        axes.plot(range(1, len(report.cmc) + 1), report.cmc, **look, label=label, zorder=3)
        if not any(map(math.isnan, report.rank_1_interval)):
            axes.vlines(1, *report.rank_1_interval, color=color, linewidth=4, alpha=0.45, zorder=2, label=bar_label)
            bar_label = ""  # once in the legend
    last = max(len(report.cmc) for report in named.values())
    axes.set_xlim(0.5, last + 0.5)
    axes.set_xticks([1, *range(5, last + 1, 5)] if last > 8 else range(1, last + 1))
    ends = [low for report in named.values() for low in (report.rank_1, report.rank_1_interval[0])]
    lowest = min(low for low in ends if not math.isnan(low))
    # A round share below all points.
    bottom = next((share for share in (0.98, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2) if share < lowest), 0.0)
    axes.set_ylim(bottom, 1.0 + 0.02 * (1 - bottom))
    show_percent(axes.yaxis)
    return plot.finish(title or "Cumulative match characteristic (CMC)", subtitle=subtitle)


def _named(reports: IdentificationReport | Mapping[str, IdentificationReport]) -> dict[str, IdentificationReport]:
    """Return reports by the name in the legend, which is empty for a single one."""
    given = dict(reports) if isinstance(reports, Mapping) else {"": reports}
    if not 1 <= len(given) <= MAX_MODELS:
        raise ValueError(
            f"Expected 1 to {MAX_MODELS} reports, got {len(given)}. Give at least one; draw more in further figures."
        )
    for report in given.values():
        if not isinstance(report, IdentificationReport):
            raise TypeError(
                f"Expected the result of evaluate_gallery, or {{name: result}}, got {type(report).__name__}. Call "
                "pairsim.evaluate_gallery(gallery, images)."
            )
    names = shorten_names([name_of(name) for name in given], _MAX_NAME)
    return dict(zip(names, given.values(), strict=True))


def _size(report: IdentificationReport, *, all_searches: bool = True) -> str:
    """Say what the rates of a report depend on; `all_searches` includes those that are not for enrolled identities."""
    searches = f"{report.num_mated:,} mated" + (f" and {report.num_non_mated:,} non-mated" if all_searches else "")
    return f"{counted(report.num_enrolled, 'identity', 'identities')} enrolled; {searches} searches"


def _mark_threshold(plot: Plot, name: str, report: IdentificationReport, look: dict[str, Any]) -> None:
    """Mark the operating point with the intervals of both rates."""
    axes, ink = plot.panels[0], plot.palette.ink
    x, y = max(report.fpir, axes.get_xlim()[0]), max(report.fnir, axes.get_ylim()[0])
    ends = [np.maximum(interval, 1e-9) for interval in (report.fpir_interval, report.fnir_interval)]
    for across, up in ((ends[0], [y, y]), ([x, x], ends[1])):
        if not np.isnan([*across, *up]).any():
            axes.plot(across, up, color=ink, linewidth=1.2, zorder=4)
    point = ", ".join(filter(None, (name, f"threshold {format_signed(report.threshold, 3)}")))
    label = f"{point}: FPIR {format_rate(report.fpir)}, FNIR {format_rate(report.fnir)}"
    look = look | {"markersize": 7, "markeredgecolor": ink}
    axes.plot([x], [y], **look, linestyle="none", zorder=6, clip_on=False, label=label)
