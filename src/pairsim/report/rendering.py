"""Jinja templates of the report, and values as text.

Values in templates are escaped automatically, so that no name can become HTML.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairsim._common import storage
from pairsim.errors import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Fill in a template of the folder `templates`.

    Args:
        template: Name of the file.
        **values: Values of its variables.

    Returns:
        The text, marked as markup that must not be escaped again.

    Raises:
        jinja2.UndefinedError: If a variable is missing.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(values))  # noqa: S704 (values in it are escaped)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pairsim.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"percent": percent, "whole": "{:,}".format, "settings": settings_text, "unbroken": unbroken}
    environment.tests["nan"] = math.isnan
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _shown(value: Any) -> Any:
    """Return the value of an expression in a template without control characters, unless it is markup."""
    return printable(value) if type(value) is str else value


def page_path(out: str | os.PathLike[str]) -> Path:
    """Return the path of a page to write, and check it before the work begins.

    Raises:
        RunError: If it cannot be written.
        ValueError: If it does not end in .html or .htm.
    """
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"Expected out to end in .html, got {path.name}. Choose such a name.")
    storage.check_writable(path)
    return path


def percent(value: float, digits: int = 3) -> str:
    """Format a rate in per cent; NaN in words.

    Example:
        >>> percent(0.12345), percent(float("nan"))
        ('12.345 %', 'not measurable with so few pairs')
    """
    return "not measurable with so few pairs" if math.isnan(value) else f"{value:.{digits}%}".replace("%", " %")


def unbroken(text: str) -> str:
    """Keep a text in one line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def settings_text(values: Mapping[str, Any]) -> str:
    """Write nested settings in one line, without those that are None.

    Example:
        >>> settings_text({"optimizer": {"name": "adam"}, "seed": 0, "augment": None})
        'name adam, seed 0'
    """
    parts = [
        settings_text(value) if isinstance(value, Mapping) else f"{key} {value}"
        for key, value in values.items()
        if value is not None
    ]
    return ", ".join(filter(None, parts))
