"""Results as JSON values, and files of JSON that state the SHA-256 of their content.

An object, or each object of a file of lines, has it as its first key, `sha256`. It is of everything else in the object,
and compared when the file is read. An object without that key is read too, as earlier versions wrote it: to accept an
edit, remove the key.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pairsim._common import storage
from pairsim.errors import RunError

KEY = "sha256"


def json_value(value: Any) -> Any:
    """Convert a result to JSON values.

    Args:
        value: Strings, numbers, booleans, None, and mappings, lists, tuples, arrays and dataclasses of these.

    Returns:
        The same with dicts, lists, and None for NaN and the infinities.

    Example:
        >>> json_value({"fmr": (0.1, math.nan)})
        {'fmr': [0.1, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if hasattr(value, "tolist"):  # an array
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sealed(value: Mapping[str, Any]) -> bytes:
    """Encode an object as `storage.to_json` does, with the SHA-256 of that as its first key."""
    return storage.to_json({KEY: storage.sha256(storage.to_json(value)), **value})


def read_sealed(path: Path) -> dict[str, Any]:
    """Read what `sealed` returned, or an object without a SHA-256, as earlier versions wrote it.

    Returns:
        The object without its SHA-256.

    Raises:
        RunError: As of `storage.read_json`, and if the object differs from its SHA-256.
    """
    return _checked(storage.read_json(path), storage.to_json, path)


def sealed_lines(records: Iterable[Mapping[str, Any]], first: int = 1) -> bytes:
    """Encode objects as lines of JSON, each with the SHA-256 of its number and itself as its first key.

    Args:
        records: The objects.
        first: Number of the first line.
    """
    lines = ({KEY: storage.sha256(_line(number, record)), **record} for number, record in enumerate(records, first))
    return "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines).encode()


def read_sealed_lines(path: Path, num: int | None = None) -> list[dict[str, Any]]:
    """Read what `sealed_lines` returned, or lines without a SHA-256, as earlier versions wrote them.

    Args:
        path: The file.
        num: How many lines to read from its beginning; by default all.

    Returns:
        The object of each line, without its SHA-256.

    Raises:
        RunError: If the file cannot be read, or a line is not an object of JSON, or differs from its SHA-256, as it
            also does where lines before it are missing.
    """
    lines = [line for line in storage.read_bytes(path).split(b"\n") if line.strip()][:num]
    records = []
    for number, line in enumerate(lines, 1):
        source = Path(f"{path}, line {number}")
        records.append(_checked(storage.json_object(line, source), partial(_line, number), source))
    return records


def _line(number: int, record: Mapping[str, Any]) -> bytes:
    return f"{number} {json.dumps(record, allow_nan=False)}".encode()


def _checked(value: dict[str, Any], encode: Callable[[dict[str, Any]], bytes], path: Path) -> dict[str, Any]:
    """Return an object without its SHA-256, after a comparison with that of the rest."""
    texts = [KEY] if KEY in value else [key for key, text in value.items() if isinstance(text, str) and len(text) == 64]
    for key in texts:  # if only the key is damaged, its value is still the SHA-256 of the rest
        rest = {name: item for name, item in value.items() if name != key}
        try:
            is_seal = storage.sha256(encode(rest)) == value[key]
        except (ValueError, RecursionError):  # numbers that JSON does not have
            is_seal = False
        if is_seal != (key == KEY):
            raise RunError(
                f"{path} is damaged or was edited: its SHA-256 is of other content. Copy it again; to accept an edit, "
                f'remove "{KEY}" and its value.'
            )
        if is_seal:
            return rest
    return value
