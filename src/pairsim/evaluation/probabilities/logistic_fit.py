"""Logistic regression on one score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_NEWTON_STEPS, _HALVINGS = 50, 30


class WeightedScores(NamedTuple):
    """Scores with their weights in a fit, all `[K]` in float64.

    Attributes:
        scores: The scores.
        weights: The weight of each score.
        positive: The part of that weight that is of the same class.
    """

    scores: Tensor
    weights: Tensor
    positive: Tensor


def fit_logistic(
    data: Callable[[], Iterable[WeightedScores]],
    start: tuple[float, float],
    *,
    ridge: float,
    tolerance: float,
    max_change: float = math.inf,
) -> tuple[float, float]:
    """Fit the weight and the bias of a logistic function by Newton's method.

    It minimizes the cross-entropy plus `ridge` / 2 x (weight^2 + bias^2). A step that does not lower this is halved.

    Args:
        data: Returns the scores, part by part; called once for each evaluation of the loss.
        start: Weight and bias to begin with.
        ridge: Keeps weight and bias finite where scores separate the two kinds of pairs.
        tolerance: The fit ends with a step that changes neither by as much.
        max_change: The most that weight or bias may change in one step.

    Returns:
        Weight and bias.
    """
    point = torch.tensor(start, dtype=torch.float64)
    loss, gradient, curvature = _derivatives(data(), point, ridge)
    for _ in range(_NEWTON_STEPS):
        newton = torch.linalg.solve(curvature, gradient)
        largest = float(newton.abs().max())
        step = newton * min(1.0, max_change / max(largest, 1e-12))
        if largest < tolerance:
            point = point - step
            break
        for _ in range(_HALVINGS):
            candidate, before = point - step, loss
            loss, gradient, curvature = _derivatives(data(), candidate, ridge)
            if loss <= before + 1e-12:  # beyond rounding
                break
            step, loss = step / 2, before
        point = candidate
    return float(point[0]), float(point[1])


def _derivatives(data: Iterable[WeightedScores], point: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss, its gradient `[2]` and its curvature `[2, 2]`."""
    identity = torch.eye(2, dtype=torch.float64) * ridge
    loss, gradient, curvature = point @ identity @ point / 2, identity @ point, identity
    for scores, weights, positive in data:
        features = torch.stack((scores, torch.ones_like(scores)))
        logits = point @ features
        probability = torch.sigmoid(logits)
        # By NumPy, whose log1p is much faster than that of PyTorch on a CPU.
        softplus = np.maximum(logits.numpy(), 0) + np.log1p(np.exp(-np.abs(logits.numpy())))
        loss = loss + weights @ torch.from_numpy(softplus) - positive @ logits
        gradient = gradient + features @ (weights * probability - positive)
        curvature = curvature + (features * (weights * probability * (1 - probability))) @ features.T
    return loss, gradient, curvature
