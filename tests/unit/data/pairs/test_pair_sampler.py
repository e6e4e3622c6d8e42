from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from pairsim.data import ClassIndex, PairSampler
from pairsim.errors import DataError


def sampler(labels: Any = (0, 0, 1, 1, 2), **settings: Any) -> PairSampler:
    return PairSampler(ClassIndex.from_labels(np.asarray(labels)), **settings)


def test_the_stream_is_the_same_in_every_release() -> None:
    # A changed hash breaks the resume of every run: change it only together with the checkpoint's format.
    drawn = sampler([0, 1, 2] * 20, seed=3).draw(5, np.arange(1000))
    assert drawn.hash() == "54705313c7a7fa34b44320110961f2d709dd4fe9c6501bd8e96cf02073249c21"


def test_types_and_lengths() -> None:
    pairs = sampler().draw(0, np.arange(7))
    assert [str(part.dtype) for part in (pairs.first, pairs.second, pairs.target)] == ["int64", "int64", "uint8"]
    assert len(pairs) == 7
    assert len(sampler().draw(0, np.arange(0))) == 0


def test_more_pairs_than_one_chunk_are_the_same_pairs() -> None:
    whole = sampler(seed=1).draw(0, np.arange(70_001))
    end = sampler(seed=1).draw(0, np.arange(69_990, 70_001))
    assert (whole.first[-11:] == end.first).all()
    assert (whole.second[-11:] == end.second).all()
    assert (whole.target[-11:] == end.target).all()


def test_positions_and_seeds_beyond_64_bits_of_nothing() -> None:
    far = sampler(seed=2**80).draw(2**70, np.array([2**50, 2**50 + 1]))
    assert far.target.sum() == 1


@pytest.mark.parametrize(("fraction", "positives"), [(0.0, 0), (1.0, 100), (0.5, 50), (0.25, 25), (0.29, 29)])
def test_fractions(fraction: float, positives: int) -> None:
    assert sampler(positive_fraction=fraction).draw(0, np.arange(100)).target.sum() == positives


@pytest.mark.parametrize("fraction", [np.float32(0.3), np.float16(0.3), torch.tensor(0.3), Fraction(3, 10)])
def test_a_fraction_may_be_any_number(fraction: Any) -> None:
    found, expected = (sampler(positive_fraction=one, seed=3) for one in (fraction, 0.3))
    assert isinstance(found.positive_fraction, float)
    assert found.draw(0, np.arange(50)).hash() == expected.draw(0, np.arange(50)).hash()


def test_every_slot_of_a_group_is_positive_as_often() -> None:
    target = sampler(positive_fraction=0.3).draw(0, np.arange(100_000)).target.reshape(-1, 10)
    # standard deviation of a slot's share over 10,000 groups: 0.0046
    assert np.abs(target.mean(axis=0) - 0.3).max() < 0.02


def test_both_kinds_of_negatives_agree_where_classes_are_of_one_size() -> None:
    labels = np.repeat(np.arange(4), 5)
    for kind in ("class", "instance"):
        pairs = sampler(labels, positive_fraction=0.0, negatives=kind).draw(0, np.arange(40_000))
        classes = np.bincount(labels[pairs.second], minlength=4)
        assert np.abs(classes / 40_000 - 0.25).max() < 0.02


def test_negatives_by_class_give_every_other_class_the_same_chance() -> None:
    labels = np.repeat([0, 1, 2], [50, 1, 5])
    pairs = sampler(labels, positive_fraction=0.0, seed=4).draw(0, np.arange(60_000))
    from_first = labels[pairs.first] == 0
    share = np.bincount(labels[pairs.second[from_first]], minlength=3) / from_first.sum()
    assert share[0] == 0
    assert np.abs(share[1:] - 0.5).max() < 0.02


def test_positives_only_with_one_class_and_negatives_only_with_single_images() -> None:
    assert sampler([1, 1, 1], positive_fraction=1.0).draw(0, np.arange(9)).target.all()
    assert not sampler([1, 2, 3], positive_fraction=0.0).draw(0, np.arange(9)).target.any()


def test_a_missing_class_is_named_as_the_user_wrote_it() -> None:
    with pytest.raises(DataError, match=r"found only 7\. Add images of another class"):
        sampler([7, 7])
    with pytest.raises(DataError, match=r"found only 'cat'\. Add images of another class"):
        sampler(["cat", "cat"])
    with pytest.raises(DataError, match=r"found 3 classes of one image each\. Add images, or set positive_fraction=0"):
        sampler([1, 2, 3])
