"""What labels are called in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Names: TypeAlias = Mapping[Any, str] | Sequence[str] | None
"""Names by label (`names[label]`), or none."""


def name_of(label: Any, names: Names = None) -> str:
    """The name of a label; the label itself where it has none.

    Args:
        label: A whole number or a string.
        names: A mapping from labels, or a sequence for the labels 0, 1 and so on.

    Example:
        >>> name_of(1, ["cat", "dog"]), name_of(7, ["cat", "dog"])
        ('dog', '7')
    """
    if hasattr(label, "item"):  # NumPy's numbers and tensors of one
        label = label.item()
    if isinstance(names, Mapping):
        return str(names.get(label, label))
    if names is not None and isinstance(label, int) and 0 <= label < len(names):
        return str(names[label])
    return str(label)
