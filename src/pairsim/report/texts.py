"""Values as text of a page."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any


def text(value: object) -> str:
    """A value as text that no browser takes for a tag."""
    return html.escape(str(value), quote=True)


def percent(value: float, digits: int = 3) -> str:
    """A rate in per cent; NaN in words."""
    return "not measurable with so few pairs" if math.isnan(value) else f"{value:.{digits}%}".replace("%", " %")


def flat(values: Mapping[str, Any]) -> str:
    """Settings in one line."""
    parts = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            parts.append(flat(value))
        elif value is not None:
            parts.append(f"{key} {value}")
    return ", ".join(part for part in parts if part)
