"""Counted scores give every figure that the scores themselves give."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairsim.evaluation import Logistic, PairScores
from pairsim.evaluation.pairs.pair_counts import PairCounts
from pairsim.evaluation.pairs.pair_figures import PairFigures

UNTIMED = settings(deadline=None)  # a busy machine is no failure
STEP = 2.0**-22


@st.composite
def cases(draw: st.DrawFn) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Cosines with many ties, some only once they are rounded to the grid."""
    bases = st.sampled_from([-0.5, 0.0, 0.25])
    near = st.builds(lambda base, steps: base + steps * STEP / 3, bases, st.integers(-6, 6))
    some = st.one_of(near, st.floats(-1, 1), st.sampled_from([-1.0, 1.0]))
    size = draw(st.integers(0, 40))
    return draw(arrays(np.float64, size, elements=some)), draw(arrays(np.bool_, size))


def _figures(pairs: PairFigures, threshold: float, rate: float, weight: float) -> list[float]:
    chance = Logistic(weight, -1.0)
    curves = [pairs.roc_curve(), pairs.roc_curve(8)]
    return [
        pairs.num_positive,
        pairs.num_negative,
        pairs.num_pairs,
        pairs.roc_auc(),
        pairs.partial_roc_auc(rate or 1.0),
        pairs.d_prime(),
        pairs.average_precision(),
        pairs.equal_error_rate(),
        pairs.equal_error_threshold(),
        pairs.fnmr_at_fmr(rate),
        pairs.threshold_at_fmr(rate),
        pairs.accuracy(threshold),
        pairs.balanced_accuracy(threshold),
        *pairs.fmr_fnmr(threshold),
        pairs.log_loss(chance),
        *pairs.log_loss_by_target(chance),
        pairs.brier_score(chance),
        pairs.expected_calibration_error(chance, 4),
        *(value for values in pairs.calibration_bins(chance, 3) for value in values.tolist()),
        *(v for curve in curves for values in (curve.fmr, curve.fnmr, curve.thresholds) for v in values.tolist()),
    ]


@UNTIMED
@given(cases(), st.floats(-1.5, 1.5), st.sampled_from([0.0, 0.001, 0.1, 1 / 3, 0.5, 1.0]), st.floats(-20, 20))
def test_figures_are_those_of_the_rounded_scores(
    case: tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]], threshold: float, rate: float, weight: float
) -> None:
    scores, targets = case
    rounded = np.rint(scores / STEP) * STEP
    expected = PairScores.from_scores(rounded.astype(np.float32), targets)
    # In float32, as counts are: a threshold just above all scores is the next float of their dtype.
    expected = PairScores(expected.positive.astype(np.float32), expected.negative.astype(np.float32))
    counted = PairCounts.from_scores(scores, targets)
    np.testing.assert_allclose(
        _figures(counted, threshold, rate, weight), _figures(expected, threshold, rate, weight), rtol=1e-12, atol=1e-12
    )


@UNTIMED
@given(cases())
def test_scores_move_by_half_a_step_at_most_and_none_is_lost(
    case: tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]],
) -> None:
    scores, targets = case
    pairs = PairCounts.from_scores(scores, targets)
    assert np.all(pairs.positive + pairs.negative > 0)
    for counts, chosen in ((pairs.positive, targets), (pairs.negative, ~targets)):
        listed = np.repeat(pairs.scores.astype(np.float64), counts)
        assert listed.size == chosen.sum()
        assert math.isclose(np.abs(listed - np.sort(scores[chosen])).max(initial=0.0), 0.0, abs_tol=STEP / 2)
