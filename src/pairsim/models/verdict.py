"""What a model has to say on a pair, and where it cuts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the error rates that were seen at it.

    Attributes:
        threshold: Cut on similarity: a pair is a match from here on upwards.
        fmr: False match rate, the share of negative pairs at or above the threshold.
        fnmr: False non-match rate, the share of positive pairs below it.
        num_positive: Positive pairs that the rates were measured on.
        num_negative: Negative pairs likewise.
        source: Which data that was.
    """

    threshold: float
    fmr: float
    fnmr: float
    num_positive: int
    num_negative: int
    source: str


@dataclass(frozen=True)
class Verdict:
    """The answer on one pair of images.

    Attributes:
        match: Whether `similarity >= threshold`.
        similarity: Cosine of the two embeddings, in [-1, 1].
        probability: That both show the same thing, by the model's projection, in [0, 1].
        threshold: The cut that was used.
        fmr: False match rate seen at that threshold, or `None` if it was not measured there.
    """

    match: bool
    similarity: float
    probability: float
    threshold: float
    fmr: float | None
