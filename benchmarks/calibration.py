"""Calibration and operating points on MNIST: chosen on validation images, judged on test images.

Models are those of `quality` (objective "all-pairs", 2 epochs, seeds 0, 1 and 2): with `--runs DIR` they are taken from
there, else trained. Each is calibrated on all pairs of the 6,000 images that its run kept for validation, and judged on
all pairs of the 10,000 test images, which nothing was chosen by:

- probabilities before and after, at the share of positive pairs that validation pairs have, one in ten;
- stated for 1 % of positive pairs, on the test pairs with positive ones weighing 1 % together;
- a threshold for a false match rate of 0.1 %, with the interval that is stored beside it.
"""

from __future__ import annotations

import copy
import math
import sys
import tempfile
from pathlib import Path

from benchmarks.mnist import load, split_as_trainer
from benchmarks.mnist_quality import RECIPES, SEEDS, trained_run
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import Row
from pairsim import Calibration, SimilarityModel, calibrate
from pairsim.data.image_sets import subset
from pairsim.evaluation import PairFigures
from pairsim.verification.model_calibration import fit_calibration
from pairsim.verification.model_evaluation import to_probability
from pairsim.verification.scoring import score_pairs

PRIOR, TARGET_FMR = 0.01, 0.001


def run(options: Options) -> list[Table]:
    """Calibrate and judge a model of each seed."""
    probabilities: list[Row] = []
    shifted: list[Row] = []
    thresholds: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in SEEDS[:1] if options.quick else SEEDS:
            print(f"calibration: seed {seed}", file=sys.stderr, flush=True)
            model = trained_run(options, options.runs or Path(temporary), RECIPES[0], seed)
            train = load(options, "train").dataset
            held = subset(train, split_as_trainer(train, seed)[1])
            test = score_pairs(model, load(options, "test").dataset)
            validation = score_pairs(model, held)
            probabilities += [
                {"arm": arm, "seed": seed, **quality(with_calibration(model, found), test.pairs)}
                for arm, found in {
                    "not calibrated": None,
                    "platt": fit_calibration(validation),
                    "isotonic": fit_calibration(validation, method="isotonic"),
                }.items()
            ]
            shifted += [
                {"arm": arm, "seed": seed, "log_loss": weighted_log_loss(with_calibration(model, found), test.pairs)}
                for arm, found in {
                    "not calibrated": None,
                    "platt, as validation pairs are mixed": fit_calibration(validation),
                    "platt, prior=0.01": fit_calibration(validation, prior=PRIOR),
                    "isotonic, as validation pairs are mixed": fit_calibration(validation, method="isotonic"),
                    "isotonic, prior=0.01": fit_calibration(validation, method="isotonic", prior=PRIOR),
                }.items()
            ]
            point = calibrate(model, held, target_fmr=TARGET_FMR).operating_point
            assert point is not None
            assert point.fmr_interval is not None
            fmr, fnmr = test.pairs.fmr_fnmr(point.threshold)
            low, high = point.fmr_interval
            thresholds.append(
                {
                    "seed": seed,
                    "threshold": point.threshold,
                    "validation_fmr": point.fmr,
                    "interval_low": low,
                    "interval_high": high,
                    "test_fmr": fmr,
                    "test_fnmr": fnmr,
                    "inside": "yes" if low <= fmr <= high else "no",
                }
            )
    return [
        Table("Probabilities on all test pairs", probabilities, ("ECE with 15 bins; log-loss in nats.",)),
        Table("Log-loss where 1 % of pairs are positive", shifted, ("All test pairs, positive ones weighing 1 %.",)),
        Table("A threshold for a false match rate of 0.1 %", thresholds, ("Chosen on validation pairs.",)),
    ]


def with_calibration(model: SimilarityModel, calibration: Calibration | None) -> SimilarityModel:
    """The model with another calibration."""
    found = copy.copy(model)
    found.calibration = calibration
    return found


def quality(model: SimilarityModel, pairs: PairFigures) -> Row:
    """Of a model's probabilities."""
    probability = to_probability(model)
    return {
        "ece": pairs.expected_calibration_error(probability),
        "log_loss": pairs.log_loss(probability),
        "brier": pairs.brier_score(probability),
    }


def weighted_log_loss(model: SimilarityModel, pairs: PairFigures) -> float:
    """Log-loss with positive pairs weighing `PRIOR` together."""
    probability = to_probability(model)
    of_positive, of_negative = pairs.log_loss_by_target(probability)
    return math.fsum((PRIOR * of_positive, (1 - PRIOR) * of_negative))
