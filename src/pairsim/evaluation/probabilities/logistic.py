"""The logistic function from score to probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pairsim._common.arrays import Float64Array


@dataclass(frozen=True)
class Logistic:
    """The function from score to probability 1 / (1 + exp(-(weight x score + bias))), in float64.

    Attributes:
        weight: Factor on the score.
        bias: Added to it.

    Example:
        >>> Logistic(10.0, -5.0)(np.array([0.5])).tolist()
        [0.5]
    """

    weight: float
    bias: float

    def __call__(self, scores: Float64Array) -> Float64Array:
        """Map scores of any shape to probabilities of the same shape; NaN stays NaN."""
        logits = self.weight * scores
        logits += self.bias
        # exp(700) is still finite, and its reciprocal is far below any clipping.
        np.clip(logits, -700.0, 700.0, out=logits)
        np.negative(logits, out=logits)
        np.exp(logits, out=logits)
        logits += 1.0
        return np.reciprocal(logits, out=logits)
