"""Signals that ask a command to end: SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_ENDED_BY = 128
"""A shell reports a program that a signal ended as this plus the number of the signal."""

_DAY_S = 86_400.0
INTERRUPTED = "files are complete, or as they were before. Run the same command again."


class _Next:
    """What this process does at the next signal."""

    received: int | None = None
    at_step: Callable[[], None] | None = None
    was_called: bool = False
    may_raise: bool = True


def catch_signals() -> None:
    """Handle the signals from now on. One that is ignored, as below `nohup`, stays ignored.

    Training ends at its next step; anything else is interrupted. While a module is imported, after an interruption, and
    when the command is over, a signal ends the process at once: some packages ignore exceptions while they are
    imported, and later ones would be printed with their traceback.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def at_next_step(end: Callable[[], None]) -> None:
    """From now on the next signal calls `end`, such as `Trainer.interrupt`, in place of an interruption."""
    _Next.at_step, _Next.was_called = end, False


def at_once() -> None:
    """From now on the next signal is an interruption again.

    Raises:
        KeyboardInterrupt: If one came after the last step.
    """
    _Next.at_step = None
    if _Next.was_called:
        _Next.was_called = False
        raise KeyboardInterrupt


def wait_for_signal() -> None:
    """Wait until a signal interrupts the command."""
    while True:
        time.sleep(_DAY_S)


def expect_no_more() -> None:
    """The command is over."""
    _Next.may_raise, _Next.at_step = False, None


def exit_status() -> int:
    """The exit status of a command that a signal interrupted: that of the first signal, or of Ctrl-C."""
    return _ENDED_BY + (_Next.received or signal.SIGINT)


def _handle(number: int, frame: FrameType | None) -> None:
    _Next.received = _Next.received or number
    if _Next.at_step is not None:
        end, _Next.at_step, _Next.was_called = _Next.at_step, None, True
        end()
    elif _Next.may_raise and not _is_importing(frame):
        _Next.may_raise = False
        raise KeyboardInterrupt
    else:
        if _Next.may_raise:  # nothing was said yet
            with contextlib.suppress(OSError):
                os.write(2, f"pairsim: interrupted: {INTERRUPTED}\n".encode())
        os._exit(exit_status())


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False
