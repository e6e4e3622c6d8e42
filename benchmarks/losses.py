"""Quality after one pass over the training images, by loss, in pairsim's own loop.

Everything but the loss is the same: net, 54,000 images, class-balanced batches of 256, Adam at 1e-2 with a one-cycle
learning rate, precision `auto`, seeds 0, 1 and 2, which take turns. "all-pairs" is pairsim's; the others are those of
pytorch-metric-learning, with the settings of its documentation, as any user can plug them in with
`TrainConfig(objective=loss)`.

Balanced accuracy is at probability 0.5 on all pairs of the test images. A loss that trains no projection from
similarity to probability gets one that pairsim fits on the 6,000 validation images, so no loss is judged at a threshold
that does not suit it. The equal error rate does not depend on that.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from typing import Any

from benchmarks import metric_learning
from benchmarks.mnist import fit
from benchmarks.mnist_quality import SEEDS
from benchmarks.optional import missing
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row

ALL_PAIRS = "all-pairs"


def run(options: Options) -> list[Table]:
    """Train and judge every loss with every seed."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    epochs = options.epochs or 1
    makers = metric_learning.losses()
    rows: list[Row] = []
    fit(dataclasses.replace(options, quick=True), seed=0, epochs=1)  # loads kernels, reads files
    for seed in seeds:
        for loss in (ALL_PAIRS, *makers):
            print(f"losses: {loss}, seed {seed}", file=sys.stderr, flush=True)
            objective: Any = ALL_PAIRS if loss == ALL_PAIRS else makers[loss]()
            found = fit(options, seed=seed, epochs=epochs, objective=objective)
            rows.append(
                {
                    "arm": loss,
                    "seed": seed,
                    "epochs": epochs,
                    "precision": found.precision,
                    "seconds": found.seconds,
                    **found.quality.row(),
                }
            )
    notes = [
        "Balanced accuracy at probability 0.5 on all pairs of the test images. Points: balanced accuracy in percent, "
        "less that of all-pairs with the same seed; mean of seeds.",
    ]
    if not makers:
        notes.append(missing(metric_learning.PACKAGE))
    return [
        Table("Quality after one pass, mean and range over seeds", summary(rows), tuple(notes)),
        Table("Quality after one pass by seed", rows),
    ]


def summary(rows: list[Row]) -> list[Row]:
    """One row for each loss, the best first."""
    own = {row["seed"]: float(row["balanced_accuracy"]) for row in rows if row["arm"] == ALL_PAIRS}
    found: list[Row] = []
    for loss in dict.fromkeys(row["arm"] for row in rows):
        of_it = [row for row in rows if row["arm"] == loss]
        accuracies = [float(row["balanced_accuracy"]) for row in of_it]
        found.append(
            {
                "arm": loss,
                "seeds": len(of_it),
                "mean_balanced_accuracy": statistics.mean(accuracies),
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "mean_eer": statistics.mean(float(row["eer"]) for row in of_it),
                "points": 100 * statistics.mean(float(row["balanced_accuracy"]) - own[row["seed"]] for row in of_it),
                "seconds": statistics.median(float(row["seconds"]) for row in of_it),
            }
        )
    return sorted(found, key=lambda row: -float(row["mean_balanced_accuracy"]))
