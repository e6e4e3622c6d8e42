"""Quality after one pass over the training images, by loss, in pairsim's own loop.

Everything but the loss is the same: net, 54,000 images, class-balanced batches of the default size, Adam at 1e-2 with a
one-cycle learning rate, precision `auto`, seeds 0, 1 and 2, which take turns. "all-pairs" is pairsim's; the others are
those of pytorch-metric-learning, with the settings of its documentation, as any user can plug them in with
`TrainConfig(objective=loss)`.

Balanced accuracy is at probability 0.5 on all pairs of the test images. A loss that trains no projection from
similarity to probability gets one that pairsim fits on the 6,000 validation images, so no loss is judged at a threshold
that does not suit it. The equal error rate does not depend on that. As three seeds tell small differences from none
only roughly, all pairs and the best of the others go on to ten. With `--results DIR` runs that a file there has are not
trained again.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import metric_learning
from benchmarks.mnist import fit
from benchmarks.mnist_quality import SEEDS
from benchmarks.optional import missing
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.results import Results
from benchmarks.timing import Row

ALL_PAIRS = "all-pairs"
_BY_SEED = "Quality after one pass by seed"
MANY_SEEDS = 10
_T_975_OF_9 = 2.262157  # Student's t with MANY_SEEDS - 1 degrees of freedom


def run(options: Options) -> list[Table]:
    """Train and judge every loss with every seed."""
    seeds = SEEDS[:1] if options.quick else SEEDS
    epochs = options.epochs or 1
    makers = metric_learning.losses()
    rows: list[Row] = []
    fit(dataclasses.replace(options, quick=True), seed=0, epochs=1)  # loads kernels, reads files
    for seed in seeds:
        rows += [one(options, loss, makers, seed, epochs) for loss in (ALL_PAIRS, *makers)]
    found = summary(rows)
    notes = [
        "Balanced accuracy at probability 0.5 on all pairs of the test images. Points: balanced accuracy in percent, "
        "less that of all-pairs with the same seed; mean of seeds.",
    ]
    tables = [Table("Quality after one pass, mean and range over seeds", found, tuple(notes))]
    if makers:
        best = next(str(row["arm"]) for row in found if row["arm"] != ALL_PAIRS)
        pair = [row for row in rows if row["arm"] in (ALL_PAIRS, best)]
        for seed in range(len(seeds), 2 if options.quick else MANY_SEEDS):
            pair += [one(options, loss, makers, seed, epochs) for loss in (ALL_PAIRS, best)]
        tables.append(Table("The best two over more seeds", [difference(pair, best)], ("Paired by seed.",)))
        rows += [row for row in pair if row not in rows]
    else:
        notes.append(missing(metric_learning.PACKAGE))
    return [*tables, Table(_BY_SEED, rows, tuple(notes))]


def one(options: Options, loss: str, makers: Mapping[str, Any], seed: int, epochs: int) -> Row:
    """Train with a loss and judge, or take what `--results` has of it."""
    for row in () if options.results is None else Results.read(options.results).rows("losses", _BY_SEED) or ():
        if (row["arm"], row["seed"], row["epochs"]) == (loss, seed, epochs):
            return row
    print(f"losses: {loss}, seed {seed}", file=sys.stderr, flush=True)
    objective: Any = ALL_PAIRS if loss == ALL_PAIRS else makers[loss]()
    found = fit(options, seed=seed, epochs=epochs, objective=objective)
    return {
        "arm": loss,
        "seed": seed,
        "epochs": epochs,
        "precision": found.precision,
        "seconds": found.seconds,
        **found.quality.row(),
    }


def difference(rows: list[Row], other: str) -> Row:
    """All pairs less the other loss, in points, with the 95 % interval of the mean over seeds (Student's t)."""
    by_seed: dict[int, dict[str, float]] = {}
    for row in rows:
        by_seed.setdefault(int(row["seed"]), {})[str(row["arm"])] = 100 * float(row["balanced_accuracy"])
    points = [found[ALL_PAIRS] - found[other] for found in by_seed.values()]
    mean = statistics.mean(points)
    result: Row = {"arm": ALL_PAIRS, "against": other, "seeds": len(points), "points": mean}
    if len(points) == MANY_SEEDS:
        margin = _T_975_OF_9 * statistics.stdev(points) / math.sqrt(len(points))
        result |= {"points_low": mean - margin, "points_high": mean + margin}
    for arm in (ALL_PAIRS, other):
        result[f"mean_of_{'all_pairs' if arm == ALL_PAIRS else 'other'}"] = statistics.mean(
            found[arm] for found in by_seed.values()
        )
    return result


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
