"""Print results to stdout and everything else to stderr; raise errors of usage."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pairsim._common.json_values import json_value


class UsageError(ValueError):
    """Wrong usage of a command."""


def set_up_streams() -> None:
    """Write text that the encoding of stdout or stderr does not have with escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def is_closed(stream: TextIO) -> bool:
    """Return whether nothing reads a stream any more, as after `| head`."""
    if not hasattr(select, "poll"):  # on Windows the error alone has to do
        return True
    poll = select.poll()
    poll.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def discard(stream: TextIO) -> None:
    """Send what is written to a stream from now on nowhere; Python flushes it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(text: str) -> None:
    """Print a line to stderr, none for an empty text; without a reader it is dropped, and the work goes on."""
    try:
        if text:
            print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        discard(sys.stderr)


def print_result(result: Mapping[str, Any], text: str, as_json: bool) -> None:
    """Print the result of a command to stdout.

    Args:
        result: JSON values; numbers that are not finite become null.
        text: The same for reading.
        as_json: Print `result` as one JSON object in ASCII instead of `text`.
    """
    if as_json:
        import json

        text = json.dumps(json_value(result), indent=2, allow_nan=False)
    print(text, flush=True)
