"""Whole processes of the command line, from start to end: help, version, a comparison of two files, and training.

Each run is a new process. `compare` has to load PyTorch, read a model and two pictures, and run the net, so it stands
beside a process that only imports torch and torchvision, and one that only imports torch. Training is that of a
pretrained backbone on photographs, from the folder of pictures to the kept model and its report.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import open_world
from benchmarks.one_picture import pictures
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row, Spread, alternate
from pairsim import EmbeddingNet, SimilarityModel
from pairsim.data.named import data_root
from pairsim.encoding.features import backbone_features
from pairsim.models.backbones.weight_files import find_weights, weight_folders
from pairsim.training.adaptation.head_choice import TrainingFeatures, candidates, choose_head

BOTH, TORCH = "import torch, torchvision", "import torch"
COMPARE = "pairsim compare, two files"
TRAINING = "Training on photographs"
TRAIN_FROZEN, HEADS, TRAIN = "pairsim train, frozen backbone", "of which the head", "pairsim train, fine-tuned"


def run(options: Options) -> list[Table]:
    """Time each command in turns."""
    return [_short_commands(options), _training(options)]


def _short_commands(options: Options) -> Table:
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
    return Table("Whole processes", rows, notes)


def _training(options: Options) -> Table:
    root = data_root(options.data_dir)
    photographs, weights = root / "open" / "groceries", find_weights(open_world.NET, weight_folders(root))
    if options.quick or weights is None or not photographs.is_dir():
        why = f"open/groceries and weights of {open_world.NET} in --data-dir or $PAIRSIM_DATA, and not --quick"
        return Table(TRAINING, (), (f"Not measured: it needs {why}.",))
    command, environment = [sys.executable, "-m", "pairsim", "train", str(photographs), "--unseen", "0.5"], os.environ
    rounds = options.rounds or 2
    with tempfile.TemporaryDirectory() as temporary:

        def train(*more: str) -> tuple[float, float]:
            run = tempfile.mkdtemp(dir=temporary)
            return timed([*command, "--out", f"{run}/run", *more], {**environment, "PAIRSIM_DATA": str(root)})

        found = alternate({TRAIN_FROZEN: lambda: train("--freeze", "backbone"), TRAIN: train}, rounds=rounds, warmup=0)
    found[HEADS] = [(seconds, 0.0) for seconds in _seconds_of_heads(options, photographs, weights, rounds)]
    rows: list[Row] = []
    for name in (TRAIN_FROZEN, HEADS, TRAIN):
        spread, processor = (Spread.of(list(values)) for values in zip(*found[name], strict=True))
        row: Row = {"arm": name, "seconds": spread.median, "seconds_low": spread.low, "seconds_high": spread.high}
        rows.append(row | ({"processor_seconds": processor.median} if processor.median else {}) | {"runs": rounds})
    notes = (
        "`pairsim train groceries --unseen 0.5`, with `--freeze backbone` and without; the weights are on disk.",
        "The head is chosen and fitted in the benchmark's own process, from the features of the training images.",
    )
    return Table(TRAINING, rows, notes)


def _seconds_of_heads(options: Options, photographs: Path, weights: Path, rounds: int) -> list[float]:
    model = open_world.model_of(options, weights)
    parts = open_world.split(photographs, 0, options, model.preprocessing)
    features = backbone_features(model, parts.train, precision="auto")

    def choose() -> float:
        began = time.perf_counter()
        chosen, _ = choose_head(features, parts.codes, candidates("auto"), seed=0)
        chosen.fitted(TrainingFeatures(features, parts.codes, None, 0))
        return time.perf_counter() - began

    return [choose() for _ in range(rounds)]


def timed(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Run a command; return its seconds, and those of the processor."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
