"""`GalleryCalibration`: the threshold of a gallery, and the error rates that searches have at it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairsim._common.arrays import check_share
from pairsim._common.json_files import json_value
from pairsim._common.numbers import similarity_threshold, whole_number

_STALE = 1.1
"""Identities to those of the calibration that are left, from which a gallery should be calibrated again."""


class PredictedFpir(NamedTuple):
    """The FPIR of a gallery of some size.

    Attributes:
        num_identities: Its size.
        fpir: Share of searches for unknown identities that find somebody.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    num_identities: float
    fpir: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class GalleryCalibration:
    """The threshold of a gallery, and what it was measured on.

    Attributes:
        threshold: Similarity that an identity has to reach.
        target_fpir: The FPIR that the threshold was chosen for.
        num_identities: Identities in the gallery then.
        predictions: The FPIR for galleries of this size and larger, sizes ascending.
        fnir: Share of searches for enrolled identities that do not find the right one, `None` if not measured.
        fnir_interval: Its 95 % interval.
        num_searches: Searches for unknown identities that the rates were measured on.
        num_unknown: Number of these identities.
        source: Where the searches are from.
        prior: Share of searches for enrolled identities, in (0, 1), that probabilities hold for.
        weight: Slope of the log-odds that the nearest identity is the right one, over similarity; `None` if not known.
        bias: Log-odds at similarity 0.
        num_images: Images in the gallery then that are in it still, its first ones. A gallery keeps this number and
            `num_left` as images are removed and replaced. `None` if an earlier version calibrated it.
        num_left: Identities in the gallery then that have one of these images; `None` likewise.

    Raises:
        ValueError: If numbers are not possible.
    """

    threshold: float
    target_fpir: float
    num_identities: int
    predictions: tuple[PredictedFpir, ...]
    num_searches: int
    num_unknown: int
    source: str
    prior: float
    fnir: float | None = None
    fnir_interval: tuple[float, float] | None = None
    weight: float | None = None
    bias: float = 0.0
    num_images: int | None = None
    num_left: int | None = None

    @property
    def fpir(self) -> float:
        """The FPIR at the threshold, in [0, 1]."""
        return self.predictions[0].fpir

    @property
    def fpir_interval(self) -> tuple[float, float]:
        """Its 95 % interval, for other unknown identities."""
        return self.predictions[0].low, self.predictions[0].high

    def fpir_at(self, num_identities: int) -> PredictedFpir | None:
        """Predict the FPIR at this threshold for a gallery of another size.

        Args:
            num_identities: Identities in the gallery.

        Returns:
            The rate and its interval; that of the calibrated size for smaller galleries. `None` for galleries more
            than 20 times as large.
        """
        sizes = [entry.num_identities for entry in self.predictions]
        if num_identities > sizes[-1]:
            return None
        above = next(index for index, size in enumerate(sizes) if num_identities <= size)
        if not above:
            return self.predictions[0]._replace(num_identities=num_identities)
        first, second = self.predictions[above - 1], self.predictions[above]
        share = math.log(num_identities / first[0]) / math.log(second[0] / first[0])
        rates = (a + share * (b - a) for a, b in zip(first[1:], second[1:], strict=True))
        return PredictedFpir(num_identities, *rates)

    def is_stale(self, num_identities: int) -> bool:
        """Return whether so many identities are new that a gallery should be calibrated again.

        They are if it has over 10 % more than are left of those of the calibration: if it has grown, or others replaced
        them. Removed identities alone are no reason, as the FPIR of those that are left is not higher.

        Args:
            num_identities: Identities in the gallery.
        """
        return num_identities > _STALE * (self.num_identities if self.num_left is None else self.num_left)

    def is_replaced(self, num_identities: int) -> bool:
        """Return whether it is stale because others replaced some of its identities: its rates need not hold for these.

        Args:
            num_identities: Identities in the gallery.
        """
        left = self.num_left
        return left is not None and left < self.num_identities and self.is_stale(num_identities)

    def probability(self, similarities: Tensor, num_identities: int) -> Tensor:
        """Compute the probability that the nearest identity is the right one.

        Args:
            similarities: To the nearest identity, of any shape.
            num_identities: Identities in the gallery. Each one more is one more that may be the nearest by chance.

        Returns:
            Of the same shape; NaN if it is not known.
        """
        if self.weight is None:
            return torch.full_like(similarities, math.nan)
        growth = math.log(max(num_identities, 1) / self.num_identities)
        return torch.sigmoid(self.weight * similarities.double() + self.bias - growth).to(similarities.dtype)

    def __post_init__(self) -> None:
        sizes = [entry.num_identities for entry in self.predictions]
        rates = [rate for entry in self.predictions for rate in entry[1:]]
        if not sizes or sizes[0] < 1 or sorted(set(sizes)) != sizes or not all(0.0 <= rate <= 1.0 for rate in rates):
            raise ValueError("Expected predictions for sizes that rise, with rates from 0 to 1, got others.")
        check_share(self.prior, "prior")
        similarity_threshold(self.threshold)
        whole_number(self.num_identities, "num_identities", 1)
        for name in ("num_images", "num_left"):
            if getattr(self, name) is not None:
                whole_number(getattr(self, name), name, 0)
        if self.weight is not None and not (self.weight >= 0.0 and math.isfinite(self.weight + self.bias)):
            raise ValueError(f"Expected probability not to fall with similarity, got weight {self.weight}.")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        values: dict[str, Any] = json_value(self)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GalleryCalibration:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If numbers are not possible; KeyError or TypeError if it has other fields.
        """
        entries = tuple(PredictedFpir(*map(float, entry)) for entry in values["predictions"])
        interval = values["fnir_interval"]
        return cls(
            **{
                **values,
                "threshold": float(values["threshold"]),
                "predictions": entries,
                "fnir_interval": None if interval is None else (float(interval[0]), float(interval[1])),
            }
        )

    def __str__(self) -> str:
        low, high = self.fpir_interval
        lines = [
            f"threshold {self.threshold:.4f} for an FPIR of at most {self.target_fpir:g}: "
            f"FPIR {self.fpir:.2%} [{low:.2%}, {high:.2%}] with {self.num_identities:,} identities, from "
            f"{self.num_searches:,} searches for {self.num_unknown:,} others ({self.source})"
        ]
        if self.fnir is not None and self.fnir_interval is not None:
            low, high = self.fnir_interval
            lines.append(f"FNIR {self.fnir:.2%} [{low:.2%}, {high:.2%}]: enrolled, but not found")
        return "\n".join(lines)
