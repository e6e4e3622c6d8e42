"""The agreement of labels, against loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pairsim.evaluation import label_agreement

Array = npt.NDArray[Any]


def unit_vectors(count: int, dim: int, seed: int = 0) -> Array:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def agreement_by_loops(
    gallery: Array, labels: Array, looked_up: Array, given: Array, *, own: bool, share: float, least: int
) -> tuple[list[int], list[float]]:
    proposed, scores = [], []
    for row, (vector, label) in enumerate(zip(looked_up, given, strict=True)):
        evidence = {}
        for other in sorted(set(labels.tolist())):
            similarities = sorted(
                float(vector @ gallery[n]) for n in range(len(gallery)) if labels[n] == other and not (own and n == row)
            )
            asked = min(len(similarities), max(least, round(share * len(similarities))))
            if asked:
                evidence[other] = sum(similarities[-asked:]) / asked
        of_own = evidence.pop(int(label), math.nan)
        best = max(evidence, key=lambda other: evidence[other], default=int(label))
        score = evidence.get(best, -1.0) - of_own
        scores.append(score)
        proposed.append(best if score > 0 else int(label))
    return proposed, scores


@pytest.mark.parametrize(("share", "least"), [(0.1, 10), (0.0, 1), (0.3, 2), (1.0, 1), (0.5, 500)])
def test_agreement_against_loops(share: float, least: int) -> None:
    vectors = unit_vectors(70, 4)
    labels = np.random.default_rng(1).integers(-2, 3, size=70)
    labels[9] = 40  # alone
    options: dict[str, Any] = {"share": share, "least": least}
    found = label_agreement(vectors, labels, **options)
    proposed, scores = agreement_by_loops(vectors, labels, vectors, labels, own=True, **options)
    assert found.proposed.tolist() == proposed
    assert found.score.tolist() == pytest.approx(scores, abs=1e-5, nan_ok=True)
    assert math.isnan(found.score[9])
    queries, given = unit_vectors(20, 4, seed=2), np.arange(20) % 8 - 3
    found = label_agreement(torch.from_numpy(vectors), torch.from_numpy(labels), query=(queries, given), **options)
    proposed, scores = agreement_by_loops(vectors, labels, queries, given, own=False, **options)
    assert found.proposed.tolist() == proposed
    assert found.score.tolist() == pytest.approx(scores, abs=1e-5, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(2, 40), classes=st.integers(1, 5), least=st.integers(1, 12))
def test_properties_of_agreement(seed: int, count: int, classes: int, least: int) -> None:
    generator = np.random.default_rng(seed)
    vectors, labels = unit_vectors(count, 3, seed), generator.integers(0, classes, size=count)
    found = label_agreement(vectors, labels, least=least)
    judged = ~np.isnan(found.score)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    assert (judged == (counts[inverse] > 1)).all()
    assert (np.abs(found.score[judged]) <= 2.0).all()
    assert ((found.proposed != labels)[judged] == (found.score[judged] > 0)).all()
    assert (found.proposed == labels)[~judged].all()
    # blocks and order do not matter
    np.testing.assert_allclose(
        label_agreement(vectors, labels, least=least, block_size=3).score, found.score, atol=1e-5
    )
    order = generator.permutation(count)
    np.testing.assert_allclose(
        label_agreement(vectors[order], labels[order], least=least).score, found.score[order], atol=1e-5
    )
    # new names for the classes change names only
    renamed = label_agreement(vectors, 100 - 7 * labels, least=least)
    np.testing.assert_allclose(renamed.score, found.score, atol=1e-5)
    assert (renamed.proposed == 100 - 7 * found.proposed).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), number=st.integers(0, 29))
def test_an_image_has_no_vote_on_itself(seed: int, number: int) -> None:
    vectors, labels = unit_vectors(30, 3, seed), np.arange(30) % 3
    other = labels.copy()
    other[number] = (labels[number] + 1) % 3
    before, after = label_agreement(vectors, labels, least=3), label_agreement(vectors, other, least=3)
    assert before.proposed[number] == after.proposed[number]


def test_a_small_class_is_not_outvoted_by_a_large_one() -> None:
    angles = np.concatenate((np.full(4, 0.0), np.full(100, 0.8))) + np.random.default_rng(0).normal(0, 0.02, 104)
    vectors, labels = np.stack((np.cos(angles), np.sin(angles)), axis=1), np.repeat([0, 1], [4, 100])
    assert (label_agreement(vectors, labels).score < -0.2).all()
    labels[50] = 0
    found = label_agreement(vectors, labels)
    assert found.score.argmax() == 50
    assert found.proposed[50] == 1
    assert (np.delete(found.score, 50) < 0).all()


def test_a_class_of_several_forms_keeps_them() -> None:
    angles = np.repeat([0.0, 1.0, 2.0, 3.0], 60) + np.random.default_rng(0).normal(0, 0.02, 240)
    vectors, labels = np.stack((np.cos(angles), np.sin(angles)), axis=1), np.repeat([0, 1, 0, 1], 60)
    wrong = [3, 100, 150, 230]
    labels[wrong] = 1 - labels[wrong]
    found = label_agreement(vectors, labels)
    assert np.flatnonzero(found.score > 0).tolist() == wrong


def test_many_images_with_one_wrong_label_do_not_vouch_for_each_other() -> None:
    angles = np.repeat([0.0, 1.0], 400) + np.random.default_rng(0).normal(0, 0.02, 800)
    vectors, labels = np.stack((np.cos(angles), np.sin(angles)), axis=1), np.repeat([0, 1], 400)
    labels[:12] = 1
    found = label_agreement(vectors, labels)
    assert np.flatnonzero(found.score > 0).tolist() == list(range(12))
    # the ten nearest of each label would all be wrong in the same way
    assert label_agreement(vectors, labels, share=0.0).score[:12].max() < 0.01


def test_agreement_of_nothing_and_of_one() -> None:
    assert label_agreement(np.zeros((0, 3)), np.zeros(0, dtype=int)).score.shape == (0,)
    assert np.isnan(label_agreement([[1.0, 0.0]], [4]).score).all()
    found = label_agreement([[1.0, 0.0]], [4], query=([[0.6, 0.8], [1.0, 0.0]], [4, 5]))
    assert found.score.tolist() == pytest.approx([-1.6, math.nan], nan_ok=True)
    assert found.proposed.tolist() == [4, 5]
    assert np.isnan(label_agreement(np.zeros((0, 2)), np.zeros(0, dtype=int), query=([[0.6, 0.8]], [4])).score).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"least": 0}, "Expected least to be a whole number of at least 1, got 0"),
        ({"block_size": 0}, "Expected block_size to be a whole number of at least 1"),
        ({"share": 1.1}, r"Expected share to be a rate from 0 to 1, got 1.1"),
        ({"share": math.nan}, r"Expected share to be a rate from 0 to 1, got nan"),
        (
            {"query": ([[1.0, 0.0, 0.0]], [1])},
            r"query embeddings of the gallery's size, \[Q, 2\], got \[1, 3\]",
        ),
        ({"query": ([[1.0, 1.0]], [1])}, "Expected query embeddings of length 1"),
    ],
)
def test_messages(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_agreement([[1.0, 0.0], [0.0, 1.0]], [0, 1], **options)
