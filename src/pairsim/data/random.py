"""Random numbers as pure functions of a key and a counter.

A counter-based generator: number `i` of a stream depends only on the stream's key and on `i`, so any process can
compute any part of a stream, in any order. Keys are a cryptographic hash of purpose, seed and epoch, so that streams of
neighbouring seeds or epochs are independent (`seed + epoch` would collide).
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pairsim._common.numbers import whole_number

UInt64Array: TypeAlias = npt.NDArray[np.uint64]
Int64Array: TypeAlias = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(purpose: str, *parts: int) -> int:
    """Compute the 64-bit key of a random stream.

    Args:
        purpose: Name of the stream; different names give different numbers.
        parts: Whole numbers of any size, such as seed and epoch.

    Returns:
        A whole number in [0, 2**64).

    Raises:
        TypeError: If a part is not a whole number.

    Example:
        >>> stream_key("pairs", 0, 1) == stream_key("pairs", 0, 1) != stream_key("pairs", 1, 0)
        True
    """
    text = ":".join([purpose, *(str(whole_number(part, "seed")) for part in parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def random_bits(key: int, counters: npt.NDArray[np.integer]) -> UInt64Array:
    """Compute 64 random bits for each counter of a stream.

    Args:
        key: From `stream_key`.
        counters: Whole numbers >= 0, any shape.

    Returns:
        uint64 of the same shape.

    References:
        Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014 (SplitMix64).
    """
    bits = counters.astype(np.uint64)  # a copy, changed in place below, as memory traffic dominates the time
    bits += np.uint64(1)
    bits *= _GOLDEN
    bits += np.uint64(key)
    shifted = bits >> np.uint64(30)
    bits ^= shifted
    bits *= _MIX_1
    np.right_shift(bits, np.uint64(27), out=shifted)
    bits ^= shifted
    bits *= _MIX_2
    np.right_shift(bits, np.uint64(31), out=shifted)
    bits ^= shifted
    return bits


def random_below(key: int, counters: npt.NDArray[np.integer], bound: npt.NDArray[np.integer] | int) -> Int64Array:
    """Compute a uniform whole number in [0, bound) for each counter.

    53 random bits are scaled, so the probability of a value has an error of at most `bound / 2**53`.

    Args:
        key: From `stream_key`.
        counters: Whole numbers >= 0.
        bound: Positive, one number or one per counter.

    Returns:
        int64 of the shape of `counters`.
    """
    bits = random_bits(key, counters)
    bits >>= np.uint64(11)
    unit = bits.astype(np.float64)
    unit *= 2.0**-53
    unit *= bound
    return unit.astype(np.int64)


def permutation(key: int, size: int) -> Int64Array:
    """Return the numbers 0 to `size - 1` in the random order of a key.

    Example:
        >>> sorted(permutation(7, 5).tolist())
        [0, 1, 2, 3, 4]
    """
    return np.argsort(random_bits(key, np.arange(size)), kind="stable")
