from __future__ import annotations

import math

import numpy as np
import pytest

from pairsim.evaluation import PairScores
from pairsim.evaluation.uncertainty.spread import (
    Spread,
    check_confidence,
    fnmr_name,
    interval_of,
    point_estimates,
    spread_of_images,
    t_quantile,
)


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile", "tolerance"),  # of tables of Student's t
    [(0.975, 2, 4.3027, 0.04), (0.975, 4, 2.7764, 0.01), (0.975, 10, 2.2281, 1e-3), (0.995, 10, 3.1693, 1e-2)],
)
def test_quantiles_of_students_t(probability: float, freedom: float, quantile: float, tolerance: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(quantile, rel=tolerance)
    assert t_quantile(probability, math.inf) == pytest.approx({0.975: 1.95996, 0.995: 2.57583}[probability], abs=1e-5)


def test_estimates_are_the_figures_of_the_pairs() -> None:
    pairs = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
    assert point_estimates(pairs, 0.5, (0.5, 0.001)) == {
        "accuracy": 0.5, "balanced_accuracy": 0.5, "eer": 0.5, "fmr": 0.5, "fnmr": 0.5, "roc_auc": 0.75,
        "fnmr_at_fmr_0.5": 0.0, "fnmr_at_fmr_0.001": 0.5,
    }  # fmt: skip
    assert fnmr_name(1e-4) == "fnmr_at_fmr_0.0001"


def test_thresholds_and_targets_are_checked() -> None:
    pairs = PairScores.from_scores([0.9, 0.4], [1, 0])
    with pytest.raises(ValueError, match="Expected threshold to be a number, got NaN"):
        point_estimates(pairs, math.nan, ())
    with pytest.raises(ValueError, match="Expected fmr to be a rate from 0 to 1, got 10"):
        point_estimates(pairs, 0.5, (10,))


def test_variance_is_never_below_that_of_independent_pairs() -> None:
    sums, weights = np.zeros(3), np.ones(3)
    assert spread_of_images(sums, weights, 0.5).variance == 0.5
    assert spread_of_images(sums, weights, 0.5, least=0.75).variance == 0.75


def test_variance_and_degrees_of_freedom() -> None:
    sums = np.array([0.25, 0.125, -0.375, 0.0])
    squares = np.square(sums)
    spread = spread_of_images(sums, np.ones(4), 0.01)
    assert spread.variance == pytest.approx(4 * 3 / 2**2 * (squares.sum() - 0.01))
    assert spread.freedom == pytest.approx(2 * squares.sum() ** 2 / ((squares**2).sum() - squares.sum() ** 2 / 4))
    assert spread_of_images(np.ones(4), np.ones(4), 0.0).freedom == math.inf


def test_number_of_pairs_without_a_common_image() -> None:
    def num_disjoint(weights: list[float], images_each: int = 2) -> float:
        return spread_of_images(np.ones(3), np.array(weights), 0.0, images_each=images_each).num_disjoint

    assert num_disjoint([1.0] * 12) == pytest.approx(6)
    assert num_disjoint([1.0] * 12, images_each=4) == pytest.approx(3)
    assert num_disjoint([1.0, 0.0, 0.0]) == pytest.approx(0.5)


def test_intervals_of_rates() -> None:
    low, high = interval_of(0.2, Spread(1e-4, math.inf, 50), 0.95)
    assert 0.18 < low < 0.2 < high < 0.2 + 2 * 0.012
    assert high - 0.2 > 0.2 - low
    upper = 1 - 0.025 ** (1 / 50)
    assert interval_of(0.0, Spread(0.0, math.inf, 50), 0.95) == pytest.approx((0.0, upper))
    assert interval_of(1.0, Spread(0.0, math.inf, 50), 0.95) == pytest.approx((1 - upper, 1.0))
    assert np.isnan(interval_of(math.nan, Spread(0.1, 1.0, 1), 0.95)).all()
    assert np.isnan(interval_of(0.5, None, 0.95)).all()
    assert interval_of(0.5, Spread(1e9, math.inf, 1), 0.95) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_confidence_message(confidence: float) -> None:
    with pytest.raises(ValueError, match="Expected confidence between 0 and 1, got"):
        check_confidence(confidence)
