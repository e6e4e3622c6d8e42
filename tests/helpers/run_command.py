"""Runs the real command, in a process of its own or in this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairsim.cli.app import run

COMMAND = [sys.executable, "-m", "pairsim"]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **changes}


def pairsim(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Result:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=240
    )
    return Result(done.returncode, done.stdout, done.stderr)


def here(*arguments: str | Path, cwd: Path) -> Result:
    """The same in this process, which saves the start: for what a command says, not for that it can be started."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Result(status, out.getvalue(), err.getvalue())
