"""Change files of JSON as a program would that also writes their SHA-256 anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pairsim._common import json_files


def edit(path: Path, change: Callable[[dict[str, Any]], object] = lambda _: None, **values: Any) -> None:
    """Change an object of JSON: by a function, then by values."""
    content = json.loads(path.read_text())
    change(content)
    content |= values
    content.pop(json_files.KEY, None)
    path.write_bytes(json_files.sealed(content))


def edit_text(path: Path, old: str, new: str) -> None:
    """Replace text in an object of JSON."""
    path.write_text(path.read_text().replace(old, new))
    edit(path)


def content_of(path: Path) -> dict[str, Any]:
    """The values of an object of JSON, without its SHA-256."""
    return json_files.read_sealed(path)
