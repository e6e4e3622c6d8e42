from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pairsim.evaluation import PairScores, all_pair_scores, image_level_intervals, image_level_intervals_of_pairs
from pairsim.evaluation.uncertainty.spread import t_quantile

Drawn = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
TARGETS = (0.1, 0.01)
NAMES = ["accuracy", "balanced_accuracy", "eer", "fmr", "fnmr", "roc_auc"]


def _draw(generator: np.random.Generator, num_images: int, noise: float = 0.55) -> Drawn:
    """Images of six classes, some much harder than others."""
    labels = generator.integers(0, 6, num_images)
    difficulty = generator.gamma(2, 0.5, size=(num_images, 1))
    embeddings = np.eye(6)[labels] + generator.normal(size=(num_images, 6)) * noise * difficulty
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), labels


def _listed(embeddings: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
    first, second = np.triu_indices(len(labels), 1)
    vectors = embeddings.astype(np.float32)
    return (vectors @ vectors.T).clip(-1, 1)[first, second], labels[first] == labels[second], first, second


def test_both_entries_agree() -> None:
    embeddings, labels = _draw(np.random.default_rng(0), 80)
    scores, same, first, second = _listed(embeddings, labels)
    for threshold in (-1.0, 0.3, 0.7):
        blocked = image_level_intervals(
            torch.from_numpy(embeddings), labels, threshold, fmr_targets=TARGETS, block_size=13
        )
        listed = image_level_intervals_of_pairs(scores, same, first, second, threshold, fmr_targets=TARGETS)
        assert sorted(blocked) == sorted(listed) == sorted([*NAMES, "fnmr_at_fmr_0.1", "fnmr_at_fmr_0.01"])
        for name in blocked:
            # The grid of the AUC's psi may move a width by some 1e-5 of it.
            assert blocked[name] == pytest.approx(listed[name], abs=1e-6)


def test_scores_in_hand_save_a_pass_and_change_nothing() -> None:
    embeddings, labels = _draw(np.random.default_rng(1), 50)
    pairs = all_pair_scores(embeddings, labels)
    given = image_level_intervals(embeddings, labels, 0.5, pair_scores=pairs)
    assert given == image_level_intervals(embeddings, labels, 0.5)


def _expected(estimate: float, psi: npt.NDArray[np.float64], common: npt.NDArray[Any], images: Any) -> Any:
    """The 90 % interval from psi and the matrix of pairs of pairs with a common image, as the module describes it."""
    num_images = len(images)
    variance = max(num_images * (num_images - 1) / (num_images - 2) ** 2 * float(psi @ common @ psi), float(psi @ psi))
    squares = np.square([psi[touching].sum() for touching in images])
    freedom = 2 * squares.sum() ** 2 / (np.square(squares).sum() - squares.sum() ** 2 / num_images)
    step = t_quantile(0.95, freedom) * math.sqrt(variance) / (estimate * (1 - estimate))
    logit = math.log(estimate / (1 - estimate))
    return pytest.approx(tuple(1 / (1 + math.exp(-(logit + sign * step))) for sign in (-1, 1)), abs=1e-9)


def test_variance_is_the_sum_over_pairs_of_pairs_with_a_common_image() -> None:
    embeddings, labels = _draw(np.random.default_rng(2), 40)
    scores, same, first, second = _listed(embeddings, labels)
    common = (first[:, None] == first) | (first[:, None] == second) | (second[:, None] == first)
    common |= second[:, None] == second
    images = [(first == image) | (second == image) for image in range(40)]
    arguments: dict[str, Any] = {"confidence": 0.9, "fmr_targets": (0.1,)}
    both = (
        image_level_intervals_of_pairs(scores, same, first, second, 0.6, **arguments),
        image_level_intervals(embeddings, labels, 0.6, **arguments),
    )
    fnmr = float((scores[same] < 0.6).mean())
    expected = _expected(fnmr, np.where(same, ((scores < 0.6) - fnmr) / same.sum(), 0.0), common, images)
    assert [found["fnmr"] for found in both] == [expected] * 2
    # FNMR at FMR 0.1: its own deviation, and that of the FMR times how steeply the FNMR rises as the FMR falls.
    pairs = PairScores.from_scores(scores, same)
    cut, (low, high) = pairs.threshold_at_fmr(0.1), (pairs.threshold_at_fmr(fmr) for fmr in (0.2, 0.05))
    (fmr, fnmr), (fmr_low, fnmr_low), (fmr_high, fnmr_high) = (pairs.fmr_fnmr(at) for at in (cut, low, high))
    slope = (fnmr_high - fnmr_low) / (fmr_low - fmr_high)
    psi = np.where(
        same, ((scores < cut) - fnmr) / pairs.num_positive, slope * ((scores >= cut) - fmr) / pairs.num_negative
    )
    assert slope > 0.5
    expected = _expected(pairs.fnmr_at_fmr(0.1), psi, common, images)
    assert [found["fnmr_at_fmr_0.1"] for found in both] == [expected] * 2


def test_few_images_with_all_errors_make_the_interval_wider() -> None:
    """As many false non-matches, once all of one image and once each of another two."""
    first, second = np.triu_indices(60, 1)
    of_one = (first == 0) & (second <= 20)
    spread = (second == first + 1) & (first % 2 == 0) & (first < 40)
    assert of_one.sum() == spread.sum() == 20
    width = {}
    for name, wrong in (("of one", of_one), ("spread", spread)):
        scores = np.where(wrong, 0.1, 0.9)
        low, high = image_level_intervals_of_pairs(scores, np.ones(scores.size), first, second, 0.5)["fnmr"]
        width[name] = high - low
    assert width["of one"] > 5 * width["spread"]


def test_targets_below_what_the_pairs_can_show_are_nan() -> None:
    embeddings, labels = _draw(np.random.default_rng(7), 30)
    num_negative = all_pair_scores(embeddings, labels).num_negative
    targets = (0.0, 0.9 / num_negative, 2 / num_negative)
    intervals = image_level_intervals(embeddings, labels, 0.5, fmr_targets=targets)
    ends = [intervals[f"fnmr_at_fmr_{target:g}"] for target in targets]
    assert [math.isnan(low) for low, _ in ends] == [math.isnan(high) for _, high in ends] == [True, True, False]


def test_pairs_without_common_images_get_the_binomial_interval() -> None:
    generator = np.random.default_rng(3)
    scores, targets = generator.random(4000), generator.random(4000) < 0.5
    low, high = image_level_intervals_of_pairs(scores, targets, np.arange(4000), np.arange(4000, 8000), 0.4)["accuracy"]
    rate = ((scores >= 0.4) == targets).mean()
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(rate * (1 - rate) / 4000), rel=1e-3)
    # An AUC of independent scores: DeLong's variance, close to (1/P + 1/M) / 12 where the classes do not differ.
    low, high = image_level_intervals_of_pairs(scores, targets, np.arange(4000), np.arange(4000, 8000), 0.4)["roc_auc"]
    expected = math.sqrt((1 / targets.sum() + 1 / (~targets).sum()) / 12)
    assert (high - low) / 2 == pytest.approx(1.96 * expected, rel=0.05)


def test_repeated_pairs_add_no_certainty() -> None:
    embeddings, labels = _draw(np.random.default_rng(4), 40)
    scores, same, first, second = _listed(embeddings, labels)
    once = image_level_intervals_of_pairs(scores, same, first, second, 0.5)
    twice = image_level_intervals_of_pairs(
        np.tile(scores, 2), np.tile(same, 2), np.append(first, second), np.append(second, first), 0.5
    )
    for name in ("accuracy", "balanced_accuracy", "fmr", "fnmr", "roc_auc"):
        assert twice[name] == pytest.approx(once[name], abs=1e-12)


def test_images_are_named_by_anything() -> None:
    scores, targets = [0.9, 0.7, 0.3, 0.2], [1, 1, 0, 0]
    by_number = image_level_intervals_of_pairs(scores, targets, [4, 4, 9, 1], torch.tensor([9, 1, 7, 7]), 0.5)
    by_name = image_level_intervals_of_pairs(
        scores, targets, ["d.png", "d.png", "i.png", "a.png"], ["i.png", "a.png", "g.png", "g.png"], 0.5
    )
    assert by_number == by_name


def test_an_image_with_itself_counts_once() -> None:
    intervals = image_level_intervals_of_pairs([0.2, 0.9, 0.9], [1, 1, 1], [0, 1, 2], [0, 1, 2], 0.5)
    squares = [(2 / 9) ** 2, (1 / 9) ** 2, (1 / 9) ** 2]
    deviation = math.sqrt(3 * 2 * sum(squares))
    freedom = 2 * sum(squares) ** 2 / (sum(square**2 for square in squares) - sum(squares) ** 2 / 3)
    step = t_quantile(0.975, freedom) * deviation / (1 / 3 * 2 / 3)
    assert intervals["fnmr"][1] == pytest.approx(1 / (1 + math.exp(-(math.log(0.5) + step))), abs=1e-3)


def test_missing_classes_and_no_pairs_are_nan() -> None:
    intervals = image_level_intervals(np.eye(3), [0, 0, 0], 0.5)
    assert [name for name in NAMES if math.isnan(intervals[name][0])] == ["balanced_accuracy", "eer", "fmr", "roc_auc"]
    for intervals in (
        image_level_intervals(np.zeros((0, 4)), [], 0.5),
        image_level_intervals(np.ones((1, 1)), [3], 0.5),
        image_level_intervals_of_pairs([], [], [], [], 0.5),
    ):
        assert all(math.isnan(end) for interval in intervals.values() for end in interval)


def test_without_errors_the_interval_says_how_few_images_that_was() -> None:
    widths = {}
    for num_images in (12, 120):
        labels = np.arange(num_images) % 3
        found = image_level_intervals(np.eye(3)[labels], labels, 0.5, fmr_targets=(0.5,))
        upper = 1 - 0.025 ** (2 / num_images)  # as of half as many independent pairs as there are images
        for name in ("fmr", "fnmr"):
            assert found[name] == pytest.approx((0.0, upper)), name
        assert found["accuracy"] == pytest.approx((1 - upper, 1.0))
        assert found["fnmr_at_fmr_0.5"][0] == 0
        assert found["roc_auc"][1] == 1
        widths[num_images] = 1 - found["roc_auc"][0]
    assert widths[120] < widths[12] / 5


def test_messages() -> None:
    embeddings, labels = _draw(np.random.default_rng(5), 6)
    with pytest.raises(ValueError, match=r"Expected confidence between 0 and 1, got 95"):
        image_level_intervals(embeddings, labels, 0.5, confidence=95)
    with pytest.raises(ValueError, match=r"Expected threshold to be a number, got NaN"):
        image_level_intervals(embeddings, labels, math.nan)
    with pytest.raises(ValueError, match=r"Expected fmr to be a rate from 0 to 1, got 10.0. Give a fraction"):
        image_level_intervals(embeddings, labels, 0.5, fmr_targets=[10])
    with pytest.raises(ValueError, match=r"Expected pair_scores of these 15 pairs, .* got 1, 1 of them positive. Pass"):
        image_level_intervals(embeddings, labels, 0.5, pair_scores=PairScores.from_scores([0.5], [1]))
    with pytest.raises(ValueError, match=r"Expected first to name one image per pair, shape \[2\], got shape \[1\]"):
        image_level_intervals_of_pairs([0.1, 0.2], [0, 1], [1], [2, 3], 0.5)
    with pytest.raises(TypeError, match=r"Expected second to be whole numbers or strings, got dtype float64. Convert"):
        image_level_intervals_of_pairs([0.1, 0.2], [0, 1], [1, 2], [2.0, 3.0], 0.5)


@pytest.mark.slow
def test_coverage_with_shared_images() -> None:
    """Intervals hold the truth about as often as they say; those that ignore shared images do not."""
    generator, num_sets = np.random.default_rng(6), 300
    truth = all_pair_scores(*_draw(generator, 8000))
    fmr, fnmr = truth.fmr_fnmr(0.5)
    expected = {"roc_auc": truth.roc_auc(), "eer": truth.equal_error_rate(), "fmr": fmr, "fnmr": fnmr}
    expected["balanced_accuracy"] = truth.balanced_accuracy(0.5)
    expected |= {f"fnmr_at_fmr_{target:g}": truth.fnmr_at_fmr(target) for target in TARGETS}
    covered, covered_naively = dict.fromkeys(expected, 0), 0
    for _ in range(num_sets):
        embeddings, labels = _draw(generator, 100)
        intervals = image_level_intervals(embeddings, labels, 0.5, fmr_targets=TARGETS)
        for name, value in expected.items():
            covered[name] += intervals[name][0] <= value <= intervals[name][1]
        scores, same, first, _ = _listed(embeddings, labels)
        numbers = np.arange(first.size)
        low, high = image_level_intervals_of_pairs(scores, same, numbers, numbers + first.size, 0.5)["roc_auc"]
        covered_naively += low <= expected["roc_auc"] <= high
    assert all(0.92 <= count / num_sets <= 0.98 for count in covered.values()), covered
    assert covered_naively / num_sets < 0.75


def _of_groups(scores: Any, same: Any, groups: Any, threshold: float) -> tuple[float, float]:
    """The 95 % interval of the FMR by loops over groups, as the module describes it, in float64."""
    negative = ~same
    fmr = float((scores[negative] >= threshold).mean())
    sums = np.array(
        [
            sum(float(scores[p] >= threshold) - fmr for p in np.flatnonzero(negative & (groups == name)))
            / negative.sum()
            for name in np.unique(groups[negative])
        ]
    )
    squares = sums**2
    freedom = 2 * squares.sum() ** 2 / (np.square(squares).sum() - squares.sum() ** 2 / len(sums))
    variance = len(sums) / (len(sums) - 1) * squares.sum()
    step = t_quantile(0.975, min(freedom, len(sums) - 1)) * math.sqrt(variance) / (fmr * (1 - fmr))
    logit = math.log(fmr / (1 - fmr))
    return 1 / (1 + math.exp(step - logit)), 1 / (1 + math.exp(-step - logit))


def test_groups_that_err_together_widen_the_intervals() -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(12), 50)
    same = np.tile([True, False], 300)
    scores = generator.normal(size=600) + same * 2.0 + generator.normal(size=12)[groups]
    first, second = np.arange(600), 600 + np.arange(600)  # no picture is in two pairs
    plain = image_level_intervals_of_pairs(scores, same, first, second, 1.0)
    grouped = image_level_intervals_of_pairs(scores, same, first, second, 1.0, groups=groups)
    assert grouped["fmr"] == pytest.approx(_of_groups(scores, same, groups, 1.0), abs=1e-12)
    for name in ("fmr", "fnmr"):  # in means of both, the errors of a group cancel
        assert grouped[name][0] < plain[name][0] < plain[name][1] < grouped[name][1], name
    named = image_level_intervals_of_pairs(scores, same, first, second, 1.0, groups=[f"w{k}" for k in groups])
    assert named == grouped


def test_each_pair_in_its_own_group_changes_little() -> None:
    scores, same, first, second = _listed(*_draw(np.random.default_rng(4), 40))
    plain = image_level_intervals_of_pairs(scores, same, first, second, 0.5)
    grouped = image_level_intervals_of_pairs(scores, same, first, second, 0.5, groups=np.arange(len(same)))
    for name, ends in plain.items():  # the variance of images is the larger one
        assert grouped[name] == pytest.approx(ends, rel=1e-9), name


def test_figures_without_errors_count_groups() -> None:
    same = np.tile([True, False], 30)
    scores = same * 1.0
    numbers = np.arange(60)
    grouped = image_level_intervals_of_pairs(scores, same, numbers, numbers + 60, 0.5, groups=numbers // 12)
    assert grouped["fmr"] == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))
    one = image_level_intervals_of_pairs(scores + (numbers == 1), same, numbers, numbers + 60, 0.5, groups=numbers * 0)
    assert all(math.isnan(end) for end in one["fmr"])
    with pytest.raises(ValueError, match=r"shape \[60\], got shape \[3\]"):
        image_level_intervals_of_pairs(scores, same, numbers, numbers + 60, 0.5, groups=[1, 2, 3])


@pytest.mark.slow
def test_intervals_of_groups_hold_for_other_groups() -> None:
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        groups = np.repeat(np.arange(20), 20)
        rates = generator.beta(2, 8, size=20)  # the mean rate of all groups is 0.2
        wrong = generator.random(400) < rates[groups]
        same = np.arange(400) % 2 == 0
        numbers = np.arange(400)
        low, high = image_level_intervals_of_pairs(
            1.0 * (wrong != same), same, numbers, numbers + 400, 0.5, groups=groups
        )["fmr"]
        held += low <= 0.2 <= high
    assert 0.91 < held / 400 < 0.99
