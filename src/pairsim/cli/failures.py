"""Exit statuses of the command line, and the line that it prints for each kind of exception."""

from __future__ import annotations

from typing import Final

from pairsim.cli.output import UsageError, note
from pairsim.errors import PairsimError

FAILURE: Final = 1
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130


def report_failure(error: BaseException) -> int:
    """Print one line on an exception to stderr.

    Args:
        error: The exception.

    Returns:
        The exit status.

    Raises:
        BaseException: The exception itself, if it is a bug.
    """
    classes = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if isinstance(error, KeyboardInterrupt):
        status, text = INTERRUPTED, "interrupted. Saved files are complete; the same command continues from there."
    elif "torch.OutOfMemoryError" in classes:  # torch is not imported here
        status, text = FAILURE, f"out of memory on the device ({one_line(error)}) Use a smaller --batch-size."
    elif isinstance(error, PairsimError | ValueError | TypeError):
        status, text = USAGE_ERROR if isinstance(error, UsageError) else FAILURE, one_line(error)
    else:
        raise error
    note(f"pairsim: {text}")
    return status


def one_line(error: BaseException) -> str:
    """The message of an exception as one sentence on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."
