"""A figure of whether probabilities come true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pairsim._common.arrays import (
    Float64Array,
    Values,
    as_array,
    check_count,
    check_probabilities,
    scores_and_targets,
)
from pairsim.errors import require
from pairsim.evaluation import PairFigures, image_level_intervals_of_pairs
from pairsim.evaluation.pairs.ranked import ToProbability
from pairsim.visual.curves.pair_input import read_pairs
from pairsim.visual.page.style import Style, dress, figure_of, open_axes, palette_of, write_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_PAIRS = 30
"""A bin with fewer pairs has a hollow mark: its share says little."""


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
    """Draw what share of pairs is of the same class against what probabilities said, and how often each was said.

    Bins are those of `evaluation.expected_calibration_error`, whose figure is written. Bars are 95 % intervals, drawn
    only if the images of the pairs are given: pairs share images, and bars that took them for independent would be far
    too short. The share of positive pairs matters: judge probabilities on pairs mixed as they will be in use.

    Args:
        probabilities: Probability of "same class" per pair `[P]`, in [0, 1]; or `PairScores` or `PairCounts` along with
            `probability`.
        targets: One target per pair `[P]`, 1 = same class; None where `probabilities` hold them.
        first: The first image of each pair `[P]`, by any whole number or string that names it; for the bars.
        second: The second image of each pair `[P]`.
        probability: Maps the scores of `PairFigures` to probabilities, such as `Logistic` or an `Isotonic`.
        num_bins: Bins of equal width over [0, 1], at least 1.
        title: Title; a plain one by default.
        style: `"light"` or `"dark"`.
        ax: Axes to draw on, whose lower part goes to the histogram; by default a new figure.

    Returns:
        The figure drawn on; one of its own belongs to no window.

    Raises:
        TypeError: If the input is not numeric.
        ValueError: If shapes differ, a probability is not in [0, 1], a target is not 0 or 1, there are no pairs of a
            kind, only one of `first` and `second` is given, or `num_bins` or `style` is wrong.
        MissingExtraError: If matplotlib is not installed.

    Example:
        >>> figure = draw_reliability([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], num_bins=5)
        >>> len(figure.axes)
        2

    References:
        A. Niculescu-Mizil, R. Caruana, Predicting good probabilities with supervised learning, ICML 2005.
    """
    palette = palette_of(style)
    check_count(num_bins, "num_bins", 1, 15)
    if isinstance(probabilities, PairFigures):
        if probability is None:
            raise ValueError(
                f"Expected probability with {type(probabilities).__name__}, got none. "
                "Give the function from score to probability, such as Logistic(weight, bias)."
            )
        if first is not None or second is not None:
            raise ValueError("Expected first and second only beside an array of probabilities. Leave them out.")
        pairs, mapped, bars = read_pairs(probabilities, targets), probability, None
    else:
        if probability is not None:
            raise ValueError(
                "Expected probability only beside PairScores or PairCounts. Pass probabilities as they are."
            )
        pairs, mapped = read_pairs(probabilities, targets, name="probabilities"), _unchanged
        values, same = scores_and_targets(probabilities, targets if targets is not None else (), "probabilities")
        check_probabilities(values)
        bars = _bars(values, same, first, second, num_bins)
    mean, rate, counts = pairs.calibration_bins(mapped, num_bins)
    error = pairs.expected_calibration_error(mapped, num_bins)

    upper, lower = open_axes(ax, palette, width=5.4, height=6.2, heights=(3.2, 1.0))
    dress(upper, palette, xlabel="", ylabel="pairs of the same class (%)")
    dress(lower, palette, xlabel='probability of "same class" (%)', ylabel="pairs (log)")
    upper.plot([0, 1], [0, 1], color=palette.quiet, linewidth=1.0, linestyle=":", label="as stated")
    filled = counts > 0
    upper.plot(
        mean[filled], rate[filled], color=palette.series[0], linewidth=1.6, zorder=3,
        label=f"as found, in {num_bins} bins" if num_bins > 1 else "as found",
    )  # fmt: skip
    for few, face in ((False, palette.series[0]), (True, palette.page)):
        chosen = filled & ((counts < FEW_PAIRS) == few)
        if chosen.any():
            upper.plot(
                mean[chosen], rate[chosen], linestyle="", marker="o", markersize=6, markerfacecolor=face,
                markeredgecolor=palette.series[0], markeredgewidth=1.4, zorder=4, clip_on=False,
                label=f"fewer than {FEW_PAIRS} pairs" if few else None,
            )  # fmt: skip
    if bars is not None:
        upper.vlines(
            mean[filled], *bars[:, filled], color=palette.series[0], linewidth=4, alpha=0.4, zorder=2,
            label="95 % interval for other images",
        )  # fmt: skip
    edges: Float64Array = np.linspace(0.0, 1.0, num_bins + 1)
    lower.stairs(
        counts,
        edges,
        baseline=0.5,
        fill=True,
        facecolor=palette.series[0],
        edgecolor=palette.ink,
        alpha=0.8,
        linewidth=0.6,
    )
    lower.set_yscale("log")
    # whole decades, so that the axis always has two ticks with a number
    lower.set_ylim(0.5, 10.0 ** max(1, np.ceil(np.log10(1.05 * counts.max()))))
    ticker = require("matplotlib.ticker", extra="viz", purpose="Drawing")
    lower.yaxis.set_major_locator(ticker.LogLocator(numticks=4))
    lower.yaxis.set_minor_locator(ticker.NullLocator())
    lower.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    for axes in (upper, lower):
        axes.set_xlim(0.0, 1.0)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    upper.set_ylim(0.0, 1.0)
    upper.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    share = pairs.num_positive / pairs.num_pairs
    subtitle = f"calibration error (ECE) {error:.4f}; {pairs.num_pairs:,} pairs, {100 * share:.3g} % positive"
    write_head(upper, palette, title=title or "Reliability of probabilities", subtitle=subtitle, columns=2)
    return figure_of(upper)


def _unchanged(probabilities: Float64Array) -> Float64Array:
    return probabilities


def _bars(
    values: Float64Array,
    same: np.ndarray[tuple[int], np.dtype[np.bool_]],
    first: Values | None,
    second: Values | None,
    num_bins: int,
) -> Float64Array | None:
    """Interval of the share of positive pairs in each bin `[2, num_bins]`, with pairs that share images."""
    if first is None and second is None:
        return None
    if first is None or second is None:
        raise ValueError("Expected first and second together, got one of them. Give both images of each pair, or none.")
    images = [as_array(side, name) for side, name in ((first, "first"), (second, "second"))]
    for side, name in zip(images, ("first", "second"), strict=True):
        if side.shape != values.shape:
            raise ValueError(
                f"Expected {name} to name one image per pair, shape [{values.size}], got shape {list(side.shape)}. "
                "Give the images in the order of the probabilities."
            )
    bins = np.minimum((values * num_bins).astype(np.int64), num_bins - 1)
    ends: Float64Array = np.full((2, num_bins), np.nan)
    for number in np.unique(bins).tolist():
        inside = bins == number
        # Calling every pair a match makes the accuracy the share of positive pairs.
        matched = np.ones(int(inside.sum()))
        found = image_level_intervals_of_pairs(matched, same[inside], images[0][inside], images[1][inside], 0.5)
        ends[:, number] = found["accuracy"]
    return ends
