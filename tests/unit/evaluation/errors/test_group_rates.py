from __future__ import annotations

import math

import numpy as np
import pytest
from grouped_images import grouped_images

from pairsim.evaluation.errors.group_errors import group_errors


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
