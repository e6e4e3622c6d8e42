"""`Calibration` turns a similarity into a probability for a stated share of positive pairs."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pairsim._common.choices import CalibrationMethod
from pairsim.models.verdict import OperatingPoint


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The evidence of a similarity, fitted on pairs that the model was not trained on.

    The evidence is the log-likelihood ratio log(density among positive pairs / density among negative pairs), which
    does not depend on how common positive pairs are. A probability does: log-odds = evidence + log(prior / (1 -
    prior)). `pairsim.calibrate` fits it.

    Attributes:
        method: `"platt"`: the evidence is a line; `"isotonic"`: any rising function, through `similarities` and
            `evidence`, linear between them and constant beyond.
        prior: Share of positive pairs in use, in (0, 1), that probabilities hold for.
        weight: Slope of the line; positive. Not used by `"isotonic"`.
        bias: Evidence at similarity 0. Not used by `"isotonic"`.
        similarities: Ascending, without ties. Empty for `"platt"`.
        evidence: At each of `similarities`, never falling; in nats.
        num_positive: Positive pairs that it was fitted on.
        num_negative: Negative pairs likewise.
        source: The data it was fitted on.
        operating_point: The threshold that was chosen with it.

    Raises:
        ValueError: If `prior` is not in (0, 1), or the function does not rise.

    Example:
        >>> calibration = Calibration(method="platt", prior=0.5, weight=10.0, bias=-5.0)
        >>> calibration.probability(torch.tensor([0.5])).tolist()
        [0.5]
        >>> round(calibration.with_prior(0.01).probability(torch.tensor([0.5])).item(), 4)
        0.01

    References:
        D. Ramos, J. Gonzalez-Rodriguez, Reliable support: measuring calibration of likelihood ratios, Forensic Science
        International 230, 2013.
    """

    method: CalibrationMethod
    prior: float
    weight: float = 0.0
    bias: float = 0.0
    similarities: tuple[float, ...] = ()
    evidence: tuple[float, ...] = ()
    num_positive: int = 0
    num_negative: int = 0
    source: str = ""
    operating_point: OperatingPoint | None = None

    def __post_init__(self) -> None:
        if self.method not in ("platt", "isotonic"):
            raise ValueError(f'Expected method to be "platt" or "isotonic", got {self.method!r}.')
        if not 0.0 < self.prior < 1.0:
            raise ValueError(
                f"Expected prior to be between 0 and 1, got {self.prior}. Give the share of positive pairs in use, "
                "such as 0.01."
            )
        if self.method == "platt":
            if not (self.weight > 0.0 and math.isfinite(self.weight) and math.isfinite(self.bias)):
                raise ValueError(
                    f"Expected probability to rise with similarity, got weight {self.weight} and bias {self.bias}. "
                    "Fit on pairs that the model can tell apart."
                )
        elif not self.similarities or len(self.similarities) != len(self.evidence):
            raise ValueError(
                f"Expected as many similarities as evidence, and at least one, got {len(self.similarities)} and "
                f"{len(self.evidence)}."
            )
        elif not (_rising(self.similarities, strictly=True) and _rising(self.evidence, strictly=False)):
            raise ValueError("Expected similarities to rise and evidence not to fall, got another order or NaN.")

    def log_likelihood_ratio(self, similarity: Tensor) -> Tensor:
        """Compute the evidence for "same class" in nats; it is positive if it supports it, for any prior.

        Args:
            similarity: Similarities of any shape, in [-1, 1].

        Returns:
            As many values of the same shape and dtype; NaN for NaN.
        """
        # float64, which MPS does not have: small differences in the tails matter when a prior is added
        values = similarity.detach().to("cpu" if similarity.device.type == "mps" else similarity.device).double()
        evidence = self.weight * values + self.bias if self.method == "platt" else self._interpolated(values)
        return evidence.to(similarity.device, dtype=similarity.dtype)

    def probability(self, similarity: Tensor) -> Tensor:
        """Compute the probability of "same class" if a share `prior` of pairs is positive.

        Args:
            similarity: Similarities of any shape, in [-1, 1].

        Returns:
            Probabilities of the same shape and dtype; NaN for NaN.
        """
        return torch.sigmoid(self.log_likelihood_ratio(similarity) + _logit(self.prior))

    def with_prior(self, prior: float) -> Calibration:
        """The same evidence for another share of positive pairs; the operating point does not change.

        Args:
            prior: Share of positive pairs, in (0, 1).
        """
        return dataclasses.replace(self, prior=prior)

    def similarity_at(self, probability: float = 0.5) -> float:
        """Return the lowest similarity whose probability is at least `probability`.

        Returns:
            The similarity, which may lie outside [-1, 1] for `"platt"`; infinite for `"isotonic"` if every or no
            similarity has that probability.
        """
        wanted = _logit(probability) - _logit(self.prior)
        if self.method == "platt":
            return (wanted - self.bias) / self.weight
        if wanted <= self.evidence[0]:
            return -math.inf
        if wanted > self.evidence[-1]:
            return math.inf
        index = bisect.bisect_left(self.evidence, wanted)
        (low, high), (below, above) = self.similarities[index - 1 : index + 1], self.evidence[index - 1 : index + 1]
        return low + (high - low) * (wanted - below) / (above - below)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`."""
        fields = dict(values)
        point = fields.pop("operating_point", None)
        for name in ("similarities", "evidence"):
            fields[name] = tuple(map(float, fields[name]))
        return cls(**fields, operating_point=None if point is None else OperatingPoint.from_dict(point))

    def __str__(self) -> str:
        text = (
            f"{self.method} calibration on {self.num_positive:,} positive and {self.num_negative:,} negative pairs"
            f"{f' ({self.source})' if self.source else ''}; probabilities hold where {self.prior:.4g} of pairs are "
            "positive"
        )
        return text if self.operating_point is None else f"{text}\n{self.operating_point}"

    def _interpolated(self, values: Tensor) -> Tensor:
        x, y = (values.new_tensor(points) for points in (self.similarities, self.evidence))
        if len(x) == 1:
            return y.expand(values.shape).where(~values.isnan(), values)
        inside = values.clamp(x[0], x[-1])
        right = torch.searchsorted(x, inside, right=True).clamp(1, len(x) - 1)
        left = right - 1
        share = (inside - x[left]) / (x[right] - x[left])
        return torch.lerp(y[left], y[right], share)


def _logit(probability: float) -> float:
    if not 0.0 < probability < 1.0:
        raise ValueError(f"Expected a probability between 0 and 1, got {probability}.")
    return math.log(probability) - math.log1p(-probability)


def _rising(values: tuple[float, ...], *, strictly: bool) -> bool:
    pairs = itertools.pairwise(values)
    return not math.isnan(values[0]) and all(a < b or (not strictly and a == b) for a, b in pairs)
