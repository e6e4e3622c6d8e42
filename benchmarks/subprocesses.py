"""Measurements that need a process of their own, as they are of what happens once in a process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_fresh(code: str, *arguments: str) -> dict[str, Any]:
    """Run Python code in a fresh interpreter that finds the same pairsim and benchmarks.

    Args:
        code: Prints one JSON object as its last line.
        arguments: Its `sys.argv[1:]`.

    Raises:
        RuntimeError: If it fails; with what it wrote on stderr.
    """
    spec = importlib.util.find_spec("pairsim")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    places = [str(Path(spec.submodule_search_locations[0]).parent), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"Expected the measuring process to succeed, but: {done.stderr.strip()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result
