"""Print results to stdout and everything else to stderr; raise errors of usage."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pairsim._common.json_values import json_value


class UsageError(ValueError):
    """Wrong usage of a command."""


def expect(holds: bool, expectation: str) -> None:
    """Check an argument.

    Args:
        holds: Whether the argument is as expected.
        expectation: What was expected and what was found; the message is `"Expected "` and this text.

    Raises:
        UsageError: If it is not.
    """
    if not holds:
        raise UsageError(f"Expected {expectation}")


def note(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def print_result(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print the result of a command to stdout.

    Args:
        result: JSON values; numbers that are not finite become null.
        text: The same for reading.
        as_json: Print `result` as one JSON object instead of `text`.
    """
    if as_json:
        import json

        text = json.dumps(json_value(result), indent=2, ensure_ascii=False, allow_nan=False)
    print(text, flush=True)
