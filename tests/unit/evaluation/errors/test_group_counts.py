from __future__ import annotations

import json

import numpy as np
from grouped_images import grouped_images
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation.errors.group_errors import group_errors, group_errors_of_pairs

NAMES = np.array(["", "a", "b", "c"])


def brute_force(
    similarity: np.ndarray, labels: np.ndarray, groups: list[str], threshold: float
) -> dict[str, dict[tuple[str, str], int]]:
    """Count pairs and errors by the two groups of each pair, in loops."""
    found: dict[str, dict[tuple[str, str], int]] = {}
    for one in range(len(labels)):
        for other in range(one + 1, len(labels)):
            low, high = sorted((groups[one], groups[other]))
            ends = (low, high)
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
