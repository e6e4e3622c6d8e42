"""What goes where: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any


class UsageError(ValueError):
    """Wrong usage that only shows when a command begins."""


def note(text: str) -> None:
    """A line for the person watching."""
    print(text, file=sys.stderr, flush=True)


def print_result(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """The result of a command: one JSON object, or text.

    Args:
        result: JSON values; NaN becomes null.
        text: The same for reading.
        as_json: Which of the two.
    """
    print(
        json.dumps(_without_nan(result), indent=2, ensure_ascii=False, allow_nan=False) if as_json else text, flush=True
    )


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
