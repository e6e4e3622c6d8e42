"""Run the command line, in a process of its own or in this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsim.cli.app import run

COMMAND = [sys.executable, "-m", "pairsim"]
UNUSUAL_NAME = "ü \u4e2d.png"
"""Of a picture; not all encodings have these characters."""


@dataclass(frozen=True)
class Result:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **changes}


def pairsim(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Result:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=240
    )
    return Result(done.returncode, done.stdout, done.stderr)


def here(*arguments: str | Path, cwd: Path) -> Result:
    """Run a command in this process, which is faster: to test what it prints, not that it starts."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())


def failure(done: Result, status: int) -> str:
    """The last line on stderr of a command that failed: one message, no traceback, nothing on stdout."""
    assert done.status == status, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("pairsim: ")
    return last


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.01)


def log_lines(out: Path) -> int:
    log = out / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0
