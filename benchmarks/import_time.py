"""What `import pairsim` adds to `import torch`.

Each run is a fresh interpreter that imports torch and then pairsim, and gives the seconds of each; a run before them
fills the file cache and compiles the bytecode. Fair to a user who has torch loaded anyway. The target is 0.3 s.
"""

from __future__ import annotations

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.subprocesses import run_fresh
from benchmarks.timing import Row, Spread, alternate

TARGET_S = 0.3

_CODE = """
import json, sys, time
began = time.perf_counter()
import torch
between = time.perf_counter()
before = set(sys.modules)
from pairsim import *  # everything that it exports, as each name is imported on first use
ended = time.perf_counter()
added = set(sys.modules) - before
heavy = {"torchvision", "matplotlib", "pandas", "sklearn", "scipy", "PIL", "cyclopts", "onnx", "safetensors", "tqdm"}
print(json.dumps({
    "torch": between - began,
    "pairsim": ended - between,
    "modules": len(added),
    "packages": sorted(heavy & {name.partition(".")[0] for name in added}),
}))
"""


def run(options: Options) -> list[Table]:
    """Measure it."""
    rounds = options.rounds or (1 if options.quick else 7)
    runs = alternate({"import": lambda: run_fresh(_CODE)}, rounds=rounds)["import"]
    rows: list[Row] = []
    for name in ("torch", "pairsim"):
        spread = Spread.of([found[name] for found in runs])
        rows.append(
            {
                "arm": "import torch" if name == "torch" else "import pairsim, after torch",
                "seconds": spread.median,
                "seconds_low": spread.low,
                "seconds_high": spread.high,
                "runs": rounds,
            }
        )
    rows[1]["ratio"] = Spread.of([found["pairsim"] / found["torch"] for found in runs]).median
    packages = ", ".join(runs[0]["packages"]) or "none"
    return [
        Table(
            "import pairsim",
            rows,
            (
                f"Target: at most {TARGET_S} s added.",
                f"Modules that pairsim adds: {runs[0]['modules']}; larger packages among them: {packages}.",
                "Ratio: to importing torch itself.",
            ),
        )
    ]
