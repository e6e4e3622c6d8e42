"""`PairFigures`: every metric of pairs as a method, however their scores are kept."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from pairsim._common.arrays import Float32Array, Float64Array, check_count, check_fraction, check_threshold
from pairsim.evaluation.curves.roc_curve import RocCurve, exact_curve
from pairsim.evaluation.pairs.ranked import IntArray, SplitScores, ToProbability, ratio, weighted_sum


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
        positive, negative = self.ranked
        return ratio(positive.twice_above(negative), 2 * positive.size * negative.size)

    def partial_roc_auc(self, max_fmr: float) -> float:
        """Standardised area up to an FMR of `max_fmr`, in (0, 1]; see `evaluation.partial_roc_auc`."""
        positive, negative = self.ranked
        limit = check_fraction(max_fmr, "max_fmr")
        if limit == 0.0:
            raise ValueError(
                "Expected max_fmr above 0, got 0.0: there is no area there. Use fnmr_at_fmr(scores, targets, 0.0), or "
                "0.01."
            )
        if not (positive.size and negative.size):
            return math.nan
        # The curve rises in straight lines, one for each group of tied negatives. Those above the score at which FMR
        # passes the limit count whole, as in roc_auc; of the line at that score, the part below the limit. The area is
        # continuous in the limit, so that it does not matter on which side of a whole number the product is rounded.
        reached = limit * negative.size
        score = float(negative.at(negative.size - 1 - min(int(reached), negative.size - 1)))
        above = negative.above(score)
        tied = int(negative.matches(score)) - above.size
        twice = 2 * positive.size * above.size - above.twice_above(positive)
        share = (reached - above.size) / tied
        before, after = positive.above(score).size, int(positive.matches(score))
        area = twice / 2 + tied * share * (before + (after - before) * share / 2)
        # The area below the diagonal is limit^2 / 2, that without an error is limit.
        diagonal = limit * limit / 2
        return 0.5 * (1.0 + (area / (positive.size * negative.size) - diagonal) / (limit - diagonal))

    def average_precision(self) -> float:
        """Average precision; see `evaluation.average_precision`."""
        positive, negative = self.ranked
        sums = []
        for values, counts in positive.chunks():
            matches = positive.size - positive.below(values)
            false_matches = negative.size - negative.below(values)
            sums.append(weighted_sum(matches / (matches + false_matches), counts))
        return ratio(math.fsum(sums), positive.size)

    def d_prime(self) -> float:
        """Difference of the means in standard deviations; see `evaluation.d_prime`."""
        if not (self.num_positive and self.num_negative):
            return math.nan
        # The figure does not depend on the scale; on this one no square overflows.
        scale = max(abs(float(scores.values[end])) for scores in self.ranked for end in (0, -1))
        if not 0.0 < scale < math.inf:
            return math.nan
        (mean_positive, variance_positive), (mean_negative, variance_negative) = (
            scores.moments(scale) for scores in self.ranked
        )
        difference = mean_positive - mean_negative
        spread = math.sqrt((variance_positive + variance_negative) / 2)
        if spread == 0.0:
            return math.copysign(math.inf, difference) if difference else math.nan
        return difference / spread

    def accuracy(self, threshold: float) -> float:
        """Share of right decisions; see `evaluation.accuracy`."""
        errors = sum(self.ranked.error_counts(check_threshold(threshold)))
        return ratio(self.num_pairs - errors, self.num_pairs)

    def balanced_accuracy(self, threshold: float) -> float:
        """1 - (FMR + FNMR) / 2; see `evaluation.balanced_accuracy`."""
        return 1.0 - sum(self.fmr_fnmr(threshold)) / 2

    def fmr_fnmr(self, threshold: float) -> tuple[float, float]:
        """False match rate and false non-match rate; see `evaluation.fmr_fnmr`."""
        false_matches, false_non_matches = self.ranked.error_counts(check_threshold(threshold))
        return ratio(false_matches, self.num_negative), ratio(false_non_matches, self.num_positive)

    def equal_error_rate(self) -> float:
        """Equal error rate; see `evaluation.equal_error_rate`."""
        return self._equal_error()[0]

    def equal_error_threshold(self) -> float:
        """Score that is the threshold with FMR and FNMR nearest to each other; NaN where the rate is NaN."""
        return self._equal_error()[1]

    def _equal_error(self) -> tuple[float, float]:
        pairs, num_positive, num_negative = self.ranked, self.num_positive, self.num_negative
        if not (num_positive and num_negative):
            return math.nan, math.nan
        # The crossing lies on the step from the point `before` to the point `after`. The lowest score of all has FMR 1
        # and FNMR 0, so `after` exists; `before` may be the point where nothing matches.
        after_score = pairs.highest_reaching(0)
        before_score = pairs.lowest_above(after_score)
        after = pairs.error_counts(after_score)
        before = (0, num_positive) if before_score is None else pairs.error_counts(before_score)
        excess_after, excess_before = (fm * num_positive - fnm * num_negative for fm, fnm in (after, before))
        share = -excess_before / (excess_after - excess_before)
        rate = (before[0] + (after[0] - before[0]) * share) / num_negative
        return rate, after_score if before_score is None or excess_after <= -excess_before else before_score

    def fnmr_at_fmr(self, fmr: float = 0.001) -> float:
        """Lowest FNMR attained with an FMR of at most `fmr`, in [0, 1]; see `evaluation.fnmr_at_fmr`."""
        return self._lowest_fnmr(fmr)[0]

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
        return self._lowest_fnmr(fmr)[1]

    def _lowest_fnmr(self, fmr: float) -> tuple[float, float]:
        positive, negative = self.ranked
        target = check_fraction(fmr, "fmr")
        if not (positive.size and negative.size):
            return math.nan, math.nan
        allowed = int(target * negative.size)
        # The product may be rounded to the other side of a whole number; what counts is the rate as it is reported.
        while allowed < negative.size and (allowed + 1) / negative.size <= target:
            allowed += 1
        while allowed / negative.size > target:
            allowed -= 1
        if allowed == negative.size:
            return 0.0, float(min(positive.values[0], negative.values[0]))
        highest_rejected = float(negative.at(negative.size - 1 - allowed))
        threshold = self.ranked.lowest_above(highest_rejected)
        if threshold is None:
            # Just above all scores; but no threshold rejects a negative pair that scores +inf.
            dtype = negative.values.dtype
            above = float(np.nextafter(dtype.type(highest_rejected), dtype.type(np.inf)))
            threshold = above if highest_rejected < math.inf else math.nan
        return (positive.size - positive.above(highest_rejected).size) / positive.size, threshold

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
        losses = self.log_loss_by_target(probability)
        sums = [loss * scores.size for loss, scores in zip(losses, self.ranked, strict=True) if scores.size]
        return ratio(sum(sums), self.num_pairs)

    def log_loss_by_target(self, probability: ToProbability) -> tuple[float, float]:
        """Log-loss over the positive and over the negative pairs; NaN over no pairs. See `log_loss`.

        The mean of both is the log-loss with positive and negative pairs weighing one half each.
        """
        eps = float(np.finfo(np.float64).eps)
        positive, negative = self.ranked
        hits = (-weighted_sum(np.log(np.clip(p, eps, 1 - eps)), n) for p, n in positive.probability_chunks(probability))
        rejections = (
            -weighted_sum(np.log1p(-np.clip(p, eps, 1 - eps)), n) for p, n in negative.probability_chunks(probability)
        )
        return ratio(math.fsum(hits), positive.size), ratio(math.fsum(rejections), negative.size)

    def brier_score(self, probability: ToProbability) -> float:
        """Brier score of `probability(score)`; see `log_loss` and `evaluation.brier_score`."""
        sums = [
            weighted_sum(np.square(p - target), counts)
            for target, scores in zip((1, 0), self.ranked, strict=True)
            for p, counts in scores.probability_chunks(probability)
        ]
        return ratio(math.fsum(sums), self.num_pairs)

    def expected_calibration_error(self, probability: ToProbability, num_bins: int = 15) -> float:
        """Calibration error of `probability(score)`; see `log_loss` and `evaluation.expected_calibration_error`."""
        return mean_gap(*self.calibration_bins(probability, num_bins))

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
        check_count(num_bins, "num_bins", 1, 15)
        filled = np.zeros((2, num_bins), dtype=np.int64)
        sums = np.zeros(num_bins)
        for row, scores in enumerate(reversed(self.ranked)):
            for probabilities, counts in scores.probability_chunks(probability):
                bins = np.minimum((probabilities * num_bins).astype(np.int64), num_bins - 1)
                # As floats, the counts are exact below 2^53.
                filled[row] += np.bincount(bins, weights=counts, minlength=num_bins).astype(np.int64)
                weights = probabilities if counts is None else probabilities * counts
                sums += np.bincount(bins, weights=weights, minlength=num_bins)
        totals = filled.sum(axis=0)
        with np.errstate(invalid="ignore"):
            return sums / totals, filled[1] / totals, totals


def mean_gap(mean: Float64Array, rate: Float64Array, counts: IntArray) -> float:
    """Return the mean over pairs of |mean probability - share of positive pairs| of their bin."""
    filled = counts > 0
    return ratio(float((np.abs(mean - rate)[filled] * counts[filled]).sum()), int(counts.sum()))
