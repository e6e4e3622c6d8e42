"""Checks of the numbers that figures show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Values: TypeAlias = Tensor | npt.NDArray[np.generic] | Sequence[float] | float
Float64Array: TypeAlias = npt.NDArray[np.float64]

_TOLERANCE = 1e-3
"""How far rounding in float16 may carry a score beyond its range."""


def read_values(name: str, values: Values, count: int, of: str) -> Float64Array:
    """One finite number for each thing that is drawn.

    Args:
        name: What messages call the values.
        values: `[N]`, or one number where N is 1; any device and dtype.
        count: N.
        of: What there are N of, such as `"pair"`.

    Returns:
        float64 `[N]`.

    Raises:
        ValueError: If the shape is not `[N]` or a value is not finite.
    """
    array: Float64Array = np.asarray(
        values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values, dtype=np.float64
    )
    if array.ndim == 0:
        array = array[None]
    if array.shape != (count,):
        raise ValueError(
            f"Expected {name} to have shape [{count}], one for each {of}, got {list(array.shape)}. "
            f"Give as many as there are images."
        )
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"Expected {name} to be finite, found {array[bad]} at index {bad}. Leave that {of} out.")
    return array


def read_similarity(values: Values, count: int, of: str) -> Float64Array:
    """Similarities `[N]` in [-1, 1], checked as by `read_values`; rounding beyond the range is clipped.

    Raises:
        ValueError: If they are not cosines.
    """
    array = read_values("similarity", values, count, of)
    _check_range(
        "similarity", array, -1.0, 1.0, "Pass cosines, as get_raw_similarity gives them, not logits or distances."
    )
    return array.clip(-1.0, 1.0)


def read_probability(values: Values, count: int, of: str) -> Float64Array:
    """Probabilities `[N]` in [0, 1], checked as by `read_values`; rounding beyond the range is clipped.

    Raises:
        ValueError: If they are not probabilities.
    """
    array = read_values("probability", values, count, of)
    _check_range("probability", array, 0.0, 1.0, "Turn logits into probabilities first: torch.sigmoid(logits).")
    return array.clip(0.0, 1.0)


def check_finite_threshold(threshold: float) -> float:
    """A threshold that can be drawn.

    Raises:
        ValueError: If it is not finite.
    """
    if not np.isfinite(threshold):
        raise ValueError(
            f"Expected threshold to be finite, got {threshold}. Choose a cut on similarity in [-1, 1]; a model whose "
            "projection does not rise with similarity has none of its own."
        )
    return float(threshold)


def format_signed(value: float, digits: int) -> str:
    """A number with a real minus sign, and zero without a sign.

    Example:
        >>> format_signed(-0.25, 2), format_signed(-0.001, 2)
        ('−0.25', '0.00')
    """
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def _check_range(name: str, array: Float64Array, low: float, high: float, advice: str) -> None:
    if len(array) and (array.min() < low - _TOLERANCE or array.max() > high + _TOLERANCE):
        raise ValueError(
            f"Expected {name} in [{low:g}, {high:g}], found {array.min():.4g} to {array.max():.4g}. {advice}"
        )
