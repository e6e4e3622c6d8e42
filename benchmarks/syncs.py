"""Lines of a training run at which Python waits for the GPU, as PyTorch's own check of synchronisation finds them.

`fit` with the default recipe on random images that stay on the device: `EPOCHS` epochs with validation, without a run
folder. A wait in the plan of an epoch or at its end costs little. A wait in each step leaves the GPU idle.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

import pairsim
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim import SimilarityModel, TrainConfig, Trainer
from pairsim._common.choices import PrecisionName
from pairsim.data import ImageTensors

EPOCHS = 3
_CLASSES = 10
_SAID = "called a synchronizing CUDA operation"
_ROOT = Path(pairsim.__file__).parent


def run(options: Options) -> list[Table]:
    """Find the lines in fp32, bf16 and fp16."""
    cuda = torch.device(options.device).type == "cuda"
    precisions: tuple[PrecisionName, ...] = ("fp32", "bf16", "fp16")
    rows: list[Row] = []
    notes = [] if cuda else ["Not measured on the CPU, which is never waited for: only the training ran."]
    for precision in precisions[:1] if options.quick else precisions:
        trainer = make_trainer(options, precision)
        with waits(said := Counter[str](), cuda=cuda):
            trainer.fit()
        steps = EPOCHS * trainer.data.loader.plan.num_batches
        notes.append(f"{precision}: {steps} steps in {EPOCHS} epochs, {sum(said.values()):,} waits.")
        rows += [
            {"line": line, "precision": precision, "waits": count, "waits_a_step": count / steps}
            for line, count in said.most_common()
        ]
    return [Table("Lines that wait for the device", rows, tuple(notes))]


def make_trainer(options: Options, precision: PrecisionName) -> Trainer:
    """A trainer of the reference net on random images."""
    generator = torch.Generator().manual_seed(options.seed)
    num_images = 512 if options.quick else 20_000
    pixels = torch.randint(0, 256, (num_images, 1, 28, 28), dtype=torch.uint8, generator=generator)
    images = ImageTensors(pixels, torch.arange(num_images) % _CLASSES)
    config = TrainConfig(
        epochs=EPOCHS, seed=options.seed, device=options.device, precision=precision, resident=True, progress=False
    )
    return Trainer(SimilarityModel(), config, train=images)


@contextlib.contextmanager
def waits(found: Counter[str], *, cuda: bool) -> Iterator[None]:
    """Count the lines that wait while the block runs, as `file:line` of pairsim where it is one of its own."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if cuda:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            if cuda:
                torch.cuda.set_sync_debug_mode("default")
    for warning in said:
        if _SAID in str(warning.message):
            file = Path(warning.filename)
            shown = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else Path(*file.parts[-3:])
            found[f"{shown}:{warning.lineno}"] += 1
