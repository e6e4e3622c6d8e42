from __future__ import annotations

import json
import math

import numpy as np
import pytest
from grouped_images import GROUPS, grouped_images
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation.errors import group_errors as module
from pairsim.evaluation.errors.group_errors import group_errors, group_errors_of_pairs
from pairsim.evaluation.errors.group_rates import MIN_CLASSES

NAMES = np.array(["", "a", "b", "c"])


def brute_force(
    similarity: np.ndarray, labels: np.ndarray, groups: list[str], threshold: float
) -> dict[str, dict[tuple[str, str], int]]:
    """Count pairs and errors by the two groups of each pair, in loops."""
    found: dict[str, dict[tuple[str, str], int]] = {}
    for one in range(len(labels)):
        for other in range(one + 1, len(labels)):
            ends = tuple(sorted((groups[one], groups[other])))
            same, match = labels[one] == labels[other], similarity[one, other] >= threshold
            for name, counts in (
                ("ungrouped", not all(ends)),
                ("num_positive", same),
                ("num_negative", not same),
                ("false_matches", match and not same),
                ("false_non_matches", same and not match),
            ):
                at = found.setdefault(name, {})
                at[ends] = at.get(ends, 0) + bool(counts)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 50), st.integers(1, 12), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_every_count_is_that_of_loops(num_images: int, num_classes: int, seed: int, block_size: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(num_images, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, groups = rng.integers(0, num_classes, num_images), NAMES[rng.integers(0, 4, num_images)].tolist()
    groups[0] = "a"  # at least one has a group
    report = group_errors(vectors, labels, groups, 0.25, block_size=block_size)
    expected = brute_force(vectors @ vectors.T, labels, groups, 0.25)
    names = [row.name for row in report.groups]
    assert names == sorted(set(groups) - {""})
    for matrix, key in ((report.false_matches, "false_matches"), (report.num_negative, "num_negative")):
        wanted = [[expected[key].get((min(a, b), max(a, b)), 0) for b in names] for a in names]
        assert matrix.tolist() == wanted
    for row in report.groups:
        own = (row.name, row.name)
        for key in ("num_positive", "false_non_matches", "num_negative", "false_matches"):
            assert getattr(row, key) == expected[key].get(own, 0)
        assert row.num_images == groups.count(row.name)
        assert row.num_classes == len({label for label, name in zip(labels, groups, strict=True) if name == row.name})
    between = [pair for pair in expected["num_positive"] if len(set(pair)) == 2 and all(pair)]
    assert report.num_positive_between == sum(expected["num_positive"][pair] for pair in between)
    assert report.false_non_matches_between == sum(expected["false_non_matches"][pair] for pair in between)
    assert report.num_ungrouped == groups.count("")
    assert report.num_ungrouped_pairs == sum(expected["ungrouped"].values())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["apart", "across"]))
def test_all_pairs_given_one_by_one_give_the_same(seed: int, classes: str) -> None:
    vectors, labels, groups = grouped_images(seed % 1000, 12, noise=0.5)
    if classes == "across":  # classes with images in several groups
        labels = labels % 12
    vectors = vectors.astype(np.float32)
    first, second = np.triu_indices(len(labels), 1)
    match = np.clip(vectors @ vectors.T, -1, 1)[first, second] >= 0.5
    pairs = group_errors_of_pairs(
        match,
        (labels[first] == labels[second]).astype(np.int64),
        np.stack([first, second]),
        np.stack([labels[first], labels[second]]),
        ([groups[k] for k in first], [groups[k] for k in second]),
    )
    whole = group_errors(vectors, labels, groups, 0.5)
    assert json.dumps(pairs.to_dict()) == json.dumps(whole.to_dict())


def test_the_interval_of_the_fnmr_by_hand() -> None:
    """Twelve classes of two images, of which three do not match: leaving one out gives 3 of 11 or 2 of 11."""
    angles = np.where(np.arange(12) < 3, 1.2, 0.1)
    centres = np.eye(24)[::2]
    others = np.cos(angles)[:, None] * centres + np.sin(angles)[:, None] * np.eye(24)[1::2]
    report = group_errors(np.concatenate([centres, others]), np.tile(np.arange(12), 2), ["g"] * 24, 0.9)
    row = report.groups[0]
    assert (row.fnmr, row.num_positive, row.fmr, row.false_matches) == (0.25, 12, 0.0, 0)

    def logit(rate: float) -> float:
        return math.log(rate / (1 - rate))

    changes = np.array([logit(2 / 11) - logit(0.25)] * 3 + [logit(3 / 11) - logit(0.25)] * 9)
    variance = max(11 / 12 * float(changes @ changes), 1 / (12 * 0.25 * 0.75))
    squares = np.square(changes) * 11 / 12
    freedom = 2 * squares.sum() ** 2 / (squares @ squares - squares.sum() ** 2 / 12)
    margin = pytest.importorskip("scipy.stats").t.ppf(0.975, freedom) * math.sqrt(variance)
    low, high = (1 / (1 + math.exp(-(logit(0.25) + sign * margin))) for sign in (-1, 1))
    assert row.intervals["fnmr"] == pytest.approx((low, high), rel=0.01)
    # no false match: as many independent pairs as half the classes
    assert row.intervals["fmr"] == pytest.approx((0.0, 1 - 0.025 ** (1 / 6)))


def test_too_few_classes_have_no_rate() -> None:
    vectors, labels, groups = grouped_images(1, MIN_CLASSES, noise=0.6)
    enough = group_errors(vectors, labels, groups, 0.5)
    assert all(not math.isnan(row.fmr) and not math.isnan(row.fnmr) for row in enough.groups)
    assert not np.isnan(enough.fmr).any()
    few = labels != 0  # a class of the first group
    report = group_errors(vectors[few], labels[few], [groups[k] for k in np.flatnonzero(few)], 0.5)
    dense = report.groups[0]
    assert (dense.name, dense.num_classes) == (GROUPS[0], MIN_CLASSES - 1)
    assert math.isnan(dense.fmr)
    assert math.isnan(dense.intervals["fnmr"][0])
    assert dense.false_non_matches > 0  # the counts are there
    assert np.isnan(report.fmr[0]).all()
    assert not np.isnan(report.fmr[1:, 1:]).any()
    assert report.to_dict()["groups"][0]["fmr"] is None


def test_the_ratio_is_of_the_worst_group_and_the_geometric_mean() -> None:
    vectors, labels, groups = grouped_images(0, 40)
    report = group_errors(vectors, labels, groups, 0.4)
    rates = np.array([row.fmr for row in report.groups])
    worst = report.worst_fmr
    assert worst.name == "dense" == report.groups[int(rates.argmax())].name
    assert worst.ratio == pytest.approx(rates.max() / math.exp(np.log(rates).mean()))
    assert 1.0 < worst.interval[0] < worst.ratio < worst.interval[1]
    without = group_errors(vectors, labels, groups, 1.0)
    assert math.isnan(without.worst_fmr.ratio)
    assert without.worst_fmr.name == ""
    seen = 0  # groups that are alike, and are seen to differ
    for seed in range(40):
        vectors, labels, _ = grouped_images(seed, 20)
        halves = group_errors(vectors, labels, [f"part {label % 2}" for label in labels], 0.4)
        seen += halves.worst_fmr.interval[0] > 1.0
    assert seen <= 4


@pytest.mark.slow
def test_coverage_of_the_truth() -> None:
    """Of 95 % intervals, 93 to 97 % hold the rates of 1,500 classes of each group, over 400 sets of 30 classes each."""
    truth = {row.name: row for row in group_errors(*grouped_images(1, 1500), 0.4).groups}
    inside: dict[str, list[bool]] = {"fmr": [], "fnmr": []}
    for seed in range(400):
        for row in group_errors(*grouped_images(100 + seed, 30), 0.4).groups:
            for name, held in inside.items():
                low, high = row.intervals[name]
                held.append(low <= getattr(truth[row.name], name) <= high)
    shares = {name: float(np.mean(held)) for name, held in inside.items()}
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (["a"] * 3, "Expected the group of each of 4 images, got 3"),
        ([None, "", None, ""], "Expected groups of images, found that no image has one"),
    ],
)
def test_what_cannot_be(groups: list[str | None], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        group_errors(np.eye(2)[[0, 0, 1, 1]], [0, 0, 1, 1], groups, 0.5)


def test_too_many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUPS", 3)
    with pytest.raises(ValueError, match="Expected at most 3 groups, got 4, such as 'a'"):
        group_errors(np.eye(4), [0, 1, 2, 3], ["a", "b", "c", "d"], 0.5)
