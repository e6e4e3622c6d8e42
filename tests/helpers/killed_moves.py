"""Moves and their undoing that are killed by the system at every fifth change to the disk, and undone.

Run as a program, it prints what it tried as JSON. A process without threads is needed, as each kill is of a fork.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moved_files import CHANGING, carry_out, names_in, state, two_file_systems, write_folder

from pairsim.audits.duplicates.moving.undo import undo_moves

EVERY = 5


def killed(work: Callable[[], object], number: int) -> bool:
    """Do it in a fork, which is killed at a call that changes the disk; return whether it was."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    left = number

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    for name in CHANGING:
        setattr(os, name, guarded(getattr(os, name)))
    work()
    os._exit(0)


def undo_all(place: Path) -> None:
    for journal in sorted(place.glob("*.jsonl"), reverse=True):
        undo_moves(journal)


def try_all(above: Path, action: str, what: str) -> tuple[int, list[str]]:
    """Kill moves or their undoing, then undo; return how often it was killed, and what is wrong."""
    number, wrong = -EVERY + 1, list[str]()
    while True:
        number += EVERY
        where = above / f"{action} {what} {number}"
        before = state(write_folder(where / "photos"))
        place = where / ("photos" if action == "link" else "out")
        target = None if action == "link" else place
        with two_file_systems(where / ("out" if action == "copy" else "none")):
            if what == "moves":
                goes_on = killed(lambda: carry_out(where / "photos", target), number)  # noqa: B023
            else:
                carry_out(where / "photos", target)
                goes_on = killed(lambda: undo_all(place), number)  # noqa: B023
            undo_all(place)
        if state(where / "photos") != before or names_in(place) != (sorted(before) if action == "link" else []):
            wrong.append(where.name)
        if not goes_on:
            return number // EVERY, wrong


if __name__ == "__main__":
    tried, failed = dict[str, int](), list[str]()
    with tempfile.TemporaryDirectory() as text:
        for of in ("moves", "undoing"):
            for way in ("move", "copy", "link"):
                num, wrong = try_all(Path(os.path.realpath(text)), way, of)
                tried[f"{way} {of}"] = num
                failed += wrong
    print(json.dumps({"tried": tried, "wrong": failed}))
