"""Wrong labels found: 2 % of MNIST's training labels flipped at random, and the audit's list of suspects.

All 60,000 images are audited as `pairsim.audit_labels` does by default: three models, each trained on two thirds of the
images, wrong labels among them, judge the third that they have not seen. With F labels flipped, the figure is the share
of flipped ones among the first F / 2 of the list; MNIST's own wrong labels count as mistakes of the audit.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import numpy.typing as npt

from benchmarks.mnist import load
from benchmarks.mnist_quality import SEEDS
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim import audit_labels

FLIPPED = 0.02


def run(options: Options) -> list[Table]:
    """Audit with flips of each seed."""
    images = load(options, "train").dataset
    rows: list[Row] = []
    for seed in SEEDS[:1] if options.quick else SEEDS:
        print(f"label-audit: seed {seed}", file=sys.stderr, flush=True)
        labels, flipped = with_flips(images.targets.astype(np.int64), seed)
        began = time.perf_counter()
        audit = audit_labels(images, labels=labels, seed=seed, progress=False)
        seconds = time.perf_counter() - began
        half = len(flipped) // 2
        rows.append(
            {
                "seed": seed,
                "images": len(labels),
                "flipped": len(flipped),
                "precision": float(np.isin(audit.images[:half], flipped).mean()),
                "recall_of_suspects": float(np.isin(flipped, audit.images[: audit.num_suspects]).mean()),
                "suspects": audit.num_suspects,
                "seconds": seconds,
            }
        )
    notes = ("Precision: of the first half as many images as were flipped. Recall: of all flips, among the suspects.",)
    return [Table("Label audit", rows, notes)]


def with_flips(labels: npt.NDArray[np.int64], seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Labels of which a share is replaced by another label, and the places of these."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(labels), size=round(FLIPPED * len(labels)), replace=False)
    classes = np.unique(labels)
    found = labels.copy()
    shift = rng.integers(1, len(classes), size=len(places))
    found[places] = classes[(np.searchsorted(classes, labels[places]) + shift) % len(classes)]
    return found, np.sort(places)
