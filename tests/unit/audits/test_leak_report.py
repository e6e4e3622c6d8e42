from __future__ import annotations

import json
from typing import Any

import pytest

from pairsim.audits.leak_report import ImageMatch, LeakReport


def match(test: int, train: int, similarity: float = 1.0, labels: tuple[Any, Any] = ("a", "a")) -> ImageMatch:
    return ImageMatch(test=test, train=train, test_label=labels[0], train_label=labels[1], similarity=similarity)


def report(**findings: Any) -> LeakReport:
    nothing: dict[str, Any] = {
        "num_train": 60,
        "num_test": 2500,
        "num_pairs": None,
        "exact_duplicates": (),
        "near_duplicates": (),
        "shared_classes": (),
        "shared_groups": (),
        "self_pairs": (),
        "repeated_pairs": (),
        "identical_pairs": (),
        "near_duplicate_similarity": 0.99,
    }
    return LeakReport(**{**nothing, **findings})


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ({"exact_duplicates": (match(0, 3),)}, "1 test images that are training images, pixel by pixel:"),
        ({"near_duplicates": (match(0, 3, 0.991),)}, "1 test images that are nearly training images:"),
        ({"shared_classes": (2, 3)}, "2 classes of both sets, claimed unseen: 2, 3"),
        ({"shared_groups": ("w1",)}, "1 groups of both sets: w1"),
        ({"self_pairs": (1,)}, "1 pairs of an image with itself, at positions: 1"),
        ({"repeated_pairs": tuple(range(7))}, "7 pairs that repeat an earlier one, at positions: 0, 1, 2, 3, 4 and 2"),
        ({"identical_pairs": (4, 7)}, "2 pairs of different images with the same pixels, at positions: 4, 7"),
    ],
)
def test_each_finding_is_a_leak(findings: dict[str, Any], line: str) -> None:
    assert report().clean
    assert str(report()) == "No leaks found in 60 training and 2,500 test images."
    found = report(num_pairs=9, **findings)
    assert not found.clean
    first, second, *_ = str(found).splitlines()
    assert first == "Leaks found in 60 training and 2,500 test images, 9 pairs."
    assert second.startswith(line)


def test_matches_as_text() -> None:
    matches = (match(0, 0), match(1, 1, labels=("a", "b")), *(match(7, k) for k in range(6)))
    lines = str(report(exact_duplicates=matches, near_duplicates=None)).splitlines()
    assert lines[1] == "3 test images that are training images, pixel by pixel:"
    assert lines[2] == "  test 0 = train 0, similarity 1.0000, labels both a"
    assert lines[3] == "  test 1 = train 1, similarity 1.0000, labels a and b: differ"
    assert lines[7:] == ["  and 3 more", "Near-duplicates were not searched."]


def test_test_images_are_sorted_and_listed_once() -> None:
    found = report(exact_duplicates=(match(9, 0), match(9, 1)), near_duplicates=(match(3, 0), match(9, 5)))
    assert found.test_images == (3, 9)
    assert report(near_duplicates=None).test_images == ()


def test_json_values() -> None:
    found = report(exact_duplicates=(match(1, 1, labels=("a", "b")),), near_duplicates=(match(9, 1, 0.995),))
    values = json.loads(json.dumps(found.to_dict()))
    assert values["clean"] is False
    assert values["exact_duplicates"] == [
        {"test": 1, "train": 1, "test_label": "a", "train_label": "b", "similarity": 1.0, "same_label": False}
    ]
    assert values["near_duplicates"][0]["same_label"] is True
    assert (values["self_pairs"], values["test_images"], values["num_pairs"]) == ([], [1, 9], None)
    assert report(near_duplicates=None).to_dict()["near_duplicates"] is None
