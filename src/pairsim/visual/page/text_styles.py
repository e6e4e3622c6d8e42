"""Text in figures: styles with their measures, names of classes, and numbers as text."""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pairsim.errors import printable, require

if TYPE_CHECKING:
    from matplotlib.axis import Axis

Names: TypeAlias = Mapping[Any, str] | Sequence[str] | None
"""Names by label (`names[label]`), or none."""

INK = "#1A1A1A"
"""Colour of text. Text and page colours are always set, so that the reader's matplotlib style does not change them."""
QUIET_INK = "#595959"
"""Colour of less important text, with a contrast of 7 : 1 against white."""
GOOD_INK, BAD_INK = "#00664F", "#A83200"
"""Blue-green and vermilion, dark enough for text; different for all colour vision, and never the only signal."""

FONT = "DejaVu Sans"
"""Comes with matplotlib and has all symbols used here."""
_LINE_HEIGHT = 1.35
"""Relative to the font size."""


def font_families() -> list[str]:
    """Return the font of figures, then the reader's own fonts for letters it lacks, such as Chinese class names.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    return [FONT, *require("matplotlib", extra="viz", purpose="Drawing").rcParams["font.family"]]


@dataclass(frozen=True)
class TextStyle:
    """Size, weight and colour of text, and its measures in inches.

    Attributes:
        size: Font size in points.
        weight: Font weight.
        color: Colour.
    """

    size: float
    weight: Literal["normal", "bold"] = "normal"
    color: str = INK

    def colored(self, color: str) -> TextStyle:
        """Return the style in another colour."""
        return replace(self, color=color)

    @property
    def quiet(self) -> TextStyle:
        """The style for less important text."""
        return self.colored(QUIET_INK)

    def properties(self) -> dict[str, Any]:
        """Return the properties of a matplotlib text, in which dollar signs do not start formulas."""
        look = {"fontsize": self.size, "fontweight": self.weight, "fontfamily": font_families(), "color": self.color}
        return look | {"parse_math": False}

    def height(self, text: str = "") -> float:
        """Return the height of the lines of a text."""
        return (text.count("\n") + 1) * self.size * _LINE_HEIGHT / 72

    def width(self, *texts: str) -> float:
        """Return the width of the longest line of texts, measured with the font."""
        families = font_families()
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import TextPath

        font = FontProperties(family=families, weight=self.weight, size=self.size)
        # A dollar sign would start a formula here; an S is as wide.
        lines = [line.replace("$", "S") for text in texts for line in text.split("\n") if line.strip()]
        return max((TextPath((0, 0), line, prop=font).get_extents().width / 72 for line in lines), default=0.0)

    def wrap(self, text: str, width: float) -> str:
        """Break the lines of a text that are wider than `width` inches."""
        lines = []
        for line in map(printable, text.split("\n")):
            line_width = self.width(line)
            letters = len(line) + 1 if line_width <= width else max(int(len(line) * width / line_width), 8)
            lines += textwrap.wrap(line, letters) or [""]
        return "\n".join(lines)


TITLE = TextStyle(12.0, "bold")
TEXT, BOLD = TextStyle(9.0), TextStyle(9.0, "bold")
SMALL, SMALL_BOLD = TextStyle(8.0), TextStyle(8.0, "bold")
ARROW = TextStyle(14.0)


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


def shorten_names(names: Sequence[str], max_letters: int) -> list[str]:
    """Shorten names that are shown together, so that different names stay different.

    Names that would be alike lose the words with which all of them begin, and are longer where that is not enough.

    Example:
        >>> shorten_names(["Juice-Apple-Nectar", "Juice-Mango-Nectar", "Milk"], 8)
        ['…App…tar', '…Man…tar', 'Milk']
    """
    short, letters = {name: shorten_text(name, max_letters) for name in names}, max_letters
    while len(set(short.values())) < len(short):
        groups: dict[str, list[str]] = {}
        for name, text in short.items():
            groups.setdefault(text, []).append(name)
        for group in groups.values():
            # Words that begin alike are kept whole.
            start = len(re.sub(r"\w*$", "", os.path.commonprefix(group)))  # noqa: RUF071 (letters, not paths)
            for name in group if len(group) > 1 else ():
                rest = name if start == 0 or letters >= len(name) else f"…{name[start:]}"
                short[name] = shorten_text(rest, letters)
        letters += 1
    return [short[name] for name in names]


def name_of(label: Any, names: Names = None) -> str:
    """Return the name of a label, or the label itself if it has no name.

    Args:
        label: A whole number or a string.
        names: A mapping from labels, or a sequence for the labels 0, 1 and so on.

    Example:
        >>> name_of(1, ["cat", "dog"]), name_of(7, ["cat", "dog"])
        ('dog', '7')
    """
    if hasattr(label, "item"):  # a NumPy number or a tensor with one element
        label = label.item()
    if isinstance(names, Mapping):
        label = names.get(label, label)
    elif names is not None and isinstance(label, int) and 0 <= label < len(names):
        label = names[label]
    return printable(str(label))


def format_signed(value: float, digits: int) -> str:
    """Format a number with a typographic minus sign, and zero without a sign.

    Example:
        >>> format_signed(-0.25, 2), format_signed(-0.001, 2)
        ('−0.25', '0.00')
    """
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def label_axis(axis: Axis, label: str, ticks: Sequence[float], color: str = INK) -> None:
    """Label an axis and its ticks in small print."""
    axis.set_ticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    axis.set_label_text(label, **SMALL.colored(color).properties())


def format_rate(rate: float) -> str:
    """Format a rate as a percentage with three significant digits.

    Example:
        >>> format_rate(0.0078123), format_rate(float("nan"))
        ('0.781 %', 'not measurable')
    """
    return "not measurable" if math.isnan(rate) else f"{100 * rate:.3g} %"
