"""Probabilities of sorted scores, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pairsim._common.arrays import Float64Array, check_probabilities
from pairsim.evaluation.pairs.ranked import IntArray, Ranked, ToProbability


def probability_chunks(scores: Ranked, probability: ToProbability) -> Iterator[tuple[Float64Array, IntArray | None]]:
    """Yield the probabilities of some scores and their counts, or None where each counts once.

    Args:
        scores: The scores.
        probability: Maps float64 scores `[K]` to probabilities `[K]`, element by element.

    Raises:
        ValueError: If the function gives another shape or values outside [0, 1].
    """
    offset = 0
    for values, counts in scores.chunks():
        probabilities = np.asarray(probability(values.astype(np.float64)), dtype=np.float64)
        if probabilities.shape != values.shape:
            raise ValueError(
                f"Expected one probability per score, shape {list(values.shape)}, got {list(probabilities.shape)}. "
                "Give a function that works element by element."
            )
        check_probabilities(probabilities, offset)
        offset += values.size
        yield probabilities, counts
