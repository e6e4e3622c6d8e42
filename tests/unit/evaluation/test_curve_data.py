from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim.evaluation import (
    Logistic,
    PairCounts,
    PairFigures,
    PairScores,
    expected_calibration_error,
    image_level_intervals_of_pairs,
)
from pairsim.evaluation.curve_data import (
    curve_points,
    join_points,
    match_counts,
    reliability,
    reliability_intervals,
    score_histogram,
)


def _pairs(num_pairs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.random(num_pairs) < 0.3
    return np.clip(generator.normal(0.3 * targets, 0.2), -1, 1), targets


def test_curves_of_few_pairs_are_whole_and_of_many_are_thinned() -> None:
    few, many = (PairScores.from_scores(*_pairs(size)) for size in (20_000, 20_001))
    assert len(curve_points(few).fmr) == len(few.roc_curve().fmr)
    assert len(curve_points(many).fmr) <= 4_000 < len(many.roc_curve().fmr)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40).filter(
        lambda pairs: len({same for _, same in pairs}) == 2
    ),
    st.lists(st.floats(1e-4, 1.0), max_size=8),
    st.lists(st.floats(1e-4, 1.0), max_size=8),
)
def test_joined_points_lie_on_the_straight_lines_of_the_curve(
    pairs: list[tuple[int, bool]], at_fmr: list[float], at_fnmr: list[float]
) -> None:
    curve = PairScores.from_scores(*map(list, zip(*pairs, strict=True))).roc_curve()
    joined = join_points(curve, np.array(at_fmr), np.array(at_fnmr))
    assert joined.fmr[joined.exact].tolist() == curve.fmr.tolist()
    assert joined.fnmr[joined.exact].tolist() == curve.fnmr.tolist()
    assert (np.diff(joined.fmr) >= 0).all()
    assert (np.diff(joined.fnmr) <= 0).all()
    for rates, found in ((at_fmr, joined.fmr), (at_fnmr, joined.fnmr)):
        assert all(np.isclose(found, rate, rtol=1e-9).any() for rate in rates)
    area = float(np.trapezoid(1 - joined.fnmr, joined.fmr))
    assert area == pytest.approx(float(np.trapezoid(curve.tmr, curve.fmr)))
    # Of every three points in a row, the middle one is on the line, or an exact point.
    x, y = joined.fmr, joined.fnmr
    bends = np.abs(np.diff(x[:-1]) * np.diff(y[1:]) - np.diff(x[1:]) * np.diff(y[:-1]))
    assert bends[~joined.exact[1:-1]] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("form", [PairScores, PairCounts])
def test_match_counts_are_those_of_the_scores(form: type[PairScores | PairCounts]) -> None:
    scores, targets = _pairs(500)
    scores = np.rint(scores * 64) / 64
    thresholds = np.linspace(-1, 1, 129)
    positive, negative = match_counts(form.from_scores(scores, targets), thresholds)
    matches = scores[:, None] >= thresholds
    assert positive.tolist() == matches[targets].sum(axis=0).tolist()
    assert negative.tolist() == matches[~targets].sum(axis=0).tolist()


@pytest.mark.parametrize("form", [PairScores, PairCounts])
@pytest.mark.parametrize("ends", [{}, {"low": -1.0, "high": 1.0}])
def test_histogram_is_that_of_numpy(form: type[PairScores | PairCounts], ends: dict[str, float]) -> None:
    scores, targets = _pairs(500)
    scores = np.rint(scores * 64) / 64
    pairs: PairFigures = form.from_scores(scores, targets)
    histogram = score_histogram(pairs, 16, **ends)
    low, high = ends.get("low", scores.min()), ends.get("high", scores.max())
    assert histogram.edges.tolist() == np.linspace(low, high, 17).tolist()
    for share, of_kind in ((histogram.positive_share, targets), (histogram.negative_share, ~targets)):
        counts, _ = np.histogram(scores[of_kind], histogram.edges)
        np.testing.assert_array_equal(share, counts / of_kind.sum())


def test_histogram_of_one_kind_and_of_one_score() -> None:
    histogram = score_histogram(PairScores.from_scores([0.5, 0.5], [1, 1]), 2)
    assert histogram.edges.tolist() == [0.0, 0.5, 1.0]
    assert histogram.positive_share.tolist() == [0.0, 1.0]
    assert histogram.negative_share.tolist() == [0.0, 0.0]


def test_reliability_has_the_bins_and_the_error() -> None:
    scores, targets = _pairs(400)
    chance = Logistic(5.0, -1.0)
    bins = reliability(PairScores.from_scores(scores, targets), chance, 4)
    chances = chance(scores)
    number = np.minimum((chances * 4).astype(int), 3)
    for k in range(4):
        inside = number == k
        assert bins.num_pairs[k] == inside.sum()
        assert bins.mean_probability[k] == pytest.approx(chances[inside].mean(), abs=1e-12)
        assert bins.positive_share[k] == pytest.approx(targets[inside].mean(), abs=1e-12)
    assert bins.error == pytest.approx(expected_calibration_error(chances, targets, 4), abs=1e-12)


def test_reliability_intervals_are_those_of_the_share_of_positive_pairs() -> None:
    generator = np.random.default_rng(1)
    chances, targets = generator.random(300) / 2, generator.random(300) < 0.3
    first, second = generator.integers(0, 40, (2, 300))
    ends = reliability_intervals(chances, targets, first, second, 2)
    expected = image_level_intervals_of_pairs(targets * 1.0, np.ones(300), first, second, 0.5)["accuracy"]
    assert ends[:, 0].tolist() == pytest.approx(expected, abs=1e-12)
    assert np.isnan(ends[:, 1]).all()


def test_reliability_intervals_reject_other_numbers_of_images() -> None:
    with pytest.raises(ValueError, match=r"second to name one image per pair, shape \[2\]"):
        reliability_intervals([0.5, 0.6], [0, 1], [0, 1], [1])
    with pytest.raises(ValueError, match=r"looks like similarities"):
        reliability_intervals([0.5, -0.6], [0, 1], [0, 1], [1, 2])
