from __future__ import annotations

import math

import numpy as np
import pytest
from grouped_images import GROUPS, grouped_images

from pairsim.evaluation.errors import group_errors as module
from pairsim.evaluation.errors.group_errors import group_errors
from pairsim.evaluation.errors.group_rates import MIN_CLASSES

NAMES = np.array(["", "a", "b", "c"])


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
