from __future__ import annotations

import numpy as np
import pytest

from pairsim.data.random import permutation, random_below, random_bits, stream_key


def test_bits_are_those_of_splitmix64() -> None:
    # The first outputs of the reference implementation for the seed 0.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [int(bits) for bits in random_bits(0, np.arange(3))] == expected


def test_a_number_depends_on_its_counter_alone() -> None:
    counters = np.array([[7, 2**40], [0, 7]])
    bits = random_bits(5, counters)
    assert bits.shape == (2, 2)
    assert bits[0, 0] == bits[1, 1] == random_bits(5, np.array([7]))[0]
    assert counters.tolist() == [[7, 2**40], [0, 7]]


@pytest.mark.parametrize("bound", [1, 3, 2**20 + 1, 2**31])
def test_random_numbers_stay_below_their_bound(bound: int) -> None:
    values = random_below(stream_key("test", bound), np.arange(100_000), bound)
    assert values.min() >= 0
    assert values.max() < bound


def test_streams_are_told_apart_by_purpose_and_by_each_part() -> None:
    keys = [stream_key("a", 1, 2), stream_key("a", 2, 1), stream_key("a", 12), stream_key("b", 1, 2), stream_key("a")]
    assert len(set(keys)) == len(keys)


def test_permutations_are_uniform() -> None:
    first = np.array([permutation(stream_key("test", seed), 4)[0] for seed in range(4000)])
    assert np.abs(np.bincount(first, minlength=4) / 4000 - 0.25).max() < 0.03
