from __future__ import annotations

import math

import pytest

from pairsim.evaluation.uncertainty.beta import beta_quantile

ENDS = (0.025, 0.5, 0.975)


@pytest.mark.parametrize("probability", ENDS)
@pytest.mark.parametrize("shape", [0.5, 1.0, 3.0, 40.0, 2000.0])
def test_closed_forms(probability: float, shape: float) -> None:
    assert beta_quantile(probability, shape, 1.0) == pytest.approx(probability ** (1 / shape), rel=1e-3)
    mirrored = -math.expm1(math.log1p(-probability) / shape)
    assert beta_quantile(probability, 1.0, shape) == pytest.approx(mirrored, rel=1e-3)


@pytest.mark.parametrize(("first", "second"), [(2.0, 19.0), (0.1, 5.0), (0.5, 60.0), (50.0, 450.0), (3.0, 0.2)])
def test_against_scipy(first: float, second: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for probability in ENDS:
        expected = stats.beta.ppf(probability, first, second)
        assert beta_quantile(probability, first, second) == pytest.approx(expected, rel=1e-3)
