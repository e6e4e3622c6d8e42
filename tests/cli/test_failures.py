from __future__ import annotations

import contextlib
import errno

import pytest
import torch
from cyclopts import CycloptsError

from pairsim.cli.failures import CLOSED_OUTPUT, FAILURE, USAGE_ERROR, one_line, report_failure
from pairsim.cli.output import UsageError
from pairsim.errors import DataError, MissingExtraError, PairsimError, advising_smaller_batches


def noted(error: Exception) -> Exception:
    with contextlib.suppress(type(error)), advising_smaller_batches(64):
        raise error
    return error


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
            130,
            "interrupted: files are complete, or as they were before. Run the same command again.",
        ),
        (KeyboardInterrupt("at step 3."), 130, "interrupted: at step 3."),
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            FAILURE,
            "out of memory (CUDA out of memory.) Use smaller images, or a machine with more memory.",
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
            "out of memory (Unable to allocate 9 GiB.) Use smaller images, or a machine with more memory.",
        ),
        (
            noted(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")),
            FAILURE,
            "out of memory (DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.) Batches of 64 "
            "need more than there is. Try --batch-size 32, or batch_size=32 in Python.",
        ),
        (RuntimeError("first line\nC++ stack"), FAILURE, "first line. Use --debug to see where this was raised."),
        (
            RuntimeError("Caught it in a worker.\nTraceback (most recent call last):\n  x.py\nOSError: gone\n"),
            FAILURE,
            "OSError: gone. Use --debug to see where this was raised.",
        ),
        (
            noted(RuntimeError("could not create a primitive")),
            FAILURE,
            "could not create a primitive. This may be a lack of memory. Try --batch-size 32, or batch_size=32 in "
            "Python.",
        ),
        (RuntimeError(), FAILURE, "RuntimeError. Use --debug to see where this was raised."),
    ],
)
def test_status_and_line(error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failure(error) == status
    assert capsys.readouterr() == ("", f"pairsim: {line}\n")


def test_exit_statuses() -> None:
    assert (FAILURE, USAGE_ERROR, CLOSED_OUTPUT) == (1, 2, 141)


@pytest.mark.parametrize("error", [AttributeError("a bug"), KeyError("a bug"), AssertionError()])
def test_other_exceptions_are_raised(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as caught:
        report_failure(error)
    assert caught.value is error
    assert capsys.readouterr() == ("", "")


def test_one_line() -> None:
    assert one_line(ValueError("a\n b?")) == "a b?"
    assert one_line(CycloptsError(msg="Unknown option")) == "Unknown option."
