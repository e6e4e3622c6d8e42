"""`PairFigures`: every metric of pairs as a method, however their scores are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pairsim._common.arrays import Float32Array, Float64Array
from pairsim.evaluation.curves.average_precision import average_precision
from pairsim.evaluation.curves.d_prime import d_prime
from pairsim.evaluation.curves.partial_roc_auc import partial_roc_auc
from pairsim.evaluation.curves.roc_auc import roc_auc
from pairsim.evaluation.curves.roc_curve import RocCurve, exact_curve
from pairsim.evaluation.decisions.accuracy import accuracy
from pairsim.evaluation.decisions.balanced_accuracy import balanced_accuracy
from pairsim.evaluation.decisions.equal_error import equal_error, equal_error_rate
from pairsim.evaluation.decisions.fmr_fnmr import fmr_fnmr
from pairsim.evaluation.decisions.fnmr_at_fmr import fnmr_at_fmr, lowest_fnmr
from pairsim.evaluation.pairs.ranked import IntArray, SplitScores, ToProbability
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

    def roc_curve(self, max_points: int | None = None) -> RocCurve:
        """Compute FMR and FNMR at every distinct score, or at a choice of them.

        Args:
            max_points: Highest number of points, at least 5; each is exact. They are dense where either error is small.
                None returns every point, which for all pairs of 10,000 images takes over a gigabyte.

        Returns:
            The curve, as of `evaluation.roc_curve`.

        Raises:
            ValueError: If `max_points` is below 5.
        """
        return exact_curve(self.ranked, max_points)

    def roc_auc(self) -> float:
        """Area under the ROC curve; see `evaluation.roc_auc`."""
        return roc_auc.of_pairs(self.ranked)

    def partial_roc_auc(self, max_fmr: float) -> float:
        """Standardised area up to an FMR of `max_fmr`, in (0, 1]; see `evaluation.partial_roc_auc`."""
        return partial_roc_auc.of_pairs(self.ranked, max_fmr)

    def average_precision(self) -> float:
        """Average precision; see `evaluation.average_precision`."""
        return average_precision.of_pairs(self.ranked)

    def d_prime(self) -> float:
        """Difference of the means in standard deviations; see `evaluation.d_prime`."""
        return d_prime.of_pairs(self.ranked)

    def accuracy(self, threshold: float) -> float:
        """Share of right decisions; see `evaluation.accuracy`."""
        return accuracy.of_pairs(self.ranked, threshold)

    def balanced_accuracy(self, threshold: float) -> float:
        """1 - (FMR + FNMR) / 2; see `evaluation.balanced_accuracy`."""
        return balanced_accuracy.of_pairs(self.ranked, threshold)

    def fmr_fnmr(self, threshold: float) -> tuple[float, float]:
        """False match rate and false non-match rate; see `evaluation.fmr_fnmr`."""
        return fmr_fnmr.of_pairs(self.ranked, threshold)

    def equal_error_rate(self) -> float:
        """Equal error rate; see `evaluation.equal_error_rate`."""
        return equal_error_rate.of_pairs(self.ranked)

    def equal_error_threshold(self) -> float:
        """Score that is the threshold with FMR and FNMR nearest to each other; NaN where the rate is NaN."""
        return equal_error(self.ranked)[1]

    def fnmr_at_fmr(self, fmr: float) -> float:
        """Lowest FNMR attained with an FMR of at most `fmr`, in [0, 1]; see `evaluation.fnmr_at_fmr`."""
        return fnmr_at_fmr.of_pairs(self.ranked, fmr)

    def threshold_at_fmr(self, fmr: float) -> float:
        """Find the threshold of `fnmr_at_fmr`.

        Args:
            fmr: Highest false match rate allowed, in [0, 1].

        Returns:
            The lowest score that keeps the FMR at or below `fmr`; just above all scores where none does. NaN without
            positive or without negative pairs, and where negative pairs at +inf let no threshold keep it.

        Raises:
            ValueError: If `fmr` is outside [0, 1].

        Example:
            >>> from pairsim.evaluation import PairScores
            >>> PairScores.from_scores([0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]).threshold_at_fmr(0.0)
            0.9
        """
        return lowest_fnmr(self.ranked, fmr)[1]

    def log_loss(self, probability: ToProbability) -> float:
        """Log-loss of `probability(score)`, in nats; see `evaluation.log_loss`.

        Args:
            probability: Maps float64 scores `[K]` to probabilities `[K]` element by element, as `Logistic` does. Scores
                come in chunks.

        Returns:
            The loss; NaN for no pairs.

        Raises:
            ValueError: If the function gives another shape or values outside [0, 1].
        """
        return log_loss.of_pairs(self.ranked, probability)

    def log_loss_by_target(self, probability: ToProbability) -> tuple[float, float]:
        """Log-loss over the positive and over the negative pairs; NaN over no pairs. See `log_loss`.

        The mean of both is the log-loss with positive and negative pairs weighing one half each.
        """
        return log_loss_by_target(self.ranked, probability)

    def brier_score(self, probability: ToProbability) -> float:
        """Brier score of `probability(score)`; see `log_loss` and `evaluation.brier_score`."""
        return brier_score.of_pairs(self.ranked, probability)

    def expected_calibration_error(self, probability: ToProbability, num_bins: int = 15) -> float:
        """Calibration error of `probability(score)`; see `log_loss` and `evaluation.expected_calibration_error`."""
        return expected_calibration_error.of_pairs(self.ranked, probability, num_bins)

    def calibration_bins(
        self, probability: ToProbability, num_bins: int = 15
    ) -> tuple[Float64Array, Float64Array, IntArray]:
        """Compute the points of a reliability diagram.

        Args:
            probability: Maps scores to probabilities; see `log_loss`.
            num_bins: Number of bins of equal width over [0, 1].

        Returns:
            Mean probability, share of positive pairs (both NaN for an empty bin) and number of pairs of each bin, each
            `[num_bins]`.

        Raises:
            ValueError: As in `log_loss`, or if `num_bins` is not a whole number of at least 1.
        """
        return calibration_bins(self.ranked, probability, num_bins)
