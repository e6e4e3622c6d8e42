"""The figures that intervals are computed for, and the pairs of images that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pairsim._common.arrays import BoolArray, Float64Array, Values, image_codes, scores_and_targets
from pairsim.evaluation.pairs.pair_figures import PairFigures
from pairsim.evaluation.pairs.pair_scores import PairScores
from pairsim.evaluation.pairs.ranked import IntArray


class ImagePairs(NamedTuple):
    """Scores of pairs with their images.

    Attributes:
        scores: Score of each pair `[P]`.
        same: True for a positive pair `[P]`.
        first: Number of one image of each pair `[P]`, from 0.
        second: Number of the other image `[P]`, not below that of the first one.
        num_images: Number of images.
        pairs: The scores without the images.
    """

    scores: Float64Array
    same: BoolArray
    first: IntArray
    second: IntArray
    num_images: int
    pairs: PairScores


def image_pairs(scores: Values, targets: Values, first: Values, second: Values) -> ImagePairs:
    """Check scores, targets and images of pairs; see `scores_and_targets` and `image_codes`."""
    values, same = scores_and_targets(scores, targets)
    return ImagePairs(values, same, *image_codes(first, second, values.size), PairScores.from_scores(values, same))


def fnmr_name(fmr: float) -> str:
    """Return the key of the FNMR at an FMR."""
    return f"fnmr_at_fmr_{fmr:g}"


def point_estimates(pairs: PairFigures, threshold: float, fmr_targets: Sequence[float]) -> dict[str, float]:
    """Compute the figures that get intervals."""
    fmr, fnmr = pairs.fmr_fnmr(threshold)
    return {
        "accuracy": pairs.accuracy(threshold),
        "balanced_accuracy": pairs.balanced_accuracy(threshold),
        "eer": pairs.equal_error_rate(),
        "fmr": fmr,
        "fnmr": fnmr,
        "roc_auc": pairs.roc_auc(),
        **{fnmr_name(target): pairs.fnmr_at_fmr(target) for target in fmr_targets},
    }
