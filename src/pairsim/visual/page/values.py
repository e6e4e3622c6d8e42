"""Checks of the numbers that figures of pictures show."""

from __future__ import annotations

import math

import numpy as np

from pairsim._common.arrays import BoolArray, Float64Array, Values, as_array
from pairsim._common.unit_similarity import lowest_match

_TOLERANCE = 1e-3
"""How far rounding in float16 may move a score out of its range."""
_RANGES = {
    "similarity": (-1.0, 1.0, "Pass cosines, as get_raw_similarity gives them, not logits or distances."),
    "probability": (0.0, 1.0, "Turn logits into probabilities first: torch.sigmoid(logits)."),
}


def read_values(name: str, values: Values, count: int, of: str) -> Float64Array:
    """Convert values to an array with one finite number for each item of a figure.

    Args:
        name: What messages call the values. A `"similarity"` must be in [-1, 1], a `"probability"` in [0, 1]; rounding
            beyond the range is clipped.
        values: `[N]`, or one number where N is 1; any device and dtype.
        count: N.
        of: What there are N of, such as `"pair"`.

    Returns:
        float64 `[N]`.

    Raises:
        ValueError: If the shape is not `[N]`, or a value is not finite or out of range.
    """
    array = np.atleast_1d(as_array(values, name).astype(np.float64))
    if array.shape != (count,):
        raise ValueError(
            f"Expected {name} to have shape [{count}], one for each {of}, got {list(array.shape)}. "
            f"Give as many as there are images."
        )
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"Expected {name} to be finite, found {array[bad]} at index {bad}. Leave that {of} out.")
    if name not in _RANGES:
        return array
    low, high, advice = _RANGES[name]
    if count and (array.min() < low - _TOLERANCE or array.max() > high + _TOLERANCE):
        raise ValueError(
            f"Expected {name} in [{low:g}, {high:g}], found {array.min():.4g} to {array.max():.4g}. {advice}"
        )
    return array.clip(low, high)


def check_finite_threshold(threshold: float | None) -> None:
    """Reject a threshold that cannot be drawn; None is no threshold.

    Raises:
        ValueError: If it is not finite.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(
            f"Expected threshold to be finite, got {threshold}. Choose a threshold of similarity in [-1, 1]; a model "
            "whose projection does not rise with similarity has none of its own."
        )


def read_predictions(
    count: int, similarity: Values | None, probability: Values | None, threshold: float | None, *, total: int = 0
) -> tuple[Float64Array | None, Float64Array | None, BoolArray | None]:
    """Check the predictions for the pairs of a figure.

    Args:
        count: N, the pairs of the figure.
        similarity: In [-1, 1], `[N]` or `[total]`.
        probability: In [0, 1], `[N]` or `[total]`.
        threshold: Threshold of similarity.
        total: Number of all pairs, of which the figure shows the first N; N if it is lower.

    Returns:
        Similarity in [-1, 1], probability in [0, 1], and whether the similarity reaches the threshold, to within 2^-19,
        each `[N]`; None where it was not given.

    Raises:
        ValueError: As `read_values`, if the threshold is not finite, or if it is given without similarities.
    """

    def read(name: str, values: Values | None) -> Float64Array | None:
        if values is None:
            return None
        expected = count if np.shape(values)[:1] == (count,) else max(count, total)
        return read_values(name, values, expected, "pair")[:count]

    similarities, probabilities = read("similarity", similarity), read("probability", probability)
    matches = None
    if threshold is not None:
        if similarities is None:
            raise ValueError(
                "Expected similarity along with threshold, got none. Pass model.get_raw_similarity(first, second)."
            )
        check_finite_threshold(threshold)
        matches = similarities >= lowest_match(float(threshold))
    return similarities, probabilities, matches
