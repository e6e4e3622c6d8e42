"""Fonts, sizes and measures of the text in figures, and numbers as text."""

from __future__ import annotations

import math
import textwrap
from typing import Any, Literal, TypeAlias

from pairsim.errors import require

Weight: TypeAlias = Literal["normal", "bold"]

FONT = "DejaVu Sans"
"""Comes with matplotlib and has all symbols used here."""
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 12.0, 9.0, 8.0
"""Font sizes in points."""
_LINE_HEIGHT = 1.35
"""Relative to the font size."""


def font_families() -> list[str]:
    """Return the font of figures, then the reader's own fonts for letters it lacks, such as Chinese class names.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    return [FONT, *require("matplotlib", extra="viz", purpose="Drawing").rcParams["font.family"]]


def font(size: float, color: str, weight: Weight = "normal") -> dict[str, Any]:
    """Return the properties of a matplotlib text."""
    return {"fontsize": size, "color": color, "fontweight": weight, "fontfamily": font_families()}


def text_height(text: str, size: float) -> float:
    """Return the height of the lines of a text in inches."""
    return (text.count("\n") + 1) * size * _LINE_HEIGHT / 72


def text_width(text: str, size: float, weight: Weight = "normal") -> float:
    """Return the width of the longest line of a text in inches, measured with its font."""
    families = font_families()
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    properties = FontProperties(family=families, weight=weight, size=size)
    # A dollar sign would start a formula here; an S is as wide.
    lines = [line.replace("$", "S") for line in text.split("\n") if line.strip()]
    return max((TextPath((0, 0), line, prop=properties).get_extents().width / 72 for line in lines), default=0.0)


def wrap_text(text: str, size: float, width: float, weight: Weight = "normal") -> str:
    """Break the lines of a text that are wider than `width` inches."""
    lines = []
    for line in text.split("\n"):
        line_width = text_width(line, size, weight)
        letters = len(line) + 1 if line_width <= width else max(int(len(line) * width / line_width), 8)
        lines += textwrap.wrap(line, letters) or [""]
    return "\n".join(lines)


def shorten_text(text: str, max_letters: int) -> str:
    """Shorten a text to a number of letters, with an ellipsis in the middle.

    Example:
        >>> shorten_text("abcdefgh", 5)
        'ab…gh'
    """
    if len(text) <= max_letters:
        return text
    head = max_letters // 2
    return f"{text[:head]}…{text[len(text) - (max_letters - 1 - head) :]}"


def format_signed(value: float, digits: int) -> str:
    """Format a number with a typographic minus sign, and zero without a sign.

    Example:
        >>> format_signed(-0.25, 2), format_signed(-0.001, 2)
        ('−0.25', '0.00')
    """
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def format_tick(value: float) -> str:
    """Format the number of a tick as short as possible, with a typographic minus sign.

    Example:
        >>> format_tick(-0.5)
        '−0.5'
    """
    return f"{value:g}".replace("-", "−")


def format_rate(rate: float) -> str:
    """Format a rate as a percentage with three significant digits.

    Example:
        >>> format_rate(0.0078123), format_rate(float("nan"))
        ('0.781 %', 'not measurable')
    """
    return "not measurable" if math.isnan(rate) else f"{100 * rate:.3g} %"
