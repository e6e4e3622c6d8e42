"""Results as JSON values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any


def json_value(value: Any) -> Any:
    """Convert a result to JSON values.

    Args:
        value: Strings, numbers, booleans, None, and mappings, lists, tuples and dataclasses of these.

    Returns:
        The same with dicts, lists, and None for NaN and the infinities.

    Example:
        >>> json_value({"fmr": (0.1, math.nan)})
        {'fmr': [0.1, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
