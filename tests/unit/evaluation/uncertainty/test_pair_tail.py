"""The tail is that of the greatest likelihood, and its interval that of the variance over all pairs of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pairsim._common.arrays import Float64Array
from pairsim.evaluation.uncertainty.pair_tail import MIN_EXCEEDANCES, PairTail, fitted_tail, poisson_interval

Z = 1.959963984540054
NUM_PICTURES, NUM_PAIRS = 40, 780


def tail(
    seed: int = 0, *, ceiling: float = 0.8, scale: float = 0.2, compared: int = 300, counted: float = 0.5
) -> PairTail:
    """Of similarities whose atanh is exponential, of some pairs of forty pictures."""
    generator = np.random.default_rng(seed)
    first, second = np.triu_indices(NUM_PICTURES, 1)
    rows = generator.choice(NUM_PAIRS, compared, replace=False)
    excesses = -scale * np.log1p(generator.random(compared) * np.expm1(-math.atanh(ceiling) / scale))  # truncated
    found = fitted_tail(
        np.tanh(excesses),
        generator.random(compared) < counted,
        first[rows],
        second[rows],
        num_pictures=NUM_PICTURES,
        num_pairs=NUM_PAIRS,
        ceiling=ceiling,
    )
    assert found is not None
    return found


def log_likelihood(slope: float, excesses: Float64Array, weights: Float64Array, width: float) -> float:
    """Of an exponential distribution that is cut off at the width."""
    each = math.log(slope) - slope * excesses - math.log(1 - math.exp(-slope * width))
    return float((weights * each).sum())


def likeliest(excesses: Float64Array, weights: Float64Array, width: float) -> float:
    """Search by the golden section."""
    low, high = 1e-3, 200.0
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_likelihood(left, excesses, weights, width) > log_likelihood(right, excesses, weights, width):
            high = right
        else:
            low = left
    return (low + high) / 2


@pytest.mark.parametrize(("ceiling", "scale"), [(0.8, 0.2), (0.8, 0.06), (0.6, 0.3), (0.999, 0.2)])
@pytest.mark.parametrize("seed", range(3))
def test_slope_has_the_greatest_likelihood(seed: int, ceiling: float, scale: float) -> None:
    found = tail(seed, ceiling=ceiling, scale=scale)
    expected = likeliest(found.excesses, np.ones(len(found.excesses)), found.width)
    assert found.slope == pytest.approx(expected, rel=1e-4)
    assert found.width == pytest.approx(math.atanh(ceiling) - found.level)


def test_upper_two_fifths_are_taken_with_their_pairs() -> None:
    similarities = np.random.default_rng(1).permutation(np.linspace(0.01, 0.7, 100))
    first, counted = np.arange(100), similarities > 0.6
    found = fitted_tail(similarities, counted, first, first + 100, num_pictures=200, num_pairs=19_900, ceiling=0.8)
    assert found is not None
    ranked = sorted(similarities.tolist(), reverse=True)
    assert found.level == pytest.approx(math.atanh(ranked[40]))
    assert sorted(found.first.tolist()) == [k for k in range(100) if similarities[k] > ranked[40]]
    assert (found.second - found.first).tolist() == [100] * 40
    assert np.tanh(found.excesses + found.level) == pytest.approx(similarities[found.first])
    assert found.counted.tolist() == counted[found.first].tolist()


@pytest.mark.parametrize(("compared", "fits"), [(0, False), (49, False), (50, True)])
def test_too_few_pairs_have_no_tail(compared: int, fits: bool) -> None:
    assert MIN_EXCEEDANCES == 20
    first = np.arange(compared)
    found = fitted_tail(
        np.linspace(0.1, 0.5, compared) ** 2,
        np.ones(compared, bool),
        first,
        first + 1,
        num_pictures=60,
        num_pairs=1770,
        ceiling=0.8,
    )
    assert (found is not None) == fits


def test_pairs_above_the_ceiling_are_just_below_it() -> None:
    first = np.arange(200)
    values = np.tanh(np.random.default_rng(0).exponential(0.3, 200))
    above, at = (
        fitted_tail(some, first > 3, first, first + 1, num_pictures=201, num_pairs=20_100, ceiling=0.5)
        for some in (values, np.minimum(values, 0.5))
    )
    assert above is not None
    assert at is not None
    assert values.max() > 0.6
    assert above.excesses.max() == pytest.approx(above.width)
    assert above.rate(0.7) == at.rate(0.7)


def test_estimate_without_a_ceiling_in_reach_is_exponential() -> None:
    found = tail(ceiling=1 - 1e-12, scale=0.1)
    for similarity in (0.3, 0.6, 0.9):
        distance = math.atanh(similarity) - found.level
        expected = found.counted.sum() / NUM_PAIRS * math.exp(-distance / found.excesses.mean())
        assert found.rate(similarity)[0] == pytest.approx(expected, rel=1e-6)


def test_pairs_left_out_above_the_ceiling_are_added() -> None:
    found = tail(ceiling=0.6, scale=0.3)
    counted = found.counted.sum() / NUM_PAIRS
    at_level, at_ceiling = (found.rate(math.tanh(found.level + part))[0] for part in (0.0, found.width))
    assert at_level - at_ceiling == pytest.approx(counted)  # what is between them
    assert at_level / at_ceiling == pytest.approx(math.exp(found.slope * found.width))


def test_below_the_level_is_as_at_it() -> None:
    found = tail()
    assert found.rate(math.tanh(found.level - 0.1)) == pytest.approx(found.rate(math.tanh(found.level)))


def test_rates_fall() -> None:
    found = tail()
    rates = np.array([found.rate(similarity) for similarity in np.linspace(0.3, 0.99, 50)])
    assert np.all(np.diff(rates[:, :2], axis=0) < 0)
    assert np.all((rates[:, 0] > rates[:, 1]) & (rates[:, 0] < rates[:, 2]))


def expected_interval(found: PairTail, similarity: float) -> tuple[float, float, float]:
    """Return the ratio of variances, by finite differences over all pairs of pairs, and the interval that it gives."""
    size, width, step = len(found.excesses), found.width, 1e-3
    distance = math.atanh(similarity) - found.level

    def log_share(slope: float) -> float:
        return -slope * distance - math.log(1 - math.exp(-slope * width))

    def log_rate(weights: Float64Array) -> float:
        return math.log(float((weights * found.counted).sum())) + log_share(likeliest(found.excesses, weights, width))

    ones = np.ones(size)
    psi = np.array([(log_rate(ones + step * row) - log_rate(ones - step * row)) / (2 * step) for row in np.eye(size)])
    own = float((psi**2).sum())
    common = sum(
        psi[i] * psi[j]
        for i in range(size)
        for j in range(size)
        if i != j and {found.first[i], found.second[i]} & {found.first[j], found.second[j]}
    )
    centred = (2 * psi.sum()) ** 2 / found.num_pictures
    effect = max(1 + (common - centred) / own, 1.0)
    slope = likeliest(found.excesses, ones, width)
    values = [log_likelihood(slope + move, found.excesses, ones, width) for move in (-0.01, 0.0, 0.01)]
    deviation = math.sqrt(effect / ((2 * values[1] - values[0] - values[2]) / 0.01**2))
    count = int(found.counted.sum())
    log = math.log(count / found.num_pairs) + log_share(slope)
    ends = []
    for sign, poisson in zip((-1, 1), poisson_interval(count / effect), strict=True):
        other = log_share(slope * math.exp(-sign * Z * deviation / slope))
        squares = math.log(poisson * effect / count) ** 2 + (other - log_share(slope)) ** 2
        ends.append(math.exp(log + sign * math.sqrt(squares)))
    return effect, ends[0], ends[1]


def test_interval_has_the_variance_of_pairs_that_share_pictures() -> None:
    """Some pictures are in many more pairs than others, and those pairs are the more alike."""
    generator = np.random.default_rng(2)
    first, second = np.triu_indices(NUM_PICTURES, 1)
    odd = generator.gamma(1.0, 1.0, NUM_PICTURES)
    rows = (generator.random(NUM_PAIRS) < 0.2 * odd[first] * odd[second]).nonzero()[0]
    values = generator.exponential(0.1 * (1 + odd[first] + odd[second])[rows] / 3)
    found = fitted_tail(
        np.tanh(values),
        generator.random(len(rows)) < 0.6,
        first[rows],
        second[rows],
        num_pictures=NUM_PICTURES,
        num_pairs=NUM_PAIRS,
        ceiling=0.8,
    )
    assert found is not None
    effect, low, high = expected_interval(found, 0.6)
    assert effect > 1.3
    assert found.rate(0.6)[1:] == pytest.approx((low, high), rel=1e-3)


def test_independent_pairs_have_no_smaller_variance_than_that() -> None:
    found = fitted_tail(
        np.tanh(np.random.default_rng(0).exponential(0.1, 100)),
        np.ones(100, bool),
        np.arange(0, 200, 2),
        np.arange(1, 200, 2),
        num_pictures=200,
        num_pairs=19_900,
        ceiling=0.8,
    )
    assert found is not None
    effect, low, high = expected_interval(found, 0.6)
    assert effect == 1.0
    assert found.rate(0.6)[1:] == pytest.approx((low, high), rel=1e-3)


def test_where_no_pair_counts_the_upper_end_is_that_of_none() -> None:
    none, some = tail(counted=0.0), tail(counted=1.0)
    estimate, low, high = none.rate(0.7)
    assert (estimate, low) == (0.0, 0.0)
    share = some.rate(0.7)[0] / some.rate(math.tanh(some.level))[0]
    assert high > -math.log(0.025) / NUM_PAIRS * share
    assert high < some.rate(0.7)[2]


@pytest.mark.parametrize("ceiling", [0.8, 0.3])
def test_similarities_that_do_not_fall_say_nothing(ceiling: float) -> None:
    """They pile up below the ceiling, or are all above it."""
    first = np.arange(100)
    found = fitted_tail(
        np.linspace(0.3, 1, 100) ** 0.2,
        np.ones(100, bool),
        first,
        first + 1,
        num_pictures=101,
        num_pairs=5050,
        ceiling=ceiling,
    )
    assert found is not None
    assert found.slope == 0.0
    assert found.rate(0.95) == (1.0, 0.0, 1.0)


def poisson_at_most(count: int, mean: float) -> float:
    return math.fsum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


@pytest.mark.parametrize(("count", "lowest"), [(1, 0.012), (2, 0.021), (5, 0.024), (20, 0.0245), (400, 0.0245)])
def test_poisson_interval_has_the_tails_of_the_distribution(count: int, lowest: float) -> None:
    """The lower end of the approximation is too low where events are one or two."""
    low, high = poisson_interval(count)
    assert poisson_at_most(count, high) == pytest.approx(0.025, rel=0.02)
    assert lowest < 1 - poisson_at_most(count - 1, low) < 0.0255


def test_poisson_interval_of_few_and_of_parts() -> None:
    assert poisson_interval(0) == pytest.approx((0.0, -math.log(0.025)))
    ends = np.array([poisson_interval(count) for count in np.arange(0.1, 5.0, 0.1)])
    assert ends[0, 0] == 0.0
    assert np.all(np.diff(ends, axis=0)[:, 1] > 0)
    assert np.all(np.diff(ends, axis=0)[:, 0] >= 0)
