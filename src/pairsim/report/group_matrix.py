"""The false match rates between groups as a table of coloured cells, with the rate written in each."""

from __future__ import annotations

import math

from pairsim.evaluation import GroupReport
from pairsim.report.rendering import render

MAX_GROUPS = 12
"""With more groups the rates would be too small to read; the table of groups has them all."""

_CELL, _LEFT, _TOP, _NAME = 76, 126, 62, 14


def group_matrix(report: GroupReport) -> str:
    """Draw the FMR between each two groups, and within each on the diagonal.

    A cell has a stronger colour where its rate is higher, on a logarithmic scale; the rate is written in it as well.
    Each pair of groups is drawn once.

    Args:
        report: The errors of groups.

    Returns:
        An SVG element as markup; an empty text for one group and for more than `MAX_GROUPS`.
    """
    number = len(report.groups)
    if not 2 <= number <= MAX_GROUPS:
        return ""
    rates = report.fmr.tolist()
    shown = [rate for row in rates for rate in row if not math.isnan(rate) and rate > 0]
    low, high = (math.log(min(shown)), math.log(max(shown))) if shown else (0.0, 0.0)
    cells = []
    for row in range(number):
        for column in range(row + 1):
            rate, pairs = rates[row][column], int(report.num_negative[row, column])
            share = 0.0
            if rate > 0:  # not NaN
                share = (math.log(rate) - low) / (high - low) if high > low else 0.5
            cells.append(
                {
                    "x": _LEFT + column * _CELL,
                    "y": _TOP + row * _CELL,
                    "strength": round(0.08 + 0.42 * share, 3),
                    "rate": "too few" if math.isnan(rate) else f"{rate:.2%}".replace("%", " %"),
                    "pairs": f"{_short(pairs)} pairs",
                    "own": row == column,
                }
            )
    names = [_cut(row.name) for row in report.groups]
    highest = max(shown, default=math.nan)
    summary = "no false match" if not shown else f"from {min(shown):.2%} to {highest:.2%}"
    return render(
        "group_matrix.svg",
        width=_LEFT + number * _CELL + 16,
        height=_TOP + number * _CELL + 60,
        cell=_CELL,
        cells=cells,
        rows=[(name, _TOP + k * _CELL + _CELL // 2 + 4) for k, name in enumerate(names)],
        columns=[(name, _LEFT + k * _CELL + _CELL // 2) for k, name in enumerate(names)],
        stagger=max(map(len, names)) > 10,
        left=_LEFT,
        bottom=_TOP + number * _CELL,
        summary=f"False match rates of {number} groups, {summary}.",
    )


def _cut(name: str) -> str:
    """Return a name of a length that fits beside the cells."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _short(count: int) -> str:
    """Write a number in at most five characters.

    Example:
        >>> _short(999), _short(12_345), _short(2_600_000)
        ('999', '12k', '2.6M')
    """
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.2g}k" if count < 10_000 else f"{count / 1000:.0f}k"
    return f"{count / 1e6:.2g}M" if count < 10_000_000 else f"{count / 1e6:.0f}M"
