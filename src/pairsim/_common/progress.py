"""Progress bars on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_LONG_S = 2.0
_MANY = 10_000


def progress_bar(
    total: int | None,
    description: str,
    unit: str,
    shown: bool | None = None,
    *,
    initial: int = 0,
    leave: bool = False,
) -> tqdm[Any]:
    """Make a progress bar on stderr, to be used as a context manager.

    Args:
        total: Number of steps; `None` if unknown.
        description: Text before the bar.
        unit: What is counted, in the plural, such as `"images"`.
        shown: `True` shows the bar at once, `False` never; `None` after 2 seconds, where stderr is a terminal.
        initial: Steps already done.
        leave: Whether the full bar stays on the screen.

    Returns:
        The bar; call `update(n)` on it after `n` steps.

    Example:
        >>> with progress_bar(3, "reading", "images") as bar:
        ...     bar.update(3)
    """
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        unit_scale=total is not None and total >= _MANY,  # 60,000 as 60.0k
        initial=initial,
        disable=None if shown is None else not shown,
        delay=_LONG_S if shown is None else 0.0,
        leave=leave,
        dynamic_ncols=True,
        file=sys.stderr,
    )


def print_above_bars(text: str) -> None:
    """Print a line to stderr, above any progress bars."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
