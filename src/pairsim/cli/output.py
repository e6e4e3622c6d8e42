"""Print results to stdout and everything else to stderr; raise errors of usage."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from pairsim._common.json_files import json_value
from pairsim.cli.option_names import in_options
from pairsim.errors import printable


class UsageError(ValueError):
    """Wrong usage of a command."""


def set_up_streams() -> None:
    """Open streams that the caller has closed, and write characters that an encoding does not have with escapes.

    Raises:
        UsageError: If stdout was closed, so that results would be lost.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:  # in this order each gets its own number, which another file would get otherwise
        setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    expect("stdout" not in closed, "standard output to be open, found it closed. Redirect it, such as to /dev/null.")


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


def settle(stream: TextIO) -> None:
    """Write what a stream still holds, or send it nowhere where that fails; Python writes it again when it ends."""
    try:
        stream.flush()
    except OSError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Send what is written to a stream from now on nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(text: str) -> None:
    """Print a line to stderr, none for an empty text; without a reader or space it is dropped, and the work goes on.

    It names options where the text names arguments of Python.
    """
    try:
        if text:
            print(printable(in_options(text)), file=sys.stderr, flush=True)
    except OSError:
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
    print("\n".join(map(printable, text.split("\n"))), flush=True)
