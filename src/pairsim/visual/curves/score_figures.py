"""A figure of how scores of positive and of negative pairs are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Values, check_count
from pairsim.evaluation import PairFigures
from pairsim.visual.curves.pair_input import read_pairs, read_threshold
from pairsim.visual.page.layout import SMALL_SIZE
from pairsim.visual.page.style import (
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
from pairsim.visual.page.values import format_signed

if TYPE_CHECKING:
    import numpy.typing as npt
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
    """Draw the spread of scores of positive and of negative pairs, each as shares of its own kind.

    Both kinds have the same bins, and each adds up to 100 %, so that rare positive pairs stay visible. Scores that
    evaluation has counted (`PairCounts`) are drawn from their counts: 50 million pairs take no more than 50,000.

    Args:
        scores: One score per pair `[P]`, higher = more alike; or `PairScores` or `PairCounts`.
        targets: One target per pair `[P]`, 1 = same class; None where `scores` hold them.
        threshold: A cut to mark, with its FMR and FNMR on these pairs.
        num_bins: Bins of equal width from the lowest score to the highest.
        log: Whether shares are on a logarithmic axis, which shows single pairs far from the others.
        xlabel: What the scores are.
        title: Title; a plain one by default.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on; by default those of a new figure.

    Returns:
        The figure drawn on; one of its own belongs to no window.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a score or the threshold is not finite, a target is not 0 or 1, there are no pairs
            of a kind, or `num_bins` or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_score_histogram([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], threshold=0.5)
        >>> figure.axes[0].get_xlabel()
        'similarity (cosine)'
    """
    pairs = read_pairs(scores, targets)
    cut = None if threshold is None else read_threshold(threshold)
    check_count(num_bins, "num_bins", 1, 60)
    palette = palette_of(style)
    edges = _bin_edges(pairs, num_bins)
    (axes,) = open_axes(ax, palette, width=6.4, height=4.0)
    dress(axes, palette, xlabel=xlabel, ylabel="share of the pairs of each kind (%)")

    positive, negative = pairs.ranked
    shares = [_count(kind, edges) / kind.size for kind in (negative, positive)]
    # below a single pair of the larger kind, so that one pair alone is seen
    floor = 0.5 / max(pairs.num_positive, pairs.num_negative) if log else 0.0
    looks: list[tuple[str, int, str, Any]] = [
        (f"different class ({pairs.num_negative:,} pairs)", 1, "\\\\\\\\", (0, (4, 1.5))),
        (f"same class ({pairs.num_positive:,} pairs)", 0, "////", "-"),
    ]
    for share, (_, color, hatch, _) in zip(shares, looks, strict=True):
        tall = np.maximum(share, floor)
        tint = palette.series[color]
        axes.stairs(tall, edges, baseline=floor, fill=True, facecolor=tint, alpha=0.22, edgecolor="none")
        axes.stairs(
            tall,
            edges,
            baseline=floor,
            fill=True,
            facecolor="none",
            edgecolor=tint,
            hatch=hatch,
            alpha=0.35,
            linewidth=0,
        )
    for share, (label, color, _, line) in zip(shares, looks, strict=True):
        axes.stairs(
            np.maximum(share, floor), edges, baseline=floor, color=palette.series[color], linewidth=1.4, linestyle=line,
            label=label,
        )  # fmt: skip
    highest = max(float(share.max()) for share in shares)
    if log:
        axes.set_yscale("log")
        # room for what is written beside the threshold
        axes.set_ylim(floor, highest * (highest / floor) ** 0.14)
    else:
        axes.set_ylim(0.0, highest * 1.14)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    low, high = float(edges[0]), float(edges[-1])
    if cut is not None:
        low, high = min(low, cut), max(high, cut)
    room = 0.02 * (high - low)
    axes.set_xlim(low - room, high + room)
    if cut is not None:
        _mark_threshold(axes, pairs, cut, palette.ink, halo(palette), to_left=cut - low > high - cut)
    write_head(axes, palette, title=title or "Scores of positive and negative pairs", columns=2)
    return figure_of(axes)


def _bin_edges(pairs: PairFigures, num_bins: int) -> npt.NDArray[np.float64]:
    ends = [float(kind.values[place]) for kind in pairs.ranked for place in (0, -1)]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges: npt.NDArray[np.float64] = np.linspace(low, high, num_bins + 1)
    return edges


def _count(kind: Any, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Scores in each bin; all but the last are without their right end."""
    below = np.append(kind.below(edges[:-1].astype(kind.values.dtype)), kind.size)
    counts: npt.NDArray[np.int64] = np.diff(below)
    return counts


def _mark_threshold(axes: Axes, pairs: PairFigures, cut: float, ink: str, effects: list[Any], *, to_left: bool) -> None:
    fmr, fnmr = pairs.fmr_fnmr(cut)
    axes.axvline(cut, color=ink, linewidth=1.3, linestyle=(0, (8, 2, 2, 2)))
    axes.annotate(
        f"threshold {format_signed(cut, 3)}\nFMR {format_rate(fmr)}, FNMR {format_rate(fnmr)}",
        (cut, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if to_left else 5, -2),
        textcoords="offset points",
        horizontalalignment="right" if to_left else "left",
        verticalalignment="top",
        fontsize=SMALL_SIZE,
        fontfamily=font_families(),
        color=ink,
        path_effects=effects,
        parse_math=False,
    )
