"""Metrics, curves and intervals of scores and targets from any source.

Higher scores are more similar, **target 1 = same class**, and a pair is a match if `score >= threshold`.
"""

from pairsim.evaluation.curves.curve_metrics import average_precision as average_precision
from pairsim.evaluation.curves.curve_metrics import d_prime as d_prime
from pairsim.evaluation.curves.curve_metrics import det_curve as det_curve
from pairsim.evaluation.curves.curve_metrics import partial_roc_auc as partial_roc_auc
from pairsim.evaluation.curves.curve_metrics import roc_auc as roc_auc
from pairsim.evaluation.curves.curve_metrics import roc_curve as roc_curve
from pairsim.evaluation.curves.roc_curve import RocCurve as RocCurve
from pairsim.evaluation.decisions.decision_metrics import accuracy as accuracy
from pairsim.evaluation.decisions.decision_metrics import balanced_accuracy as balanced_accuracy
from pairsim.evaluation.decisions.decision_metrics import equal_error_rate as equal_error_rate
from pairsim.evaluation.decisions.decision_metrics import fmr_fnmr as fmr_fnmr
from pairsim.evaluation.decisions.decision_metrics import fnmr_at_fmr as fnmr_at_fmr
from pairsim.evaluation.decisions.operating_points import negatives_needed as negatives_needed
from pairsim.evaluation.decisions.operating_points import threshold_for_cost as threshold_for_cost
from pairsim.evaluation.decisions.operating_points import threshold_for_fmr as threshold_for_fmr
from pairsim.evaluation.errors.class_errors import Breakdown as Breakdown
from pairsim.evaluation.errors.class_errors import ClassErrors as ClassErrors
from pairsim.evaluation.errors.class_errors import ClassPairErrors as ClassPairErrors
from pairsim.evaluation.errors.class_errors import breakdown as breakdown
from pairsim.evaluation.errors.group_errors import GroupErrors as GroupErrors
from pairsim.evaluation.errors.group_errors import GroupReport as GroupReport
from pairsim.evaluation.errors.group_errors import group_errors as group_errors
from pairsim.evaluation.errors.group_rates import GroupRatio as GroupRatio
from pairsim.evaluation.errors.label_agreement import LabelAgreement as LabelAgreement
from pairsim.evaluation.errors.label_agreement import label_agreement as label_agreement
from pairsim.evaluation.errors.pair_errors import RankedPairs as RankedPairs
from pairsim.evaluation.errors.pair_errors import WorstPairs as WorstPairs
from pairsim.evaluation.errors.pair_errors import worst_pairs as worst_pairs
from pairsim.evaluation.few_shot import FewShotAccuracy as FewShotAccuracy
from pairsim.evaluation.few_shot import few_shot_accuracy as few_shot_accuracy
from pairsim.evaluation.identification import Searches as Searches
from pairsim.evaluation.pairs.pair_counts import PairCounts as PairCounts
from pairsim.evaluation.pairs.pair_counts import count_pair_scores as count_pair_scores
from pairsim.evaluation.pairs.pair_figures import PairFigures as PairFigures
from pairsim.evaluation.pairs.pair_scores import PairScores as PairScores
from pairsim.evaluation.pairs.pair_scores import all_pair_scores as all_pair_scores
from pairsim.evaluation.probabilities.isotonic import Isotonic as Isotonic
from pairsim.evaluation.probabilities.isotonic import fit_isotonic as fit_isotonic
from pairsim.evaluation.probabilities.platt import Logistic as Logistic
from pairsim.evaluation.probabilities.platt import fit_platt as fit_platt
from pairsim.evaluation.probabilities.priors import shift_prior as shift_prior
from pairsim.evaluation.probabilities.probability_metrics import brier_score as brier_score
from pairsim.evaluation.probabilities.probability_metrics import (
    expected_calibration_error as expected_calibration_error,
)
from pairsim.evaluation.probabilities.probability_metrics import log_loss as log_loss
from pairsim.evaluation.retrieval import RetrievalScores as RetrievalScores
from pairsim.evaluation.retrieval import map_at_r as map_at_r
from pairsim.evaluation.retrieval import mean_reciprocal_rank as mean_reciprocal_rank
from pairsim.evaluation.retrieval import precision_at_1 as precision_at_1
from pairsim.evaluation.retrieval import r_precision as r_precision
from pairsim.evaluation.retrieval import recall_at_k as recall_at_k
from pairsim.evaluation.retrieval import retrieval_scores as retrieval_scores
from pairsim.evaluation.uncertainty.clustered import image_level_intervals as image_level_intervals
from pairsim.evaluation.uncertainty.clustered import image_level_intervals_of_pairs as image_level_intervals_of_pairs
from pairsim.evaluation.uncertainty.k_fold import FoldAccuracy as FoldAccuracy
from pairsim.evaluation.uncertainty.k_fold import KFoldReport as KFoldReport
from pairsim.evaluation.uncertainty.k_fold import k_fold_accuracy as k_fold_accuracy
from pairsim.evaluation.uncertainty.resampling import Difference as Difference
from pairsim.evaluation.uncertainty.resampling import Resampled as Resampled
from pairsim.evaluation.uncertainty.resampling import bootstrap as bootstrap
from pairsim.evaluation.uncertainty.resampling import bootstrap_of_pairs as bootstrap_of_pairs
from pairsim.evaluation.uncertainty.resampling import paired_differences as paired_differences

__all__ = [name for name, value in sorted(globals().items()) if callable(value)]
