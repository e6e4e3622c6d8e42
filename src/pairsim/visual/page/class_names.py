"""Names of classes in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pairsim.visual.page.text_styles import shorten_text

Names: TypeAlias = Mapping[Any, str] | Sequence[str] | None
"""Names by label (`names[label]`), or none."""


def plain_label(label: Any) -> Any:
    """Convert a label to a Python value; a NumPy number or a tensor with one element becomes an `int`."""
    return label.item() if hasattr(label, "item") else label


def name_of(label: Any, names: Names = None, max_letters: int | None = None) -> str:
    """Return the name of a label, or the label itself if it has no name.

    Args:
        label: A whole number or a string.
        names: A mapping from labels, or a sequence for the labels 0, 1 and so on.
        max_letters: Length from which the name is shortened; by default it is never shortened.

    Example:
        >>> name_of(1, ["cat", "dog"]), name_of(7, ["cat", "dog"])
        ('dog', '7')
    """
    label = plain_label(label)
    if isinstance(names, Mapping):
        label = names.get(label, label)
    elif names is not None and isinstance(label, int) and 0 <= label < len(names):
        label = names[label]
    return str(label) if max_letters is None else shorten_text(str(label), max_letters)
