"""Lazy exports of a package: each name is imported on first use (PEP 562)."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from typing import Any

_EXPORT = re.compile(r"^    from ([\w.]+) import (\w+) as \2$", re.MULTILINE)


def exports(package: str) -> tuple[list[str], Callable[[], list[str]], Callable[[str], Any]]:
    """Make a package import what it exports on first use.

    The exports are the lines `from module import name as name` under `if TYPE_CHECKING:` in the package's
    `__init__.py`. Type checkers read the same lines, so the list is written once. Submodules can be reached as
    attributes too, as after an import.

    Args:
        package: `__name__` of the package.

    Returns:
        `__all__`, `__dir__` and `__getattr__` of the package.

    Raises:
        ImportError: If the package is installed without its source files.
    """
    module = sys.modules[package]
    source = module.__loader__.get_source(package)  # type: ignore[union-attr]
    if source is None:
        raise ImportError(f"Expected the source of {package}, found only bytecode. Install pairsim with its .py files.")
    origins = {name: origin for origin, name in _EXPORT.findall(source)}

    def get_names() -> list[str]:
        return sorted({*vars(module), *origins})

    def get_export(name: str) -> Any:
        if name in origins:
            value = getattr(importlib.import_module(origins[name]), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}") is not None:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(module, name, value)
        return value

    return sorted(origins), get_names, get_export
