"""Histograms of the scores of positive and of negative pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Values, check_count
from pairsim.evaluation import PairFigures
from pairsim.evaluation.curve_data import score_histogram
from pairsim.visual.curves.pair_input import read_pairs
from pairsim.visual.page.plot import THRESHOLD_LINE, Plot, Style, show_percent
from pairsim.visual.page.text_styles import format_rate, format_signed
from pairsim.visual.page.values import check_finite_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_score_histogram(
    scores: Values | PairFigures,
    targets: Values | None = None,
    *,
    threshold: float | None = None,
    num_bins: int = 60,
    log: bool = False,
    xlabel: str = "similarity (cosine)",
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw histograms of the scores of positive and of negative pairs, as shares of the pairs of each kind.

    Both kinds have the same bins, and each adds up to 100 %, so that rare positive pairs remain visible. `PairCounts`
    are drawn from their counts, in the same time for 50 million pairs as for 50,000.

    Args:
        scores: One score per pair `[P]`, higher = more similar; or `PairScores` or `PairCounts`.
        targets: One target per pair `[P]`, 1 = same class; None if `scores` contain them.
        threshold: A threshold to mark, with its FMR and FNMR on these pairs.
        num_bins: Bins of equal width from the lowest score to the highest.
        log: Whether shares are on a logarithmic axis, on which single pairs are visible.
        xlabel: Label of the scores.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on; by default those of a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a score or the threshold is not finite, a target is not 0 or 1, pairs of
            one kind are missing, or `num_bins` or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_score_histogram([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], threshold=0.5)
        >>> figure.axes[0].get_xlabel()
        'similarity (cosine)'
    """
    pairs = read_pairs(scores, targets)
    if threshold is not None:
        check_finite_threshold(threshold)
    check_count(num_bins, "num_bins", 1, 60)
    histogram = score_histogram(pairs, num_bins)
    plot = Plot(ax, style, size=(6.4, 4.0), xlabel=xlabel, ylabels=["share of the pairs of each kind (%)"])
    axes, series = plot.panels[0], plot.palette.series

    # Below a single pair of the larger kind, so that one pair alone is visible.
    floor = 0.5 / max(pairs.num_positive, pairs.num_negative) if log else 0.0
    kinds: list[tuple[Any, str, int, str, Any]] = [
        (histogram.negative_share, f"different class ({pairs.num_negative:,} pairs)", 1, "\\\\\\\\", (0, (4, 1.5))),
        (histogram.positive_share, f"same class ({pairs.num_positive:,} pairs)", 0, "////", "-"),
    ]
    for share, _, color, hatch, _ in kinds:
        look: dict[str, Any] = {"facecolor": (series[color], 0.22), "edgecolor": (series[color], 0.35), "hatch": hatch}
        axes.stairs(np.maximum(share, floor), histogram.edges, baseline=floor, fill=True, linewidth=0, **look)
    for share, label, color, _, line in kinds:
        look = {"color": series[color], "linewidth": 1.4, "linestyle": line}
        axes.stairs(np.maximum(share, floor), histogram.edges, baseline=floor, **look, label=label)
    highest = max(float(share.max()) for share, *_ in kinds)
    if log:
        axes.set_yscale("log")
    # Room for the text beside the threshold.
    axes.set_ylim(floor, highest * ((highest / floor) ** 0.14 if log else 1.14))
    show_percent(axes.yaxis)
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    margin = 0.02 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    if threshold is not None:
        _mark_threshold(plot, pairs, threshold, to_left=threshold - low > high - threshold)
    return plot.finish(title or "Scores of positive and negative pairs", columns=2)


def _mark_threshold(plot: Plot, pairs: PairFigures, threshold: float, *, to_left: bool) -> None:
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    plot.panels[0].axvline(threshold, color=plot.palette.ink, linewidth=1.3, linestyle=THRESHOLD_LINE)
    plot.annotate(
        f"threshold {format_signed(threshold, 3)}\nFMR {format_rate(fmr)}, FNMR {format_rate(fnmr)}",
        (threshold, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if to_left else 5, -2),
        textcoords="offset points",
        horizontalalignment="right" if to_left else "left",
        verticalalignment="top",
    )
