from __future__ import annotations

import importlib
import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation import all_pair_scores
from pairsim.evaluation.errors.class_errors import Breakdown, ClassErrors, ClassPairErrors, breakdown
from pairsim.evaluation.uncertainty.wilson import wilson_interval

MODULE = importlib.import_module("pairsim.evaluation.errors.class_errors")
Floats = npt.NDArray[np.float64]


def _random(num_images: int, dim: int, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(num_images, dim))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, npt.NDArray[np.int64], float, int]:
    """Embeddings, labels, a threshold that no float32 rounding reaches, and a block size."""
    seed, num_images = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 40))
    embeddings = _random(num_images, draw(st.sampled_from([1, 2, 5])), seed)
    labels = np.random.default_rng(seed).integers(-4, draw(st.integers(-3, 40)), num_images)
    cosines = np.unique(np.concatenate([[-1.1, 1.1], (embeddings @ embeddings.T).ravel()]))
    gaps = np.flatnonzero(np.diff(cosines) > 1e-5)
    place = gaps[draw(st.integers(0, len(gaps) - 1))]
    return embeddings, labels, float(cosines[place : place + 2].mean()), draw(st.integers(1, 45))


def _low(errors: int, total: int) -> float:
    return float(wilson_interval(errors, total)[0])


def _by_loops(
    embeddings: Floats, labels: npt.NDArray[np.int64], threshold: float
) -> tuple[list[ClassErrors], list[ClassPairErrors]]:
    """Every pair, one by one, in float64."""
    names = sorted(set(labels.tolist()))
    within = {name: [0, 0] for name in names}
    between = {pair: [0, 0] for pair in combinations(names, 2)}
    for i, j in combinations(range(len(labels)), 2):
        match = float(embeddings[i] @ embeddings[j]) >= threshold
        one, other = sorted((int(labels[i]), int(labels[j])))
        tally = within[one] if one == other else between[one, other]
        tally[0] += match != (one == other)
        tally[1] += 1
    classes = []
    for name in names:
        errors, total = (sum(tally[k] for pair, tally in between.items() if name in pair) for k in (0, 1))
        fnm, positive = within[name]
        classes.append(
            ClassErrors(
                label=name,
                name=str(name),
                num_images=int((labels == name).sum()),
                fnmr=fnm / positive if positive else math.nan,
                false_non_matches=fnm,
                num_positive=positive,
                fmr=errors / total if total else math.nan,
                false_matches=errors,
                num_negative=total,
            )
        )
    pairs = [
        ClassPairErrors((one, other), (str(one), str(other)), errors / total, errors, total)
        for (one, other), (errors, total) in between.items()
    ]
    return classes, pairs


def _equal(found: Any, expected: Any) -> None:
    """Rows that may hold NaN."""
    assert repr(list(found)) == repr(list(expected))


@settings(deadline=None)
@given(case=cases())
def test_against_every_pair(case: tuple[Floats, npt.NDArray[np.int64], float, int]) -> None:
    embeddings, labels, threshold, block_size = case
    found = breakdown(embeddings, labels, threshold, block_size=block_size)
    classes, pairs = _by_loops(embeddings, labels, threshold)
    _equal(found.class_errors, classes)
    np.testing.assert_array_equal(found.fnmr, [row.fnmr for row in classes])
    np.testing.assert_array_equal(found.fmr, [row.fmr for row in classes])
    assert found.labels == tuple(row.label for row in classes)

    worst = sorted(pairs, key=lambda row: (-_low(row.false_matches, row.num_pairs), row.labels))
    _equal(found.worst_pairs, [row for row in worst if row.false_matches])
    weak = sorted(
        classes,
        key=lambda row: (
            -round(_low(row.false_non_matches, row.num_positive) + _low(row.false_matches, row.num_negative), 12),
            row.label,
        ),
    )
    some_classes, some_pairs = found.weakest(3)
    _equal(some_pairs, [row for row in worst if row.false_matches][:3])
    with_errors = [row for row in weak if row.false_matches + row.false_non_matches]
    assert len(some_classes) == min(3, len(with_errors))
    assert [_error(row) for row in some_classes] == pytest.approx([_error(row) for row in with_errors[:3]], abs=1e-12)

    assert found.pair_fmr is not None
    assert found.pair_counts is not None
    assert np.isnan(np.diagonal(found.pair_fmr)).all()
    assert not np.diagonal(found.pair_counts).any()
    place = {label: number for number, label in enumerate(found.labels)}
    for row in pairs:
        one, other = (place[label] for label in row.labels)
        assert found.pair_fmr[one, other] == found.pair_fmr[other, one] == row.fmr
        assert found.pair_counts[one, other] == found.pair_counts[other, one] == row.num_pairs


def _error(row: ClassErrors) -> float:
    return _low(row.false_non_matches, row.num_positive) + _low(row.false_matches, row.num_negative)


def test_by_hand() -> None:
    # Class 5 is on two axes, class 8 on the first of them, class 9 alone.
    found = breakdown(np.eye(3)[[0, 1, 0, 0, 2]], [5, 5, 8, 8, 9], 0.5)
    assert found.labels == (5, 8, 9)
    assert found.fnmr.tolist()[:2] == [1.0, 0.0]
    assert math.isnan(found.fnmr[2])
    assert found.fmr.tolist() == pytest.approx([2 / 6, 2 / 6, 0.0])
    assert found.num_positive.tolist() == [1, 1, 0]
    assert found.num_negative.tolist() == [6, 6, 4]
    classes, pairs = found.weakest()
    assert [row.name for row in classes] == ["5", "8"]
    assert pairs == (ClassPairErrors((5, 8), ("5", "8"), 0.5, 2, 4),)


@pytest.mark.parametrize("block_size", [7, 64, 1000])
def test_it_adds_up_to_all_pairs(block_size: int) -> None:
    embeddings, labels = _random(300, 6), np.arange(300) % 23
    scores = all_pair_scores(embeddings, labels)
    found = breakdown(embeddings, labels, 0.3, block_size=block_size)
    fmr, fnmr = scores.fmr_fnmr(0.3)
    assert found.false_matches.sum() == round(2 * fmr * scores.num_negative)
    assert found.false_non_matches.sum() == round(fnmr * scores.num_positive)
    assert found.num_positive.sum() == scores.num_positive
    assert found.num_negative.sum() == 2 * scores.num_negative


@settings(deadline=None)
@given(seed=st.integers(0, 1000), block_size=st.integers(1, 40))
def test_order_of_images_does_not_matter(seed: int, block_size: int) -> None:
    embeddings = np.eye(4)[np.random.default_rng(seed).integers(0, 4, 35)]  # no rounding
    labels = np.random.default_rng(seed + 1).integers(0, 9, 35)
    order = np.random.default_rng(seed + 2).permutation(35)
    one = breakdown(embeddings, labels, 0.5)
    other = breakdown(embeddings[order], labels[order], 0.5, block_size=block_size)
    assert one.to_dict() == other.to_dict()


def test_few_pairs_do_not_rank_before_many() -> None:
    # Classes 0 and 1 are one image each, and match; 2 and 3 are ten each, of which nine match.
    embeddings = np.eye(12)[[0, 0, *[1] * 10, *[1] * 9, 2]]
    labels = [0, 1, *[2] * 10, *[3] * 10]
    found = breakdown(embeddings, labels, 0.5)
    assert [(row.labels, row.fmr) for row in found.worst_pairs] == [((2, 3), 0.9), ((0, 1), 1.0)]
    assert [(row.false_matches, row.num_pairs) for row in found.worst_pairs] == [(90, 100), (1, 1)]


def test_many_classes_have_no_matrix_but_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = _random(200, 3), np.arange(200) % 60
    whole = breakdown(embeddings, labels, 0.6)
    monkeypatch.setattr(MODULE, "MAX_MATRIX_CLASSES", 59)
    monkeypatch.setattr(MODULE, "MAX_CLASS_PAIRS", 25)
    monkeypatch.setattr(MODULE, "_MAX_RANKED", 200)
    found = breakdown(embeddings, labels, 0.6, block_size=30)
    assert whole.pair_fmr is not None
    assert (found.pair_fmr, found.pair_counts) == (None, None)
    assert len(whole.worst_pairs) > 25
    assert found.worst_pairs == whole.worst_pairs[:25]
    assert found.class_errors == whole.class_errors
    assert found.to_dict()["pair_fmr"] is None


def test_thousands_of_classes() -> None:
    embeddings = np.eye(1500)[[*range(1500), 3, 9]]
    found = breakdown(embeddings, [*range(1500), 5, 9], 0.5)
    assert found.pair_fmr is None
    assert found.num_images.sum() == 1502
    assert [(row.labels, row.false_matches, row.num_pairs) for row in found.worst_pairs] == [((3, 5), 1, 2)]
    assert [row.label for row in found.weakest(2)[0]] == [5, 3]


def test_names() -> None:
    embeddings = np.eye(2)[[0, 0, 0]]
    found = breakdown(embeddings, [2, 0, 2], 0.5, names=["cat", "dog", "emu"])
    assert found.names == ("cat", "emu")
    assert [(row.names, row.labels) for row in found.worst_pairs] == [(("cat", "emu"), (0, 2))]
    said = r"Expected a name for every label, got 2 names and label 2 \(1 such\). Give the name of label c at index c"
    with pytest.raises(ValueError, match=said):
        breakdown(embeddings, [2, 0, 2], 0.5, names=["cat", "dog"])


def test_json() -> None:
    found = breakdown(torch.eye(3)[[0, 1, 0, 0, 2]].half(), torch.tensor([5, 5, 8, 8, 9]), 0.5)
    value = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert value == found.to_dict()
    assert value["pair_fmr"] == [[None, 0.5, 0.0], [0.5, None, 0.0], [0.0, 0.0, None]]
    assert value["classes"][2] == {
        "label": 9, "name": "9", "num_images": 1, "fnmr": None, "false_non_matches": 0, "num_positive": 0,
        "fmr": 0.0, "false_matches": 0, "num_negative": 4,
    }  # fmt: skip
    assert value["worst_pairs"] == [
        {"labels": [5, 8], "names": ["5", "8"], "fmr": 0.5, "false_matches": 2, "num_pairs": 4}
    ]
    assert breakdown(np.eye(2), [0, 1], math.inf).to_dict()["threshold"] is None


@pytest.mark.parametrize("num_images", [0, 1])
def test_no_pairs(num_images: int) -> None:
    found = breakdown(np.ones((num_images, 1)), [7] * num_images, 0.5)
    assert isinstance(found, Breakdown)
    assert found.labels == (7,) * num_images
    assert np.isnan(found.fnmr).all()
    assert np.isnan(found.fmr).all()
    assert found.weakest(5) == ((), ())
    json.dumps(found.to_dict(), allow_nan=False)


def test_equal_scores_match_at_the_threshold() -> None:
    embeddings = np.array([[0.6, 0.8], [1.0, 0.0]], dtype=np.float32)
    score = float(embeddings[0] @ embeddings[1])
    assert breakdown(embeddings, [0, 1], score).false_matches.tolist() == [1, 1]
    assert breakdown(embeddings, [0, 1], math.nextafter(score, 1)).false_matches.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": math.nan}, ValueError, "Expected threshold to be a number, got NaN"),
        ({"block_size": 0}, ValueError, "Expected block_size to be a whole number of at least 1, got 0"),
        ({"labels": [0.0, 1.0]}, TypeError, "Expected labels to be whole numbers"),
        ({"embeddings": 2 * np.eye(2)}, ValueError, "Expected embeddings of length 1, got length 2"),
    ],
)
def test_messages(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        breakdown(**{"embeddings": np.eye(2), "labels": [0, 1], "threshold": 0.5, **options})


def test_weakest_message() -> None:
    with pytest.raises(ValueError, match="Expected n to be a whole number of at least 1, got 0"):
        breakdown(np.eye(2), [0, 1], 0.5).weakest(0)
