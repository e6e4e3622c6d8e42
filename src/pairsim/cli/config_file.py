"""Read the file of `--config`: a few options in TOML or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MAX_BYTES = 2**16
_MAX_DOTS = 100


def read_config(path: Path, command: str) -> dict[str, Any]:
    """Read the options in a file.

    Its size and the dots in a line are limited, because the time and memory for a dotted key of TOML grow with the
    square of its parts.

    Args:
        path: JSON if it ends in .json, else TOML.
        command: Name of the table that it has.

    Returns:
        The table by its name.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is too large, not in this language, or has more than this table, which would be ignored.
    """
    import tomllib

    from pairsim._common.storage import open_file, parsed_json
    from pairsim.errors import printable

    try:
        with open_file(path) as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ValueError(f"Expected a TOML or JSON file at {path}, found none. Check the path.") from error
    is_json = path.suffix.lower() == ".json"
    try:
        if len(content) > _MAX_BYTES or any(line.count(b".") > _MAX_DOTS for line in content.splitlines()):
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes, or more than {_MAX_DOTS} dots in a line")
        values = parsed_json(content) if is_json else tomllib.loads(content.decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise ValueError(f"it holds {type(values).__name__}")
        found = next((printable(key) for key in values if key != command), None)
        if found is None and not isinstance(values.get(command), dict):
            found = f"a value named {command}" if values else f"no [{command}]"
        if found is not None:
            raise ValueError(f"it has {found}, and options are read below [{command}] only")
        if "config" in values[command]:
            raise ValueError("it names another file as config, which is not read")
    except (ValueError, RecursionError) as error:
        kind = "JSON" if is_json else "TOML"
        raise ValueError(f"Expected options in {kind} in {path}, below [{command}], but: {error}.") from error
    return values
