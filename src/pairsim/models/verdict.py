"""`Verdict` on a pair, and the `OperatingPoint` that a verdict uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """From JSON values, as `dataclasses.asdict` returns them."""
        fields = dict(values)
        for name in ("fmr_interval", "fnmr_interval"):
            if fields.get(name) is not None:
                low, high = fields[name]
                fields[name] = (low, high)
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
