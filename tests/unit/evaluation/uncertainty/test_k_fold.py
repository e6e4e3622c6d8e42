from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim import evaluation
from pairsim.evaluation.uncertainty.k_fold import Criterion, k_fold_accuracy

CRITERIA: tuple[Criterion, ...] = ("accuracy", "balanced_accuracy")
Floats = npt.NDArray[np.float64]
Case = tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.int64]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Every fold has either target. Few distinct scores in half of the cases, so that ties are the rule."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_folds, each = draw(st.integers(2, 4)), draw(st.integers(2, 8))
    folds = np.repeat(np.arange(num_folds), each)
    targets = generator.integers(0, 2, folds.size) == 1
    targets[::each], targets[1::each] = True, False
    scores = generator.normal(size=folds.size) + targets
    if draw(st.booleans()):
        scores = np.round(scores)
    order = generator.permutation(folds.size)
    return scores[order], targets[order], folds[order]


def _errors(scores: Floats, targets: npt.NDArray[np.bool_], threshold: float, criterion: Criterion) -> int:
    """Errors, or FMR + FNMR times both counts, in whole numbers."""
    false_matches = sum(score >= threshold and not same for score, same in zip(scores, targets, strict=True))
    false_non_matches = sum(score < threshold and bool(same) for score, same in zip(scores, targets, strict=True))
    if criterion == "accuracy":
        return int(false_matches + false_non_matches)
    positive = int(targets.sum())
    return int(false_matches * positive + false_non_matches * (len(targets) - positive))


def _threshold(scores: Floats, targets: npt.NDArray[np.bool_], criterion: Criterion) -> float:
    """The rule as the docstring says it, candidate by candidate."""
    distinct = sorted(set(scores.tolist()))
    ends = [math.nextafter(distinct[0], -math.inf), *distinct, math.nextafter(distinct[-1], math.inf)]
    errors = [_errors(scores, targets, threshold, criterion) for threshold in ends[1:]]
    ranges: list[tuple[float, float]] = []
    for low, high, count in zip(ends[:-1], ends[1:], errors, strict=True):
        if count == min(errors):
            goes_on = bool(ranges) and ranges[-1][1] == low
            ranges[-1:] = [(ranges[-1][0], high)] if goes_on else [*ranges[-1:], (low, high)]
    low, high = max(ranges, key=lambda part: part[1] / 2 - part[0] / 2)
    return high if low / 2 + high / 2 <= low else low / 2 + high / 2


@pytest.mark.parametrize("criterion", CRITERIA)
@settings(deadline=None)
@given(case=cases())
def test_against_every_candidate(criterion: Criterion, case: Case) -> None:
    scores, targets, folds = case
    report = k_fold_accuracy(scores, targets, folds, criterion=criterion)
    figures = []
    for row in report.folds:
        inside = folds == row.fold
        rest, rest_targets = scores[~inside], targets[~inside]
        assert row.threshold == _threshold(rest, rest_targets, criterion)
        candidates = [*rest.tolist(), math.nextafter(rest.max(), math.inf)]
        least = min(_errors(rest, rest_targets, candidate, criterion) for candidate in candidates)
        assert _errors(rest, rest_targets, row.threshold, criterion) == least
        assert (row.num_pairs, row.num_positive) == (inside.sum(), targets[inside].sum())
        rates = evaluation.fmr_fnmr(scores[inside], targets[inside], row.threshold)
        assert (row.fmr, row.fnmr) == rates
        figure = getattr(evaluation, criterion)(scores[inside], targets[inside], row.threshold)
        assert row.accuracy == figure
        figures.append(figure)
    assert [row.fold for row in report.folds] == sorted(set(folds.tolist()))
    assert report.accuracy == pytest.approx(sum(figures) / len(figures), abs=1e-12)
    variance = sum((figure - report.accuracy) ** 2 for figure in figures) / (len(figures) - 1)
    assert report.standard_error == pytest.approx(math.sqrt(variance / len(figures)), abs=1e-12)
    assert report.criterion == criterion


@settings(deadline=None)
@given(case=cases(), criterion=st.sampled_from(CRITERIA))
def test_the_threshold_of_a_fold_does_not_see_the_fold(case: Case, criterion: Criterion) -> None:
    scores, targets, folds = case
    before = k_fold_accuracy(scores, targets, folds, criterion=criterion).folds[0]
    inside = folds == 0
    after = k_fold_accuracy(np.where(inside, -5 * scores, scores), targets ^ inside, folds, criterion=criterion)
    assert after.folds[0].threshold == before.threshold


@settings(deadline=None)
@given(case=cases(), criterion=st.sampled_from(CRITERIA), seed=st.integers(0, 9))
def test_order_of_pairs_and_numbers_of_folds_do_not_matter(case: Case, criterion: Criterion, seed: int) -> None:
    scores, targets, folds = case
    order = np.random.default_rng(seed).permutation(len(scores))
    expected = k_fold_accuracy(scores, targets, folds, criterion=criterion)
    found = k_fold_accuracy(scores[order], targets[order], 3 * folds[order] - 7, criterion=criterion)
    assert [asdict(row) | {"fold": 0} for row in found.folds] == [asdict(row) | {"fold": 0} for row in expected.folds]
    assert (found.accuracy, found.standard_error) == (expected.accuracy, expected.standard_error)
    assert [row.fold for row in found.folds] == [3 * row.fold - 7 for row in expected.folds]


@settings(deadline=None)
@given(case=cases())
def test_accuracies_do_not_change_when_scores_are_stretched(case: Case) -> None:
    scores, targets, folds = case
    expected = k_fold_accuracy(scores, targets, folds)
    found = k_fold_accuracy(4 * scores, targets, folds)  # a power of 2: no rounding
    thresholds = [4 * row.threshold for row in expected.folds]
    assert [row.threshold for row in found.folds] == pytest.approx(thresholds, rel=1e-12, abs=1e-300)
    assert found.accuracy == expected.accuracy


def test_the_widest_range_is_taken_and_of_equal_ones_the_lowest() -> None:
    # Two errors with a threshold in (1, 2], (3, 5] or (6, 7].
    scores, targets = [1.0, 2.0, 3.0, 5.0, 6.0, 7.0], [0, 1, 0, 1, 0, 1]
    fold = [0.0, 9.0], [0, 1], [1, 1]
    report = k_fold_accuracy(scores + fold[0], targets + fold[1], [0] * 6 + fold[2])
    assert report.folds[1].threshold == 4.0
    report = k_fold_accuracy([1.0, 2.0, 3.0, 4.0] + fold[0], [0, 1, 0, 1] + fold[1], [0] * 4 + fold[2])
    assert report.folds[1].threshold == 1.5


def test_where_all_or_nothing_should_match() -> None:
    report = k_fold_accuracy([0.2, 0.4, 0.3, 0.1, 0.6], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1])
    assert [row.threshold for row in report.folds] == [math.nextafter(0.6, 1), 0.2]
    assert math.isnan(report.folds[0].fmr)
    assert math.isnan(report.folds[1].fnmr)
    assert [row.accuracy for row in report.folds] == [0.0, pytest.approx(1 / 3)]


@pytest.mark.parametrize("high", [math.nextafter(1.0, 2), 1.7e308, 5e-324])
def test_a_middle_that_cannot_be_written_is_rounded_into_the_range(high: float) -> None:
    low = {5e-324: 0.0, 1.7e308: -1.7e308}.get(high, 1.0)
    report = k_fold_accuracy([low, high, low, high], [0, 1, 0, 1], [0, 0, 1, 1])
    assert report.accuracy == 1.0
    assert all(low < row.threshold <= high for row in report.folds)


def test_perfect_scores_and_tensors() -> None:
    scores = torch.tensor([0.9, 0.1] * 6, dtype=torch.bfloat16, requires_grad=True)
    report = k_fold_accuracy(scores, torch.tensor([True, False] * 6), torch.arange(12) // 4)
    assert (report.accuracy, report.standard_error, len(report.folds)) == (1.0, 0.0, 3)


@pytest.mark.parametrize(
    ("scores", "targets", "folds", "error", "message"),
    [
        ([], [], [], ValueError, "Expected pairs of at least two folds, got 0"),
        (
            [0.1, 0.2],
            [0, 1],
            [4, 4],
            ValueError,
            r"at least two folds, got 1: .*PairList.of\(pairs, folds=10\) assi",
        ),
        ([0.1, 0.2], [0, 1], [0], ValueError, "Expected one fold number per score, got 2 scores and 1 fold numbers"),
        ([0.1, 0.2], [0, 1], [0.0, 1.0], TypeError, "Expected folds to be whole numbers, got dtype float64"),
        ([0.1, math.nan], [0, 1], [0, 1], ValueError, "Expected scores without NaN"),
        ([0.1, -math.inf], [0, 1], [0, 1], ValueError, r"Expected finite scores, .* got -inf at index 1 \(1 such of 2"),
        ([0.1, 0.2], [0, 2], [0, 1], ValueError, "Expected targets of 0"),
    ],
)
def test_messages(scores: Any, targets: Any, folds: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        k_fold_accuracy(scores, targets, folds)


def test_criterion_messages() -> None:
    with pytest.raises(ValueError, match='Expected criterion to be "accuracy" or "balanced_accuracy", got \'eer\''):
        k_fold_accuracy([0.1, 0.2], [0, 1], [0, 1], criterion="eer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in every fold for balanced accuracy, got 0 positive of 2 in fold 1"):
        k_fold_accuracy([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 0], [0, 0, 1, 1], criterion="balanced_accuracy")
