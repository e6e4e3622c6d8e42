"""`PairFigures`: every metric of pairs as a method, however their scores are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pairsim._common.arrays import Float32Array
from pairsim.evaluation.curves.average_precision import average_precision
from pairsim.evaluation.curves.d_prime import d_prime
from pairsim.evaluation.curves.partial_roc_auc import partial_roc_auc
from pairsim.evaluation.curves.roc_auc import roc_auc
from pairsim.evaluation.curves.roc_curve import exact_curve
from pairsim.evaluation.decisions.accuracy import accuracy
from pairsim.evaluation.decisions.balanced_accuracy import balanced_accuracy
from pairsim.evaluation.decisions.equal_error import equal_error_rate, equal_error_threshold
from pairsim.evaluation.decisions.fmr_fnmr import fmr_fnmr
from pairsim.evaluation.decisions.fnmr_at_fmr import fnmr_at_fmr, threshold_at_fmr
from pairsim.evaluation.pairs.pair_metric import as_method
from pairsim.evaluation.pairs.ranked import SplitScores
from pairsim.evaluation.probabilities.brier_score import brier_score
from pairsim.evaluation.probabilities.calibration_error import calibration_bins, expected_calibration_error
from pairsim.evaluation.probabilities.log_loss import log_loss, log_loss_by_target


class PairFigures(ABC):
    """Every metric over pairs, for both forms of their scores: `PairScores` and `PairCounts`.

    A pair is called a match when its score is at least the threshold.

    Example:
        >>> from pairsim.evaluation import PairScores
        >>> pairs: PairFigures = PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0])
        >>> pairs.num_pairs, pairs.roc_auc(), pairs.fmr_fnmr(0.3)
        (4, 0.75, (0.5, 0.0))
    """

    @property
    @abstractmethod
    def ranked(self) -> SplitScores:
        """Scores of the positive and of the negative pairs, from which the metrics are computed."""

    def _round(self, scores: Float32Array) -> Float32Array:
        """Round scores in place to what this form keeps of them."""
        return scores

    roc_curve = as_method(exact_curve)
    roc_auc = as_method(roc_auc)
    partial_roc_auc = as_method(partial_roc_auc)
    average_precision = as_method(average_precision)
    d_prime = as_method(d_prime)
    accuracy = as_method(accuracy)
    balanced_accuracy = as_method(balanced_accuracy)
    fmr_fnmr = as_method(fmr_fnmr)
    equal_error_rate = as_method(equal_error_rate)
    equal_error_threshold = as_method(equal_error_threshold)
    fnmr_at_fmr = as_method(fnmr_at_fmr)
    threshold_at_fmr = as_method(threshold_at_fmr)
    log_loss = as_method(log_loss)
    log_loss_by_target = as_method(log_loss_by_target)
    brier_score = as_method(brier_score)
    expected_calibration_error = as_method(expected_calibration_error)
    calibration_bins = as_method(calibration_bins)

    @property
    def num_positive(self) -> int:
        """Number of pairs of the same class."""
        return self.ranked[0].size

    @property
    def num_negative(self) -> int:
        """Number of pairs of different classes."""
        return self.ranked[1].size

    @property
    def num_pairs(self) -> int:
        """Number of pairs."""
        return self.num_positive + self.num_negative
