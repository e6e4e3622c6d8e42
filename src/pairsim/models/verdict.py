"""`Verdict` on a pair, the `OperatingPoint` that a verdict uses, and models that give every pair the same verdict."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor

from pairsim._common.numbers import similarity_threshold
from pairsim._common.unit_similarity import MATCH_TOLERANCE, lowest_match
from pairsim.models.weight_names import check_weights

if TYPE_CHECKING:
    from pairsim.models.similarity_model import SimilarityModel

_warned: WeakKeyDictionary[SimilarityModel, str] = WeakKeyDictionary()


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the error rates that were measured at it.

    Attributes:
        threshold: Similarity from which a pair is a match.
        fmr: False match rate, the share of negative pairs at or above the threshold.
        fnmr: False non-match rate, the share of positive pairs below it.
        num_positive: Positive pairs that the rates were measured on.
        num_negative: Negative pairs likewise.
        source: The data of these pairs.
        criterion: How the threshold was chosen.
        fmr_interval: 95 % interval of the FMR for other images of the same classes; `None` if it was not computed.
        fnmr_interval: The same of the FNMR.
        data_sha256: SHA-256 of the images and their labels or pairs; empty if it is not known.
    """

    threshold: float
    fmr: float
    fnmr: float
    num_positive: int
    num_negative: int
    source: str
    criterion: str = "probability 0.5"
    fmr_interval: tuple[float, float] | None = None
    fnmr_interval: tuple[float, float] | None = None
    data_sha256: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """From JSON values, as `dataclasses.asdict` returns them."""
        fields = dict(values)
        for name in ("threshold", "fmr", "fnmr"):
            fields[name] = 1.0 * fields[name]  # a number, no text
        for name in ("fmr_interval", "fnmr_interval"):
            if fields.get(name) is not None:
                low, high = fields[name]
                fields[name] = (float(low), float(high))
        return cls(**fields)

    def __str__(self) -> str:
        rates = ", ".join(
            f"{name} {rate:.3%}" + (f" [{interval[0]:.3%}, {interval[1]:.3%}]" if interval is not None else "")
            for name, rate, interval in (("FMR", self.fmr, self.fmr_interval), ("FNMR", self.fnmr, self.fnmr_interval))
        )
        return f"threshold {self.threshold:.4f} for {self.criterion}: {rates}"


@dataclass(frozen=True)
class Verdict:
    """The decision on one pair of images.

    Attributes:
        match: Whether the similarity reaches the threshold, to within 2^-19 (see `pairsim._common.unit_similarity`).
        similarity: Cosine of the two embeddings, in [-1, 1].
        probability: That both show the same thing, in [0, 1]: from the model's calibration if it has one, else from its
            projection.
        threshold: The threshold that was used.
        fmr: False match rate measured at that threshold, or `None` if it was not measured there.
    """

    match: bool
    similarity: float
    probability: float
    threshold: float
    fmr: float | None

    def __str__(self) -> str:
        sign = ">=" if self.match else "<"
        seen = "" if self.fmr is None else f", where {self.fmr:.2%} of different held-out pairs match too"
        return (
            f"{'MATCH' if self.match else 'NO MATCH'}\nsimilarity {self.similarity:.4f} {sign} threshold "
            f"{self.threshold:.4f}{seen}; probability {self.probability:.4f}"
        )


def verdict_on(model: SimilarityModel, similarity: Tensor, threshold: float | None) -> Verdict:
    """Decide on one pair, given the similarity of its two embeddings; see `SimilarityModel.verify`.

    Args:
        model: The model that computed them.
        similarity: One number in [-1, 1].
        threshold: As for `verify`.

    Raises:
        ValueError: If the threshold is outside [-1, 1].
    """
    threshold = model.threshold if threshold is None else similarity_threshold(threshold)
    measured = model.operating_point
    return Verdict(
        match=similarity.item() >= lowest_match(threshold),
        similarity=similarity.item(),
        probability=model.probability(similarity).item(),
        threshold=threshold,
        fmr=measured.fmr if measured is not None and measured.threshold == threshold else None,
    )


def one_decision(model: SimilarityModel) -> str | None:
    """Return why a model gives every pair the same decision, as a clause; `None` if it is not known to.

    Example:
        >>> from pairsim.models import SimilarityModel
        >>> model = SimilarityModel()
        >>> one_decision(model) is None
        True
        >>> model.projection.bias.data.fill_(-20.0), one_decision(model)
        (tensor([-20.]), 'no similarity reaches its threshold 2.0000')
    """
    threshold, point = model.threshold, model.operating_point
    if math.isnan(threshold):
        return "it has no threshold, as its probability does not rise with similarity"
    if threshold > 1.0 + MATCH_TOLERANCE:
        return f"no similarity reaches its threshold {threshold:.4f}"
    if threshold < -1.0:
        return f"every similarity reaches its threshold {threshold:.4f}"
    if point is not None and {point.fmr, point.fnmr} == {0.0, 1.0}:
        which = "all" if point.fmr == 1.0 else "none"
        return f"at its threshold {threshold:.4f} {which} of the {point.source or 'measured pairs'} match"
    return None


def first_warning(model: SimilarityModel) -> str | None:
    """Return a warning that a model gives every pair the same decision, the first time for each reason."""
    reason = one_decision(model)
    if reason is None or _warned.get(model) == reason:
        return None
    _warned[model] = reason
    return (
        f"The model gives every pair the same decision: {reason}. Train it again, or choose a threshold by calibrate."
    )


def warn_of_one_decision(model: SimilarityModel) -> None:
    """Warn once that a model gives every pair the same decision.

    Raises:
        ValueError: If its projection is not finite.
    """
    check_weights(model.projection)
    text = first_warning(model)
    if text is not None:
        warnings.warn(text, UserWarning, stacklevel=3)
