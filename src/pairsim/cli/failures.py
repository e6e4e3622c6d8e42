"""Exit statuses of the command line, and the line that it prints for each kind of exception."""

from __future__ import annotations

from typing import Final

from pairsim.cli.output import UsageError, note
from pairsim.errors import PairsimError

FAILURE: Final = 1
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130

_FAILURES: dict[type[BaseException] | str, tuple[int, str]] = {
    UsageError: (USAGE_ERROR, "{error}"),
    PairsimError: (FAILURE, "{error}"),
    ValueError: (FAILURE, "{error}"),
    TypeError: (FAILURE, "{error}"),
    KeyboardInterrupt: (INTERRUPTED, "interrupted. Saved files are complete; the same command continues from there."),
    "torch.OutOfMemoryError": (FAILURE, "out of memory on the device ({error}) Use a smaller --batch-size."),
}
"""Exit status and line by exception class, or by the name of one that is not imported here."""


def report_failure(error: BaseException) -> int:
    """Print one line on an exception to stderr.

    Args:
        error: The exception; the most specific of its classes in the table decides.

    Returns:
        The exit status.

    Raises:
        BaseException: The exception itself, if none of its classes is in the table.
    """
    for kind in type(error).__mro__:
        failure = _FAILURES.get(kind) or _FAILURES.get(f"{kind.__module__}.{kind.__qualname__}")
        if failure is not None:
            status, text = failure
            note(f"pairsim: {text.format(error=one_line(error))}")
            return status
    raise error


def one_line(error: BaseException) -> str:
    """The message of an exception as one sentence on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "?", "!")) else f"{text}."
