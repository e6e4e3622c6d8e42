"""The progress bar of long work."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_LONG_S = 2.0
"""By default work that takes longer shows a bar."""


def progress_bar(total: int | None, purpose: str, unit: str, progress: bool | None) -> tqdm[Any]:
    """Return a bar on stderr that disappears at the end.

    Args:
        total: Number of steps, or `None` if it is not known.
        purpose: Text before the bar.
        unit: What is counted, such as `"images"`.
        progress: Whether to show the bar; `None` shows it on a terminal once the work has taken 2 seconds.

    Example:
        >>> with progress_bar(3, "reading", "files", progress=False) as bar:
        ...     bar.update(3)
    """
    return tqdm(
        total=total,
        desc=purpose,
        unit=f" {unit}",
        file=sys.stderr,
        disable=None if progress is None else not progress,
        delay=_LONG_S if progress is None else 0.0,
        leave=False,
    )
