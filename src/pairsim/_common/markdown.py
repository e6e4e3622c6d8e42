"""Escape and format text, tables and figures for Markdown files with YAML front matter."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pairsim.errors import printable

NOT_MEASURED = "not measured"
NOT_RECORDED = "not recorded"

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_KEY = re.compile(r"(?!(?i:null|true|false|yes|off)$)[A-Za-z][\w-]{2,}")  # YAML reads the others as another type


def one_line(value: object) -> str:
    """Convert a value to one line of printable text; line breaks become spaces."""
    return printable(" ".join(str(value).split()))


def escape(value: object) -> str:
    r"""Escape a value for use inside a line or a table cell, so that Markdown and HTML in it are shown as text.

    Example:
        >>> escape("<b> a|b *c*")
        '&lt;b&gt; a\\|b \\*c\\*'
    """
    text = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)


def code_block(text: str, language: str) -> str:
    """Format a fenced block; the fence is longer than any in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table. Cells are not escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def front_matter(values: Mapping[str, Any]) -> str:
    """Format JSON values as YAML between two lines of dashes; strings are always quoted."""
    return "\n".join(["---", *_yaml(values, ""), "---"])


def _yaml(value: Any, indent: str) -> list[str]:
    lines: list[str] = []
    named = isinstance(value, Mapping)
    for key, item in value.items() if named else [("", item) for item in value]:
        start = f"{indent}{key if _KEY.fullmatch(key) else _scalar(key)}:" if named else f"{indent}-"
        if isinstance(item, Mapping | list | tuple) and item:
            first, *rest = _yaml(item, f"{indent}  ")
            lines += [start, first, *rest] if named else [f"{start} {first.lstrip()}", *rest]
        else:
            lines.append(f"{start} {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    # JSON scalars are valid YAML if every character is printable.
    return json.dumps(one_line(value) if isinstance(value, str) else value, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> float | None:
    """Convert a JSON value to a number; `None` if it is not a finite number."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def count(value: Any) -> str:
    """Format a count, such as `1,000`."""
    number = finite(value)
    return NOT_RECORDED if number is None else f"{number:,.0f}"


def rate(value: Any) -> str:
    """Format a share in [0, 1] as a percentage."""
    number = finite(value)
    return NOT_MEASURED if number is None else f"{number:.3%}"


def plain(value: Any) -> str:
    """Format a figure with four decimals."""
    number = finite(value)
    return NOT_MEASURED if number is None else f"{number:.4f}"


def interval(values: Any) -> str:
    """Format the two ends of an interval of a rate."""
    ends = [rate(value) for value in values] if isinstance(values, list | tuple) else []
    return " to ".join(ends) if len(ends) == 2 and NOT_MEASURED not in ends else NOT_MEASURED
