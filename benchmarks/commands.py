"""Whole processes of the command line, from start to end: help, version, and a comparison of two files.

Each run is a new process. `compare` does what has to load PyTorch, read a model and two pictures, and run the net, so
it stands beside a process that only imports torch and torchvision, and one that only imports torch.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.one_picture import pictures
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row, Spread, alternate
from pairsim import EmbeddingNet, SimilarityModel

BOTH, TORCH = "import torch, torchvision", "import torch"
COMPARE = "pairsim compare, two files"


def run(options: Options) -> list[Table]:
    """Time each command in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        SimilarityModel(EmbeddingNet()).save_pretrained(folder / "model")
        files = [str(path) for path in pictures(folder, (28, 28, 1))]
        pairsim = [sys.executable, "-m", "pairsim"]
        commands = {
            BOTH: [sys.executable, "-c", BOTH],
            TORCH: [sys.executable, "-c", TORCH],
            COMPARE: [*pairsim, "compare", str(folder / "model"), *files],
            "pairsim --version": [*pairsim, "--version"],
            "pairsim --help": [*pairsim, "--help"],
            "pairsim train --help": [*pairsim, "train", "--help"],
        }
        rounds = options.rounds or (1 if options.quick else 9)
        found = alternate({name: lambda made=made: timed(made) for name, made in commands.items()}, rounds=rounds)  # type: ignore[misc]
    rows: list[Row] = []
    for name, runs in found.items():
        spread = Spread.of([seconds for seconds, _ in runs])
        ratio = Spread.of([own[0] / first[0] for own, first in zip(runs, found[BOTH], strict=True)])
        rows.append(
            {
                "arm": name,
                "seconds": spread.median,
                "seconds_low": spread.low,
                "seconds_high": spread.high,
                "processor_seconds": Spread.of([processor for _, processor in runs]).median,
                "times": ratio.median,
                "times_low": ratio.low,
                "times_high": ratio.high,
                "runs": rounds,
            }
        )
    notes = ("times: seconds as a multiple of those of the first row, in the same round.",)
    return [Table("Whole processes", rows, notes)]


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds, and those of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
