"""Packages that only some arms need: `pip install 'pairsim[bench]'`."""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

INSTALL = "pip install 'pairsim[bench]'"


@functools.cache
def optional(package: str, module: str) -> Any | None:
    """A module, or `None` after one line that says how to get it.

    Args:
        package: Name that the package is installed by.
        module: Name that it is imported by.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        print(missing(package), file=sys.stderr, flush=True)
        return None


def missing(package: str) -> str:
    """The line about a package that is not there."""
    return f"{package} is not installed, so its arms are left out: {INSTALL}"
