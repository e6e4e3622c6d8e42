"""Figures of scores and probabilities: histograms of the scores of both kinds of pairs, and a reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pairsim._common.arrays import Values, check_count, check_probabilities, vector
from pairsim._common.numbers import counted, truth_value
from pairsim.evaluation import PairFigures
from pairsim.evaluation.curve_data import reliability, reliability_intervals, score_histogram
from pairsim.evaluation.pairs.ranked import ToProbability
from pairsim.visual.curves.pair_input import read_pairs
from pairsim.visual.page.plot import THRESHOLD_LINE, Plot, Style, show_percent
from pairsim.visual.page.text_styles import format_rate, format_signed
from pairsim.visual.page.values import check_finite_threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_PAIRS = 30
"""A bin with fewer pairs has a hollow mark, because its share is uncertain."""


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
        ax: Axes to draw on, whose figure gets the background of the style; by default those of a new figure.

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
    truth_value(log, "log")
    pairs = read_pairs(scores, targets)
    check_finite_threshold(threshold)
    check_count(num_bins, "num_bins", 1, 60)
    histogram = score_histogram(pairs, num_bins)
    plot = Plot(ax, style, size=(6.4, 4.0), xlabel=xlabel, ylabels=["share of the pairs of each kind (%)"])
    axes, series = plot.panels[0], plot.palette.series

    # Below a single pair of the larger kind, so that one pair alone is visible.
    floor = 0.5 / max(pairs.num_positive, pairs.num_negative) if log else 0.0
    kinds: list[tuple[Any, str, str, str, Any]] = [
        (
            histogram.negative_share,
            f"different class ({counted(pairs.num_negative, 'pair')})",
            series[1],
            "\\\\\\\\",
            (0, (4, 1.5)),
        ),
        (histogram.positive_share, f"same class ({counted(pairs.num_positive, 'pair')})", series[0], "////", "-"),
    ]
    for share, label, color, hatch, line in kinds:
        heights = np.maximum(share, floor)
        look: dict[str, Any] = {"facecolor": (color, 0.22), "edgecolor": (color, 0.35), "hatch": hatch}
        axes.stairs(heights, histogram.edges, baseline=floor, fill=True, linewidth=0, **look)
        look = {"color": color, "linewidth": 1.4, "linestyle": line, "label": label}
        axes.stairs(heights, histogram.edges, baseline=floor, **look, zorder=1.5)  # above both fills
    highest = max(float(share.max()) for share, *_ in kinds)
    if log:
        axes.set_yscale("log")
    # Room for the text beside the threshold.
    axes.set_ylim(floor, highest * ((highest / floor) ** 0.14 if log else 1.14))
    show_percent(axes.yaxis)
    ends = [*histogram.edges[[0, -1]].tolist(), *([] if threshold is None else [threshold])]
    low, high = min(ends), max(ends)
    margin = 0.02 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    if threshold is not None:
        fmr, fnmr = pairs.fmr_fnmr(threshold)
        axes.axvline(threshold, color=plot.palette.ink, linewidth=1.3, linestyle=THRESHOLD_LINE)
        text = f"threshold {format_signed(threshold, 3)}\nFMR {format_rate(fmr)}, FNMR {format_rate(fnmr)}"
        # Beside the line, on the side with more room.
        offset, side = ((-5, -2), "right") if threshold - low > high - threshold else ((5, -2), "left")
        look = {"horizontalalignment": side, "verticalalignment": "top", "textcoords": "offset points"}
        plot.annotate(text, (threshold, 1.0), xycoords=("data", "axes fraction"), xytext=offset, **look)
    return plot.finish(title or "Scores of positive and negative pairs", columns=2)


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
        ax: Axes to draw on, whose lower part is used for the histogram, and whose figure gets the background of the
            style; by default a new figure.

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
    elif probability is not None:
        raise ValueError("Expected probability only beside PairScores or PairCounts. Pass probabilities as they are.")
    elif (first is None) != (second is None):
        raise ValueError("Expected first and second together, got one of them. Give both images of each pair, or none.")
    else:
        pairs = read_pairs(probabilities, targets, name="probabilities")
        check_probabilities(vector(probabilities, "probabilities").astype(np.float64))
        if targets is not None and first is not None and second is not None:
            intervals = reliability_intervals(probabilities, targets, first, second, num_bins)
    bins = reliability(pairs, probability or np.asarray, num_bins)

    xlabel, ylabels = 'probability of "same class" (%)', ["pairs of the same class (%)", "pairs (log)"]
    plot = Plot(ax, style, size=(5.4, 6.2), xlabel=xlabel, ylabels=ylabels, heights=(3.2, 1.0))
    upper, lower = plot.panels
    color, filled = plot.palette.series[0], bins.num_pairs > 0
    x, y = bins.mean_probability, bins.positive_share
    upper.plot([0, 1], [0, 1], color=plot.palette.quiet, linewidth=1.0, linestyle=":", label="perfect calibration")
    label = f"observed, in {num_bins} bins" if num_bins > 1 else "observed"
    upper.plot(x[filled], y[filled], color=color, linewidth=1.6, zorder=3, label=label)
    few = filled & (bins.num_pairs < FEW_PAIRS)
    look: dict[str, Any] = {"markersize": 6, "markeredgecolor": color, "markeredgewidth": 1.4, "clip_on": False}
    hollow, few_label = plot.palette.page, f"fewer than {FEW_PAIRS} pairs"
    for chosen, face, label in ((filled & ~few, color, ""), (few, hollow, few_label)):
        if chosen.any():
            upper.plot(x[chosen], y[chosen], "o", markerfacecolor=face, **look, zorder=4, label=label)
    if intervals is not None:
        label = "95 % interval for other images"
        upper.vlines(x[filled], *intervals[:, filled], color=color, linewidth=4, alpha=0.4, zorder=2, label=label)

    look = {"facecolor": color, "edgecolor": plot.palette.ink, "alpha": 0.8, "linewidth": 0.6}
    lower.stairs(bins.num_pairs, np.linspace(0.0, 1.0, num_bins + 1), baseline=0.5, fill=True, **look)
    lower.set_yscale("log")
    # Whole decades, so that the axis has at least two labelled ticks.
    lower.set_ylim(0.5, 10.0 ** max(1, np.ceil(np.log10(1.05 * bins.num_pairs.max()))))
    lower.locator_params(axis="y", numticks=4)
    lower.minorticks_off()
    lower.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    for panel in plot.panels:
        panel.set_xlim(0.0, 1.0)
    upper.set_ylim(0.0, 1.0)
    show_percent(upper.xaxis, lower.xaxis, upper.yaxis)
    share = pairs.num_positive / pairs.num_pairs
    subtitle = f"calibration error (ECE) {bins.error:.4f}; {pairs.num_pairs:,} pairs, {100 * share:.3g} % positive"
    return plot.finish(title or "Reliability of probabilities", subtitle=subtitle, columns=2)
