"""What `pairsim train mnist` reaches, over seeds, judged on all pairs of the test images.

Each run is what the command trains: the same initial weights, split, pairs and batches. With `--runs DIR` the run
folders are kept, and a run that is already there is judged without being trained again, as its result would be the
same. Seconds are not given here: they are compared side by side in `reference`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.judge import judge
from benchmarks.options import Options, mnist_root
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim import SimilarityModel, TrainConfig
from pairsim.cli.train import make_trainer
from pairsim.data import load_data
from pairsim.training.config import ObjectiveName

SEEDS = (0, 1, 2)
RECIPES: tuple[tuple[ObjectiveName, int], ...] = (("all-pairs", 2), ("pairs", 30))


def run(options: Options) -> list[Table]:
    """Train and judge every recipe with every seed."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for objective, epochs in RECIPES:
            for seed in seeds:
                print(f"quality: {objective}, seed {seed}", file=sys.stderr, flush=True)
                folder = (options.runs or Path(temporary)) / f"{objective}-seed{seed}"
                rows.append(_judged(options, folder, objective, 1 if options.quick else epochs, seed))
    notes = (
        "Balanced accuracy at probability 0.5, on all 49,995,000 pairs of the 10,000 test images; 54,000 images "
        "trained on, 6,000 held out to choose the best epoch.",
    )
    return [
        Table("Quality on MNIST by seed", rows, notes),
        Table("Quality on MNIST, mean and range over seeds", _summary(rows)),
    ]


def _judged(options: Options, folder: Path, objective: ObjectiveName, epochs: int, seed: int) -> Row:
    root = mnist_root(options.data_dir)
    config = TrainConfig(objective=objective, epochs=epochs, seed=seed, out=folder, device=options.device)
    trainer = make_trainer(load_data("mnist", "train", data_dir=root), config, callbacks=())
    trainer.fit()
    model = SimilarityModel.from_pretrained(folder)
    test = load_data("mnist", "test", data_dir=root).dataset
    found = judge(
        model.encode(test.images),
        torch.from_numpy(test.targets),
        weight=model.projection.weight.item(),
        bias=model.projection.bias.item(),
    )
    precision = trainer.precision.name
    return {"objective": objective, "epochs": epochs, "seed": seed, "precision": precision, **found.row()}


def _summary(rows: list[Row]) -> list[Row]:
    summary: list[Row] = []
    for objective in dict.fromkeys(row["objective"] for row in rows):
        of_it = [row for row in rows if row["objective"] == objective]
        accuracies, errors = ([float(row[key]) for row in of_it] for key in ("balanced_accuracy", "eer"))
        summary.append(
            {
                "objective": objective,
                "epochs": of_it[0]["epochs"],
                "seeds": len(of_it),
                "mean_balanced_accuracy": statistics.mean(accuracies),
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "mean_eer": statistics.mean(errors),
            }
        )
    return summary
