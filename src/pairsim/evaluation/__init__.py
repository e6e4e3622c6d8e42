"""Metrics, curves and intervals of scores and targets from any source.

Higher scores are more similar, **target 1 = same class**, and a pair is a match if `score >= threshold`.
"""

from pairsim.evaluation.curves.average_precision import average_precision
from pairsim.evaluation.curves.d_prime import d_prime
from pairsim.evaluation.curves.partial_roc_auc import partial_roc_auc
from pairsim.evaluation.curves.roc_auc import roc_auc
from pairsim.evaluation.curves.roc_curve import RocCurve, det_curve, roc_curve
from pairsim.evaluation.decisions.accuracy import accuracy
from pairsim.evaluation.decisions.balanced_accuracy import balanced_accuracy
from pairsim.evaluation.decisions.equal_error import equal_error_rate
from pairsim.evaluation.decisions.fmr_fnmr import fmr_fnmr
from pairsim.evaluation.decisions.fnmr_at_fmr import fnmr_at_fmr
from pairsim.evaluation.decisions.operating_points import negatives_needed, threshold_for_cost, threshold_for_fmr
from pairsim.evaluation.errors.class_errors import Breakdown, ClassErrors, ClassPairErrors, breakdown
from pairsim.evaluation.errors.label_agreement import LabelAgreement, label_agreement
from pairsim.evaluation.errors.pair_errors import RankedPairs, WorstPairs, worst_pairs
from pairsim.evaluation.few_shot import FewShotAccuracy, few_shot_accuracy
from pairsim.evaluation.pairs.pair_counts import PairCounts, count_pair_scores
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.pair_scores import PairScores, all_pair_scores
from pairsim.evaluation.probabilities.brier_score import brier_score
from pairsim.evaluation.probabilities.calibration_error import expected_calibration_error
from pairsim.evaluation.probabilities.isotonic import Isotonic, fit_isotonic
from pairsim.evaluation.probabilities.log_loss import log_loss
from pairsim.evaluation.probabilities.platt import Logistic, fit_platt
from pairsim.evaluation.probabilities.priors import shift_prior
from pairsim.evaluation.retrieval import (
    RetrievalScores,
    map_at_r,
    mean_reciprocal_rank,
    precision_at_1,
    r_precision,
    recall_at_k,
    retrieval_scores,
)
from pairsim.evaluation.uncertainty.clustered import image_level_intervals, image_level_intervals_of_pairs
from pairsim.evaluation.uncertainty.k_fold import FoldAccuracy, KFoldReport, k_fold_accuracy
from pairsim.evaluation.uncertainty.paired_differences import Difference, paired_differences
from pairsim.evaluation.uncertainty.resampling import Resampled, bootstrap, bootstrap_of_pairs

__all__ = [
    "Breakdown",
    "ClassErrors",
    "ClassPairErrors",
    "Difference",
    "FewShotAccuracy",
    "FoldAccuracy",
    "Isotonic",
    "KFoldReport",
    "LabelAgreement",
    "Logistic",
    "PairCounts",
    "PairFigures",
    "PairScores",
    "RankedPairs",
    "Resampled",
    "RetrievalScores",
    "RocCurve",
    "WorstPairs",
    "accuracy",
    "all_pair_scores",
    "average_precision",
    "balanced_accuracy",
    "bootstrap",
    "bootstrap_of_pairs",
    "breakdown",
    "brier_score",
    "count_pair_scores",
    "d_prime",
    "det_curve",
    "equal_error_rate",
    "expected_calibration_error",
    "few_shot_accuracy",
    "fit_isotonic",
    "fit_platt",
    "fmr_fnmr",
    "fnmr_at_fmr",
    "image_level_intervals",
    "image_level_intervals_of_pairs",
    "k_fold_accuracy",
    "label_agreement",
    "log_loss",
    "map_at_r",
    "mean_reciprocal_rank",
    "negatives_needed",
    "paired_differences",
    "partial_roc_auc",
    "precision_at_1",
    "r_precision",
    "recall_at_k",
    "retrieval_scores",
    "roc_auc",
    "roc_curve",
    "shift_prior",
    "threshold_for_cost",
    "threshold_for_fmr",
    "worst_pairs",
]
