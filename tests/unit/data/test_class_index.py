from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pairsim.data import ClassIndex
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
        assert images.tolist() == [place for place, label in enumerate(labels.tolist()) if label == name]
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
