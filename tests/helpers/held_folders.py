"""Run folders that another process has locked."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("has it", flush=True)
    input()
"""


@contextlib.contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked the folder, as a training has."""
    folder.mkdir(exist_ok=True)
    holder = {"pid": 123, "host": "far", "since": "2026-01-02T03:04:05+00:00"}
    (folder / ".lock.json").write_text(json.dumps(holder))
    command = [sys.executable, "-c", HOLD, str(folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        try:
            yield process
        finally:
            process.kill()
