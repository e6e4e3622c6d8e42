"""Everything to prove and to measure on a GPU, in one command and a limited time, correctness first.

`python -m benchmarks gpu --budget 430 --json FILE` runs each part in a process of its own with a limit, and rewrites
the file after each, so that nothing measured is lost whatever happens later. A part that fails, or does not end in its
time, is in the file with its last lines. `--device cpu --quick` shows, without a GPU, that every part runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import report
from benchmarks.options import Options

ROOT = Path(__file__).parents[1]
_LAST_LINES = 30
_LEAST_S = 5.0


@dataclass(frozen=True)
class Part:
    """A part of the session.

    Attributes:
        name: In the file; of a benchmark, if there are no `tests`.
        limit_s: Seconds that it may take.
        tests: Whether it is the tests that need a GPU.
        rounds: Timed rounds of a benchmark; by default its own choice.
    """

    name: str
    limit_s: float
    tests: bool = False
    rounds: int | None = None


PARTS = (
    Part("tests", 120, tests=True),
    Part("syncs", 60),
    Part("kernels", 60),
    Part("training-loop", 60),
    Part("graph", 90, rounds=10),
    Part("throughput", 150, rounds=5),
    Part("roofline", 60, rounds=5),
    Part("inference", 60, rounds=5),
)


def main(arguments: Sequence[str]) -> int:
    """Run the parts that time is left for; the status is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=430.0, metavar="S", help="seconds in all (430)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only shows that parts run")
    parser.add_argument("--quick", action="store_true", help="do less, to see that everything works")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where MNIST is; $PAIRSIM_DATA by default")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="the results, after each part")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a CUDA device, PyTorch finds none; --device cpu --quick shows that the parts run")
    began = time.monotonic()
    data_dir = given.data_dir and given.data_dir.absolute()  # the parts run in another folder
    options = Options(device=given.device, quick=given.quick, data_dir=data_dir)
    found: dict[str, Any] = {**report.describe(options), "budget_s": given.budget, "parts": [], "benchmarks": {}}
    for part in PARTS:
        left = given.budget - (time.monotonic() - began)
        outcome = run_part(part, options, min(part.limit_s, left)) if left > _LEAST_S else {"status": "no time left"}
        found["benchmarks"] |= outcome.pop("benchmarks", {})
        found["parts"].append({"name": part.name, **outcome})
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        print(f"{part.name:<15}{outcome['status']}", flush=True)
    return int(any(part["status"] != "done" for part in found["parts"]))


def run_part(part: Part, options: Options, limit_s: float) -> dict[str, Any]:
    """Run a part in a process of its own, and end it with all that it started where its time is over.

    Returns:
        `status`, `seconds`, the last lines it printed, and the tables of a benchmark as `benchmarks`.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        file, printed = Path(place, "part.json"), Path(place, "printed")
        with printed.open("wb") as output:
            process = subprocess.Popen(
                command(part, options, file), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                status = "done" if process.wait(limit_s) == 0 else f"failed with status {process.returncode}"
            except subprocess.TimeoutExpired:
                status = f"did not end within {limit_s:.0f} s"
            finally:
                if process.poll() is None:  # also after Ctrl-C
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
        tables = {}
        with contextlib.suppress(OSError, ValueError):  # it is absent, or was being written when the time was over
            tables = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
    return {
        "status": status,
        "seconds": round(time.monotonic() - began, 1),
        "last_lines": lines if status != "done" or part.tests else [],
        "benchmarks": tables,
    }


def command(part: Part, options: Options, file: Path) -> list[str]:
    """What to run for a part; without a GPU its tests are only collected."""
    if part.tests:
        files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
        names = [str(path.relative_to(ROOT)) for path in files]
        collect = [] if options.device == "cuda" else ["--collect-only"]
        return [sys.executable, "-m", "pytest", "-m", "gpu", "-p", "no:cacheprovider", *collect, *names]
    words = [sys.executable, "-m", "benchmarks", part.name, "--device", options.device, "--json", str(file)]
    words += ["--quick"] if options.quick else []
    words += ["--rounds", str(part.rounds)] if part.rounds and not options.quick else []
    return words + (["--data-dir", str(options.data_dir)] if options.data_dir else [])
