from __future__ import annotations

import math

import numpy as np
import pytest

from pairsim.evaluation.uncertainty.spread import (
    Spread,
    _t_quantile,
    check_confidence,
    interval_of,
    num_disjoint_of,
    percentiles,
    spread_of_images,
    spread_of_pairs,
    sum_by,
)


@pytest.mark.parametrize(
    ("probability", "freedom", "quantile", "tolerance"),  # of tables of Student's t
    [(0.975, 2, 4.3027, 0.04), (0.975, 4, 2.7764, 0.01), (0.975, 10, 2.2281, 1e-3), (0.995, 10, 3.1693, 1e-2)],
)
def test_quantiles_of_students_t(probability: float, freedom: float, quantile: float, tolerance: float) -> None:
    assert _t_quantile(probability, freedom) == pytest.approx(quantile, rel=tolerance)
    assert _t_quantile(probability, math.inf) == pytest.approx({0.975: 1.95996, 0.995: 2.57583}[probability], abs=1e-5)


def test_sums_by_group() -> None:
    assert sum_by(np.array([0, 2, 0]), np.array([1.0, 2.0, 4.0]), 4).tolist() == [5.0, 0.0, 2.0, 0.0]


def test_spread_of_pairs_is_that_of_the_sums_of_the_images() -> None:
    one, other, psi = np.array([0, 0, 1]), np.array([1, 2, 2]), np.array([0.375, -0.125, -0.25])
    sums = np.array([0.25, 0.125, -0.375])
    squares = float(np.square(psi).sum())
    assert spread_of_pairs(psi, one, other, 1.5) == spread_of_images(sums, squares, 1.5, least=squares)


def test_variance_is_never_below_that_of_independent_pairs() -> None:
    assert spread_of_images(np.zeros(3), 0.5, 1.5, least=0.5).variance == 0.5


def test_number_of_pairs_without_a_common_image() -> None:
    assert num_disjoint_of(np.ones(12), "fmr") == pytest.approx(6)
    assert num_disjoint_of(np.ones(12), "roc_auc") == pytest.approx(3)
    assert num_disjoint_of(np.array([1.0, 0.0, 0.0]), "fmr") == pytest.approx(0.5)


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


def test_percentiles_leave_out_nan() -> None:
    assert percentiles(np.array([math.nan, *range(101)]), 0.9) == pytest.approx((5.0, 95.0))
    assert np.isnan(percentiles(np.array([math.nan]), 0.9)).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_confidence_message(confidence: float) -> None:
    with pytest.raises(ValueError, match="Expected confidence between 0 and 1, got"):
        check_confidence(confidence)
