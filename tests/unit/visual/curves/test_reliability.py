from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from number_data import Floats, Ints, off_place, panels, scored_pairs
from sklearn.calibration import calibration_curve

from pairsim.evaluation import (
    Logistic,
    PairCounts,
    expected_calibration_error,
    image_level_intervals_of_pairs,
)
from pairsim.visual import draw_reliability
from pairsim.visual.curves.reliability import FEW_PAIRS


def probabilities(count: int = 900, seed: int = 0) -> tuple[Floats, Ints]:
    """Probabilities that overstate."""
    rng = np.random.default_rng(seed)
    values = rng.random(count)
    return values, (rng.random(count) < values**2).astype(np.int64)


def test_the_curve_is_that_of_scikit_learn() -> None:
    values, targets = probabilities()
    upper = panels(draw_reliability(values, targets, num_bins=7))[0]
    (drawn,) = [line for line in upper.lines if str(line.get_label()).startswith("observed")]
    share, mean = calibration_curve(targets, values, n_bins=7)
    assert drawn.get_xdata() == pytest.approx(mean)
    assert drawn.get_ydata() == pytest.approx(share)


def test_the_histogram_counts_every_pair_and_the_error_is_written() -> None:
    values, targets = probabilities()
    figure = draw_reliability(values, targets, num_bins=9)
    upper, lower = panels(figure)
    counts = lower.patches[0].get_data().values
    assert counts.tolist() == np.histogram(values, bins=9, range=(0, 1))[0].tolist()
    (subtitle,) = [text.get_text() for text in upper.texts]
    assert f"(ECE) {expected_calibration_error(values, targets, 9):.4f}; 900 pairs" in subtitle
    assert upper.get_title(loc="left") == "Reliability of probabilities"
    assert not off_place(figure)


def test_bars_are_the_intervals_of_shares_with_shared_images() -> None:
    values, targets = probabilities(200)
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 25, 200), rng.integers(25, 50, 200)
    upper = panels(draw_reliability(values, targets, first=first, second=second, num_bins=4))[0]
    (bars,) = upper.collections
    assert len(bars.get_paths()) == 4
    for number, path in enumerate(bars.get_paths()):
        inside = (values * 4).astype(int) == number
        # not the trick of the figure: the share of positive pairs is 1 less the FMR of the reversed question
        given = image_level_intervals_of_pairs(
            targets[inside], np.zeros(inside.sum(), dtype=int), first[inside], second[inside], 0.5
        )["fmr"]
        assert path.vertices[:, 1] == pytest.approx(given)
        low, high = path.vertices[:, 1]
        assert low <= targets[inside].mean() <= high


def test_there_are_no_bars_without_images() -> None:
    assert not panels(draw_reliability(*probabilities()))[0].collections


def test_pairs_that_share_images_get_longer_bars() -> None:
    targets = np.array([1, 0] * 30)
    values = np.full(60, 0.5)
    lengths = []
    for first in (np.arange(60), targets):
        upper = panels(draw_reliability(values, targets, first=first, second=np.arange(100, 160), num_bins=1))[0]
        low, high = upper.collections[0].get_paths()[0].vertices[:, 1]
        lengths.append(high - low)
    assert lengths[1] > 2 * lengths[0]


def test_counted_scores_go_through_the_models_function() -> None:
    scores, targets = scored_pairs()
    logistic = Logistic(8.0, -2.0)
    counted = PairCounts.from_scores(scores, targets)
    one = draw_reliability(counted, probability=logistic)
    other = draw_reliability(logistic(np.rint(scores * 2**22) / 2**22), targets)
    assert panels(one)[0].lines[1].get_xydata() == pytest.approx(panels(other)[0].lines[1].get_xydata())


def test_bins_of_few_pairs_have_hollow_marks() -> None:
    values = np.array([0.1] * FEW_PAIRS + [0.9] * (FEW_PAIRS - 1))
    targets = (values > 0.5).astype(int)
    upper = panels(draw_reliability(values, targets, num_bins=2))[0]
    (hollow,) = [line for line in upper.lines if str(line.get_label()).startswith("fewer than")]
    assert hollow.get_xdata() == pytest.approx([0.9])
    assert hollow.get_markerfacecolor() == "#FFFFFF"


def test_extreme_probabilities_are_drawn() -> None:
    assert not off_place(draw_reliability([0.0, 1.0, 1.0], [1, 0, 1], first=[0, 0, 1], second=[1, 2, 2]))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.5, 1.5], [0, 1]), {}, r"Expected probabilities in \[0, 1\], got 1.5 at index 1"),
        (([0.5, float("nan")], [0, 1]), {}, "without NaN"),
        (([0.5, 0.6], [1, 1]), {}, "Expected pairs of both kinds"),
        (([], []), {}, "got none at all"),
        (([0.5, 0.6], [0]), {}, "Expected as many targets as"),
        (([0.5, 0.6], [0, 1]), {"first": [0, 1]}, "Expected first and second together, got one of them"),
        (([0.5, 0.6], [0, 1]), {"first": [0, 1], "second": [1]}, r"second to name one image per pair, shape \[2\]"),
        (([0.5, 0.6], [0, 1]), {"num_bins": 2.5}, "Expected num_bins to be a whole number"),
        (([0.5, 0.6], [0, 1]), {"probability": Logistic(1, 0)}, "Expected probability only beside PairScores"),
        ((PairCounts.from_scores([0.5, 0.6], [0, 1]),), {}, "Expected probability with PairCounts, got none"),
        (
            (PairCounts.from_scores([0.5, 0.6], [0, 1]),),
            {"probability": Logistic(1, 0), "first": [1]},
            "Expected first and second only beside an array",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        draw_reliability(*arguments, **options)
    assert "\n" not in str(caught.value)
