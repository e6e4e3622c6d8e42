from __future__ import annotations

import math

import numpy as np
import pytest

from pairsim.evaluation.uncertainty.wilson import wilson_interval


def test_by_formula() -> None:
    # Wilson's formula, written out for 8 of 10.
    z = 1.959963984540054
    center, margin = 0.8 + z**2 / 20, z * math.sqrt(0.8 * 0.2 / 10 + z**2 / 400)
    expected = ((center - margin) / (1 + z**2 / 10), (center + margin) / (1 + z**2 / 10))
    assert wilson_interval(8, 10) == pytest.approx(expected, abs=1e-12)


def test_ends_and_no_trials() -> None:
    low, high = wilson_interval([0, 10, 0], [10, 10, 0])
    assert low[0] == 0.0
    assert 0 < high[0] < 0.4
    assert high[1] == 1.0
    assert 0.6 < low[1] < 1
    assert (low[2], high[2]) == (0.0, 1.0)


def test_more_trials_make_it_narrower() -> None:
    totals = np.array([10, 100, 1000])
    low, high = wilson_interval(totals // 5, totals)
    assert np.all(np.diff(high - low) < 0)
    assert np.all((low < 0.2) & (high > 0.2))
