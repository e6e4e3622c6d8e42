from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pairsim.data import ClassBalancedBatches, ClassIndex, PairSampler, split_by_class, stratified_split
from pairsim.errors import DataError

INTEGERS = arrays.arrays(
    st.sampled_from([np.uint8, np.int8, np.int32, np.int64, np.bool_]), st.integers(1, 60), elements=None
)
STRINGS = st.lists(st.text(max_size=3), min_size=1, max_size=40).map(lambda values: np.array(values, dtype=np.str_))


@given(st.one_of(INTEGERS, STRINGS))
def test_against_brute_force(labels: np.ndarray[Any, Any]) -> None:
    index = ClassIndex.from_labels(labels)
    assert index.classes.tolist() == sorted(set(labels.tolist()))
    assert index.classes[index.codes].tolist() == labels.tolist()
    for code, name in enumerate(index.classes.tolist()):
        images = index.order[index.offsets[code] : index.offsets[code + 1]]
        assert images.tolist() == [index for index, label in enumerate(labels.tolist()) if label == name]
    assert index.counts.sum() == index.num_images == len(labels)
    assert index.num_classes == len(index.classes)


def test_numbers_far_apart() -> None:
    index = ClassIndex.from_labels(np.array([10**15, -5, 10**15, 7]))
    assert index.classes.tolist() == [-5, 7, 10**15]
    assert index.codes.tolist() == [2, 0, 2, 1]


def test_empty() -> None:
    with pytest.raises(DataError, match="Expected a dataset with images, found none"):
        ClassIndex.from_labels(np.array([], dtype=np.int64))


def test_types_are_narrow() -> None:
    index = ClassIndex.from_labels(np.arange(1000) % 10)
    assert index.codes.dtype == np.dtype(np.uint16)
    assert index.order.dtype == np.dtype(np.int32)


@pytest.mark.parametrize("low", [2**63 - 2, 2**63 + 5, 2**64 - 2])
def test_numbers_beyond_signed_64_bits(low: int) -> None:
    index = ClassIndex.from_labels(np.array([low + 1, low, low + 1], dtype=np.uint64))
    assert index.classes.tolist() == [low, low + 1]
    assert index.codes.tolist() == [1, 0, 1]


def test_more_classes_than_16_bits_hold() -> None:
    labels = np.arange(2**16 + 2)[::-1]
    index = ClassIndex.from_labels(labels)
    assert index.num_classes == len(labels)
    assert (index.codes == labels).all()
    assert (index.counts == 1).all()


def test_long_arrays_are_worked_on_in_parts() -> None:
    labels = np.resize(np.array([7, 3, 5], dtype=np.int16), (1 << 20) + 5)  # longer than one part
    index = ClassIndex.from_labels(labels)
    assert (index.classes[index.codes] == labels).all()
    assert (labels[index.order] == np.sort(labels)).all()


@pytest.mark.parametrize("labels", [[7, 3, 7], (7, 3, 7), torch.tensor([7, 3, 7]), np.array([7.0, 3.0, 7.0])])
def test_labels_of_any_kind(labels: Any) -> None:
    index = ClassIndex.from_labels(labels)
    assert (index.classes.tolist(), index.codes.tolist()) == ([3, 7], [1, 0, 1])


def test_bad_labels() -> None:
    with pytest.raises(DataError, match=r"^Expected labels to be whole numbers or text, found fractions\."):
        ClassIndex.from_labels([0.5, 1.0])
    with pytest.raises(TypeError, match=r"^Expected a list or array with one label per image, got str\.$"):
        ClassIndex.from_labels("cat")


@pytest.mark.parametrize(
    "use",
    [
        lambda labels: stratified_split(labels, 0.5),
        lambda labels: split_by_class(labels, unseen=0.5),
        lambda labels: PairSampler(labels),
        lambda labels: ClassBalancedBatches(labels, 2),
    ],
)
@pytest.mark.parametrize("labels", [[0, 0, 1, 1], np.array([0, 0, 1, 1])])
def test_labels_in_place_of_an_index(use: Callable[[Any], object], labels: Any) -> None:
    name = type(labels).__name__
    with pytest.raises(TypeError, match=rf"^Expected a ClassIndex, got {name}. Use ClassIndex.from_labels\(labels\).$"):
        use(labels)


def test_the_kind_of_pairs_that_is_missing() -> None:
    kinds = [ClassIndex.from_labels(np.array(labels)).missing_kind for labels in ([0], [0, 1], [0, 0], [0, 0, 1])]
    assert kinds == ["positive", "positive", "negative", None]
