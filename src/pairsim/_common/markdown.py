"""Text for Markdown files with YAML front matter: whatever a name holds, it stays text; a missing figure says so."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_MEASURED = "not measured"
NOT_RECORDED = "not recorded"

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_KEY = re.compile(r"(?!(?i:null|true|false|yes|off)$)[A-Za-z][\w-]{2,}")  # not what YAML reads as something else


def one_line(value: object) -> str:
    """A value as one line of printable text: line breaks and control characters become spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())


def escape(value: object) -> str:
    r"""A value as text inside a line or a table cell, whatever marks and tags it looks like.

    Example:
        >>> escape("<b> a|b *c*")
        '&lt;b&gt; a\\|b \\*c\\*'
    """
    text = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)


def code_block(text: str, language: str) -> str:
    """A fenced block, with a fence longer than any in the text."""
    longest = max((len(found) for found in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are taken as they are, so names in them must be escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def front_matter(values: Mapping[str, Any]) -> str:
    """JSON values as YAML between two lines of dashes, strings always quoted."""
    return "\n".join(["---", *_yaml(values, ""), "---"])


def _yaml(value: Any, indent: str) -> list[str]:
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = key if _KEY.fullmatch(key) else _scalar(key)
            if isinstance(item, Mapping | list | tuple) and item:
                lines += [f"{indent}{name}:", *_yaml(item, f"{indent}  ")]
            else:
                lines.append(f"{indent}{name}: {_scalar(item)}")
        return lines
    for item in value:
        if isinstance(item, Mapping | list | tuple) and item:
            first, *rest = _yaml(item, f"{indent}  ")
            lines += [f"{indent}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{indent}- {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    # YAML reads JSON's scalars, as long as every letter is printable
    return json.dumps(one_line(value) if isinstance(value, str) else value, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> float | None:
    """A JSON value as a number, or `None` if it is none or not finite."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None


def count(value: Any) -> str:
    """A number of things, such as `1,000`."""
    found = finite(value)
    return NOT_RECORDED if found is None else f"{found:,.0f}"


def rate(value: Any) -> str:
    """A share in [0, 1] as a percentage."""
    found = finite(value)
    return NOT_MEASURED if found is None else f"{found:.3%}"


def plain(value: Any) -> str:
    """A figure with four decimals."""
    found = finite(value)
    return NOT_MEASURED if found is None else f"{found:.4f}"


def interval(values: Any) -> str:
    """The two ends of an interval of a rate."""
    ends = [finite(value) for value in values] if isinstance(values, list | tuple) else []
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        return NOT_MEASURED
    return f"{ends[0]:.3%} to {ends[1]:.3%}"
