"""A reliability diagram of probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Float64Array, Values, check_count, check_probabilities, vector
from pairsim.evaluation import PairFigures
from pairsim.evaluation.curve_data import Reliability, reliability, reliability_intervals
from pairsim.evaluation.pairs.ranked import ToProbability
from pairsim.visual.curves.pair_input import read_pairs
from pairsim.visual.page.plot import Palette, Plot, Style, show_percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_PAIRS = 30
"""A bin with fewer pairs has a hollow mark, because its share is uncertain."""


def draw_reliability(
    probabilities: Values | PairFigures,
    targets: Values | None = None,
    *,
    first: Values | None = None,
    second: Values | None = None,
    probability: ToProbability | None = None,
    num_bins: int = 15,
    title: str | None = None,
    style: Style = "light",
    ax: Axes | None = None,
) -> Figure:
    """Draw the share of pairs of the same class against the predicted probability, and a histogram of probabilities.

    Bins are those of `evaluation.expected_calibration_error`, whose value is written. Bars are 95 % intervals, drawn
    only if the images of the pairs are given: pairs share images, and bars for independent pairs would be far too
    short. The share of positive pairs matters: evaluate probabilities on pairs with the share expected in use.

    Args:
        probabilities: Probability of "same class" per pair `[P]`, in [0, 1]; or `PairScores` or `PairCounts` along with
            `probability`.
        targets: One target per pair `[P]`, 1 = same class; None if `probabilities` contain them.
        first: The first image of each pair `[P]`, as a whole number or string that identifies it; for the bars.
        second: The second image of each pair `[P]`.
        probability: Maps the scores of `PairFigures` to probabilities, such as `Logistic` or an `Isotonic`.
        num_bins: Bins of equal width over [0, 1], at least 1.
        title: Title of the figure.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose lower part is used for the histogram; by default a new figure.

    Returns:
        The figure; a new figure belongs to no window.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a probability is not in [0, 1], a target is not 0 or 1, pairs of one kind are
            missing, only one of `first` and `second` is given, or `num_bins` or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_reliability([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], num_bins=5)
        >>> len(figure.axes)
        2

    References:
        A. Niculescu-Mizil, R. Caruana, Predicting good probabilities with supervised learning, ICML 2005.
    """
    check_count(num_bins, "num_bins", 1, 15)
    intervals = None
    if isinstance(probabilities, PairFigures):
        if probability is None:
            raise ValueError(
                f"Expected probability with {type(probabilities).__name__}, got none. "
                "Give the function from score to probability, such as Logistic(weight, bias)."
            )
        if first is not None or second is not None:
            raise ValueError("Expected first and second only beside an array of probabilities. Leave them out.")
        pairs = read_pairs(probabilities, targets)
    else:
        if probability is not None:
            raise ValueError(
                "Expected probability only beside PairScores or PairCounts. Pass probabilities as they are."
            )
        if (first is None) != (second is None):
            raise ValueError(
                "Expected first and second together, got one of them. Give both images of each pair, or none."
            )
        pairs = read_pairs(probabilities, targets, name="probabilities")
        check_probabilities(vector(probabilities, "probabilities").astype(np.float64))
        if targets is not None and first is not None and second is not None:
            intervals = reliability_intervals(probabilities, targets, first, second, num_bins)
    bins = reliability(pairs, probability or np.asarray, num_bins)

    xlabel, ylabels = 'probability of "same class" (%)', ["pairs of the same class (%)", "pairs (log)"]
    plot = Plot(ax, style, size=(5.4, 6.2), xlabel=xlabel, ylabels=ylabels, heights=(3.2, 1.0))
    upper, lower = plot.panels
    _draw_shares(upper, plot.palette, bins, intervals)
    _draw_counts(lower, plot.palette, bins)
    for panel in plot.panels:
        panel.set_xlim(0.0, 1.0)
    upper.set_ylim(0.0, 1.0)
    show_percent(upper.xaxis, lower.xaxis, upper.yaxis)
    share = pairs.num_positive / pairs.num_pairs
    subtitle = f"calibration error (ECE) {bins.error:.4f}; {pairs.num_pairs:,} pairs, {100 * share:.3g} % positive"
    return plot.finish(title or "Reliability of probabilities", subtitle=subtitle, columns=2)


def _draw_shares(axes: Axes, palette: Palette, bins: Reliability, intervals: Float64Array | None) -> None:
    color, filled, num_bins = palette.series[0], bins.num_pairs > 0, len(bins.num_pairs)
    x, y = bins.mean_probability, bins.positive_share
    axes.plot([0, 1], [0, 1], color=palette.quiet, linewidth=1.0, linestyle=":", label="perfect calibration")
    label = f"observed, in {num_bins} bins" if num_bins > 1 else "observed"
    axes.plot(x[filled], y[filled], color=color, linewidth=1.6, zorder=3, label=label)
    look: dict[str, Any] = {"markersize": 6, "markeredgecolor": color, "markeredgewidth": 1.4}
    few = filled & (bins.num_pairs < FEW_PAIRS)
    for chosen, face, label in ((filled & ~few, color, ""), (few, palette.page, f"fewer than {FEW_PAIRS} pairs")):
        if chosen.any():
            axes.plot(x[chosen], y[chosen], "o", markerfacecolor=face, **look, zorder=4, clip_on=False, label=label)
    if intervals is not None:
        label = "95 % interval for other images"
        axes.vlines(x[filled], *intervals[:, filled], color=color, linewidth=4, alpha=0.4, zorder=2, label=label)


def _draw_counts(axes: Axes, palette: Palette, bins: Reliability) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    edges: Float64Array = np.linspace(0.0, 1.0, len(bins.num_pairs) + 1)
    look: dict[str, Any] = {"facecolor": palette.series[0], "edgecolor": palette.ink, "alpha": 0.8, "linewidth": 0.6}
    axes.stairs(bins.num_pairs, edges, baseline=0.5, fill=True, **look)
    axes.set_yscale("log")
    # Whole decades, so that the axis has at least two labelled ticks.
    axes.set_ylim(0.5, 10.0 ** max(1, np.ceil(np.log10(1.05 * bins.num_pairs.max()))))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
