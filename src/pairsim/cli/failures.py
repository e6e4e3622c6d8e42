"""Exit statuses of the command line, and the line that it prints for each kind of exception."""

from __future__ import annotations

import errno
import sys
from typing import Final

from pairsim.cli.output import UsageError, is_closed, note
from pairsim.cli.signals import INTERRUPTED, exit_status
from pairsim.errors import PairsimError, is_out_of_memory, printable

FAILURE: Final = 1
USAGE_ERROR: Final = 2
CLOSED_OUTPUT: Final = 141
"""As in a shell for a program that the signal SIGPIPE ended."""


def report_failure(error: BaseException) -> int:
    """Print one line on an exception to stderr.

    Args:
        error: The exception.

    Returns:
        The exit status.

    Raises:
        BaseException: The exception itself, if it is a bug.
    """
    if isinstance(error, BrokenPipeError) and is_closed(sys.stdout):
        return CLOSED_OUTPUT
    advice = " ".join(getattr(error, "__notes__", ()))
    if isinstance(error, KeyboardInterrupt):
        status, text = exit_status(), f"interrupted: {str(error) or INTERRUPTED}"
    elif is_out_of_memory(error):
        advice = advice or "Use smaller images, or a machine with more memory."
        status, text = FAILURE, f"out of memory ({one_line(error)}) {advice}"
    elif isinstance(error, PairsimError | ValueError | TypeError):
        status, text = USAGE_ERROR if isinstance(error, UsageError) else FAILURE, one_line(error)
    elif isinstance(error, OSError):
        status, text = FAILURE, _system_error(error)
    elif isinstance(error, RuntimeError):
        status, text = FAILURE, f"{_brief(error)}. {advice or 'Use --debug to see where this was raised.'}"
    else:
        raise error
    note(f"pairsim: {text}")
    return status


def _system_error(error: OSError) -> str:
    reason = error.strerror or _brief(error)
    if error.errno == errno.ENOSPC:
        return f"{reason}. Free some space; saved files are complete, and the same command continues from there."
    if error.filename is None:
        return f"{reason}. Use --debug to see where this was raised."
    return f"Could not open {error.filename}: {reason}. Check the path, and that you have permission."


def _brief(error: BaseException) -> str:
    """The first line of a message; of one that quotes the traceback of another process, the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if any("Traceback (most" in line for line in lines) else 0].removesuffix(".")


def one_line(error: BaseException) -> str:
    """The message of an exception as one sentence on one line."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."
