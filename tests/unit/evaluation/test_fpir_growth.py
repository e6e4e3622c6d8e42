from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pairsim.evaluation.fpir_growth import BINS, FpirGrowth, grown, similarity_counts
from pairsim.evaluation.uncertainty.wilson import wilson_interval

LARGER = (2, 5, 20)


def shares(spread: float, num: int, seed: int) -> npt.NDArray[np.float64]:
    """Similarities of searches to identities, of which some searches are like many identities."""
    generator = np.random.default_rng(seed)
    return np.tanh(generator.normal(0, 0.25, (num, 1200)) + generator.normal(0, spread, (num, 1)))


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_predictions_enclose_larger_galleries(spread: float) -> None:
    enclosed = []
    for seed in range(10):
        all_ = shares(spread, 2400, seed)
        small = all_[:400, :60]
        others = small.max(axis=1)
        threshold = float(np.sort(others)[-20])
        growth = FpirGrowth(others, similarity_counts(small), 60)
        fpir = float(np.mean(others >= threshold))
        interval = (float(wilson_interval(20, 400)[0]), float(wilson_interval(20, 400)[1]))
        last = 0.0
        for factor in LARGER:
            predicted, low, high = growth.predict(threshold, fpir, interval, 60 * factor)
            assert low <= predicted <= high
            assert predicted >= last
            last = predicted
            found = float(np.mean(all_[400:, : 60 * factor].max(axis=1) >= threshold))
            enclosed.append(low <= found <= high)
    assert np.mean(enclosed) >= 0.9


def test_the_same_size_is_as_measured_and_no_error_stays_none() -> None:
    small = shares(0.0, 100, 0)[:, :30]
    growth = FpirGrowth(small.max(axis=1), similarity_counts(small), 30)
    assert growth.predict(0.5, 0.1, (0.05, 0.2), 30) == (0.1, 0.05, 0.2)
    fpir, low, high = growth.predict(0.9999, 0.0, (0.0, 0.03), 60)
    assert (fpir, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.97**2)


def test_counts() -> None:
    counts = similarity_counts(np.array([-1.0, 1.0, 0.0, 0.0]))
    assert (counts.size, counts[0], counts[-1], counts[BINS // 2]) == (BINS, 1, 1, 2)


def test_the_share_that_finds_nobody_is_a_power() -> None:
    assert grown(0.1, 3) == pytest.approx(1 - 0.9**3)
    assert (grown(0.1, 1.0), grown(0.0, 5), grown(1.0, 5)) == (0.1, 0.0, 1.0)


def test_it_grows_no_faster_than_that_of_independent_identities() -> None:
    """At twice as low a threshold these find four times as many, and identical searches no more than one does."""
    small = shares(0.0, 300, 1)[:, :30]
    growth = FpirGrowth(small.max(axis=1), similarity_counts(small), 30)
    alike = FpirGrowth(np.repeat(small.max(), 300), similarity_counts(np.repeat(small[:1], 300, axis=0)), 30)
    threshold = float(np.sort(small.max(axis=1))[-30])
    for factor in LARGER:
        fpir, low, high = growth.predict(threshold, 0.1, (0.05, 0.2), 30 * factor)
        assert 0.1 < fpir <= grown(0.1, factor)
        assert (low, high) <= (grown(0.05, factor), grown(0.2, factor))
        # all ends grow with one power
        power = np.log1p(-fpir) / np.log1p(-0.1)
        assert (low, high) == pytest.approx((grown(0.05, power), grown(0.2, power)))
        assert alike.predict(threshold, 0.1, (0.05, 0.2), 30 * factor)[0] >= 0.1
