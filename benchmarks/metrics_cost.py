"""Seconds and memory of evaluation on all pairs, each in a fresh process: 10,000 images, and 60,000.

Embeddings have 128 dimensions and gather around ten classes, as far apart as MNIST's after training. Memory is the peak
of the process less what it held before the scores were computed, embeddings included.

- every metric: AUC, partial AUC, EER, FNMR at four FMRs, balanced accuracy, average precision, d-prime, log-loss,
  Brier score, calibration error, and a curve of 1,000 points, from embeddings;
- intervals: for AUC, EER, FNMR at FMR and the rates at a threshold, computed, and from resampled images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.subprocesses import run_fresh
from benchmarks.timing import Row, Spread

_CODE = """
import json, sys
from benchmarks import metrics_cost
print(json.dumps(metrics_cost.measure(sys.argv[1], int(sys.argv[2]))))
"""
METRICS, COMPUTED, RESAMPLED = "every metric", "intervals, computed", "intervals, images resampled 1,000 times"
ARMS = ((METRICS, 10_000), (COMPUTED, 10_000), (RESAMPLED, 10_000), (METRICS, 60_000))
TARGETS = (0.1, 0.01, 0.001, 0.0001)


def run(options: Options) -> list[Table]:
    """Measure each in its own process."""
    rows: list[Row] = []
    for what, all_images in ARMS:
        images = all_images // 20 if options.quick else all_images
        rounds = options.rounds or (3 if images <= 10_000 and not options.quick else 1)
        print(f"metrics-cost: {what}, {images}", file=sys.stderr, flush=True)
        found = [run_fresh(_CODE, what, str(images)) for _ in range(rounds)]
        seconds = Spread.of([run["seconds"] for run in found])
        rows.append(
            {
                "arm": what,
                "images": images,
                "pairs": images * (images - 1) // 2,
                "seconds": seconds.median,
                "seconds_low": seconds.low,
                "seconds_high": seconds.high,
                "runs": rounds,
                "peak_added_MB": max(run["bytes"] for run in found) / 1e6,
            }
        )
    return [Table("Evaluation of all pairs", rows)]


# What follows runs in the fresh process.


def measure(what: str, images: int) -> dict[str, Any]:
    """Seconds and bytes of one arm."""
    import time

    from benchmarks.loss_memory import resident_bytes

    arms: dict[str, Callable[[Any, Any], object]] = {
        METRICS: every_metric,
        COMPUTED: computed_intervals,
        RESAMPLED: resampled_intervals,
    }
    arm = arms[what]
    arm(*embeddings(200))  # imports, threads, kernels
    before = resident_bytes("VmRSS")
    vectors, labels = embeddings(images)
    began = time.perf_counter()
    arm(vectors, labels)
    return {"seconds": time.perf_counter() - began, "bytes": max(resident_bytes("VmHWM") - before, 0)}


def embeddings(images: int, dim: int = 128, classes: int = 10) -> tuple[Any, Any]:
    """Unit length `[N, D]` float32, and labels `[N]`."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    centres = rng.normal(size=(classes, dim)).astype(np.float32)
    vectors = centres[labels] + 0.6 * rng.normal(size=(images, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, labels


def every_metric(vectors: Any, labels: Any) -> object:
    """All figures of the scores of all pairs."""
    from pairsim.evaluation import Logistic
    from pairsim.verification.scoring import all_scores

    pairs = all_scores(vectors, labels)
    probability = Logistic(10.0, -5.0)
    return (
        pairs.roc_curve(1000),
        pairs.roc_auc(),
        pairs.partial_roc_auc(0.01),
        pairs.equal_error_rate(),
        [pairs.fnmr_at_fmr(target) for target in TARGETS],
        pairs.balanced_accuracy(0.5),
        pairs.average_precision(),
        pairs.d_prime(),
        pairs.log_loss(probability),
        pairs.brier_score(probability),
        pairs.expected_calibration_error(probability),
    )


def computed_intervals(vectors: Any, labels: Any) -> object:
    """Intervals that `evaluate` gives by default."""
    from pairsim.evaluation import image_level_intervals

    return image_level_intervals(vectors, labels, 0.5, fmr_targets=TARGETS)


def resampled_intervals(vectors: Any, labels: Any) -> object:
    """Intervals from resampled images."""
    from pairsim.evaluation import bootstrap

    return bootstrap(vectors, labels, 0.5, fmr_targets=TARGETS, num_resamples=1000).intervals()
