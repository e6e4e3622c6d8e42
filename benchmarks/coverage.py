"""How often 95 % intervals hold the truth, by simulation: 500 test sets whose true figures are known.

A test set is 300 images drawn from 10 classes, an image being its class's direction in 8 dimensions plus noise, more
for some images than for others, so that all pairs of an odd image suffer together. The truth is what 12,000 such images
give.
Three intervals are computed for each set and counted:

- resampled images: `pairsim.evaluation.bootstrap`;
- computed: `pairsim.evaluation.image_level_intervals`, which `evaluate` gives by default;
- pairs taken for independent, as is usual: the binomial interval for rates, that of DeLong for the AUC.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim.evaluation import PairScores, all_pair_scores, bootstrap, image_level_intervals

SETS, IMAGES, CLASSES, DIMENSIONS, TRUTH_IMAGES = 500, 300, 10, 8, 12_000
SPREAD = 0.45
FMR_AT_THRESHOLD, TARGET = 0.05, 0.01
RESAMPLES = 400

RESAMPLED, COMPUTED, INDEPENDENT = "resampled images", "computed", "pairs taken for independent"

Array = npt.NDArray[np.float32]


def run(options: Options) -> list[Table]:
    """Count how often the truth is inside."""
    sets = 20 if options.quick else SETS
    centres = np.random.default_rng(options.seed).normal(size=(CLASSES, DIMENSIONS))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    pairs = all_pair_scores(*draw(centres, 2_000 if options.quick else TRUTH_IMAGES, options.seed + 1))
    threshold = pairs.threshold_at_fmr(FMR_AT_THRESHOLD)
    truth = figures(pairs, threshold)
    inside: dict[str, dict[str, list[bool]]] = {}
    widths: dict[str, dict[str, list[float]]] = {}
    for number in range(sets):
        if number % 100 == 0:
            print(f"coverage: set {number} of {sets}", file=sys.stderr, flush=True)
        for arm, intervals in intervals_of(
            *draw(centres, IMAGES, options.seed + 2 + number), threshold, number
        ).items():
            for figure, (low, high) in intervals.items():
                inside.setdefault(arm, {}).setdefault(figure, []).append(low <= truth[figure] <= high)
                widths.setdefault(arm, {}).setdefault(figure, []).append(high - low)
    rows: list[Row] = [
        {
            "arm": arm,
            "figure": figure,
            "truth": truth[figure],
            "covered": float(np.mean(inside[arm][figure])),
            "median_width": float(np.median(widths[arm][figure])),
            "sets": sets,
        }
        for arm in inside
        for figure in inside[arm]
    ]
    notes = (
        f"{sets} test sets of {IMAGES} images of {CLASSES} classes; threshold at a true FMR of {FMR_AT_THRESHOLD:g}. "
        f"With {sets} sets, 95 % comes out between {_range(sets)}.",
    )
    return [Table("Share of 95 % intervals that hold the truth", rows, notes)]


def draw(centres: npt.NDArray[np.float64], num_images: int, seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """A test set: embeddings and labels."""
    rng = np.random.default_rng([seed, num_images])
    labels = rng.integers(len(centres), size=num_images)
    oddness = SPREAD * rng.gamma(4.0, 0.25, size=(num_images, 1))
    vectors = centres[labels] + oddness * rng.normal(size=(num_images, centres.shape[1]))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def figures(pairs: PairScores, threshold: float) -> dict[str, float]:
    """Those that intervals are counted for."""
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    return {
        "roc_auc": pairs.roc_auc(),
        "eer": pairs.equal_error_rate(),
        "fmr": fmr,
        "fnmr": fnmr,
        f"fnmr_at_fmr_{TARGET:g}": pairs.fnmr_at_fmr(TARGET),
    }


def intervals_of(
    embeddings: Array, labels: npt.NDArray[np.int64], threshold: float, seed: int
) -> Mapping[str, Mapping[str, tuple[float, float]]]:
    """The intervals of each arm."""
    pairs = all_pair_scores(embeddings, labels)
    wanted = figures(pairs, threshold)
    resampled = bootstrap(
        embeddings,
        labels,
        threshold,
        fmr_targets=(TARGET,),
        num_resamples=RESAMPLES,
        seed=seed,
        pair_scores=pairs,
    ).intervals()
    computed = image_level_intervals(embeddings, labels, threshold, pair_scores=pairs, fmr_targets=(TARGET,))
    return {
        RESAMPLED: {name: resampled[name] for name in wanted},
        COMPUTED: {name: computed[name] for name in wanted},
        INDEPENDENT: independent(pairs, threshold),
    }


def independent(pairs: PairScores, threshold: float) -> dict[str, tuple[float, float]]:
    """Intervals as if each pair were drawn by itself."""
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    found = {
        name: (rate, math.sqrt(rate * (1 - rate) / count))
        for name, rate, count in (("fmr", fmr, pairs.num_negative), ("fnmr", fnmr, pairs.num_positive))
    }
    below = np.searchsorted(pairs.negative, pairs.positive) / pairs.num_negative
    above = 1 - np.searchsorted(pairs.positive, pairs.negative, side="right") / pairs.num_positive
    variance = below.var(ddof=1) / pairs.num_positive + above.var(ddof=1) / pairs.num_negative
    found["roc_auc"] = (pairs.roc_auc(), math.sqrt(variance))
    factor = NormalDist().inv_cdf(0.975)
    return {name: (value - factor * error, value + factor * error) for name, (value, error) in found.items()}


def _range(sets: int) -> str:
    margin = 1.96 * math.sqrt(0.95 * 0.05 / sets)
    return f"{0.95 - margin:.1%} and {min(1.0, 0.95 + margin):.1%} by chance alone"
