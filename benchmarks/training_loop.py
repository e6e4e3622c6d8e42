"""Training on MNIST as `pairsim train mnist` does it, from reading the data to the saved model, and its parts.

The same training several times in one process: the first is cold, as it also compiles or records what later ones reuse,
loads kernels and fills caches. `set_up_s` is the time before the first epoch, `epochs_s` that of the epochs with their
validation, and the rest saves and loads the model. Judged on all pairs of the test images at its own probability 0.5.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.mnist import judge_model, load
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row, synchronizer
from pairsim import TrainConfig
from pairsim.cli.training.train import make_trainer

_ROUNDS = 4


def run(options: Options) -> list[Table]:
    """Train some times in a row."""
    rounds = options.rounds or (2 if options.quick else _ROUNDS)
    rows: list[Row] = [
        {"arm": "warm" if number else "cold", "run": number + 1, **train(options)} for number in range(rounds)
    ]
    return [Table("Training on MNIST, in parts", rows, (f"{options.epochs or 1} pass over the images, seed 1.",))]


def train(options: Options) -> Row:
    """Train and judge once."""
    wait = synchronizer(options.device) or (lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        config = TrainConfig(
            epochs=options.epochs or 1, seed=options.seed, out=Path(folder), device=options.device, progress=False
        )
        trainer = make_trainer(load(options, "train"), config)
        wait()
        set_up = time.perf_counter() - began
        history = trainer.fit("never")
        wait()
        seconds = time.perf_counter() - began
    accuracy = judge_model(trainer.model, options).balanced_accuracy
    row: Row = {"precision": trainer.precision.name, "seconds": seconds, "set_up_s": set_up}
    return row | {"epochs_s": sum(history.seconds), "balanced_accuracy": accuracy}
