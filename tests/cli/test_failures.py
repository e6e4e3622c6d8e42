from __future__ import annotations

import errno

import pytest
import torch
from cyclopts import CycloptsError

from pairsim.cli.failures import CLOSED_OUTPUT, FAILURE, INTERRUPTED, USAGE_ERROR, one_line, report_failure
from pairsim.cli.output import UsageError
from pairsim.errors import DataError, MissingExtraError, PairsimError


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("Expected --out, found none."), USAGE_ERROR, "Expected --out, found none."),
        (DataError("Expected labels"), FAILURE, "Expected labels."),
        (MissingExtraError("Install it with: pip install x"), FAILURE, "Install it with: pip install x."),
        (PairsimError(), FAILURE, "PairsimError."),
        (ValueError("Expected 1,\n  got 2."), FAILURE, "Expected 1, got 2."),
        (TypeError("wrong type"), FAILURE, "wrong type."),
        (
            KeyboardInterrupt(),
            INTERRUPTED,
            "interrupted. Saved files are complete; the same command continues from there.",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            FAILURE,
            "out of memory on the device (CUDA out of memory.) Use a smaller --batch-size.",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "runs/a"),
            FAILURE,
            "Could not open runs/a: Permission denied. Check the path, and that you have permission.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            FAILURE,
            "No space left on device. Free some space; saved files are complete, and the same command continues from "
            "there.",
        ),
        (OSError("no socket"), FAILURE, "no socket. Use --debug to see where this was raised."),
        (
            MemoryError("Unable to allocate 9 GiB"),
            FAILURE,
            "out of memory (Unable to allocate 9 GiB.) Use a smaller --batch-size, or smaller images.",
        ),
        (RuntimeError("first line\nC++ stack"), FAILURE, "first line. Use --debug to see where this was raised."),
        (
            RuntimeError("Caught it in a worker.\nTraceback (most recent call last):\n  x.py\nOSError: gone\n"),
            FAILURE,
            "OSError: gone. Use --debug to see where this was raised.",
        ),
        (RuntimeError(), FAILURE, "RuntimeError. Use --debug to see where this was raised."),
    ],
)
def test_status_and_line(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failure(error) == status
    assert capsys.readouterr() == ("", f"pairsim: {line}\n")


def test_exit_statuses() -> None:
    assert (FAILURE, USAGE_ERROR, INTERRUPTED, CLOSED_OUTPUT) == (1, 2, 130, 141)


@pytest.mark.parametrize("error", [AttributeError("a bug"), KeyError("a bug"), AssertionError()])
def test_other_exceptions_are_raised(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as caught:
        report_failure(error)
    assert caught.value is error
    assert capsys.readouterr() == ("", "")


def test_one_line() -> None:
    assert one_line(ValueError("a\n b?")) == "a b?"
    assert one_line(CycloptsError(msg="Unknown option")) == "Unknown option."
