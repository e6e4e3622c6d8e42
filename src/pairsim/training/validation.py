"""Validation loss and accuracy, the same for every objective, and the projection of the saved model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pairsim.evaluation.probabilities.logistic_fit import WeightedScores, fit_logistic
from pairsim.models import OperatingPoint, SimilarityModel

Parts: TypeAlias = list[tuple[Tensor, Tensor]]
"""Similarities of validation pairs, part by part: of positive and of negative pairs, each `[n]`."""

_ROWS = 1024  # rows of the similarity matrix in memory at a time
_MIN_ERRORS = 20
"""Wrong decisions of either kind that fitting a projection needs: with fewer it would fit noise."""


@dataclass(frozen=True)
class Validation:
    """Results on validation pairs; positive and negative pairs have weight one half each.

    Attributes:
        loss: Binary cross-entropy of the model's probabilities.
        balanced_accuracy: Mean of the two accuracies at probability one half.
        fmr: Share of negative pairs at or above probability one half; NaN without negative pairs.
        fnmr: Share of positive pairs below it; NaN without positive pairs.
        num_positive: Positive pairs.
        num_negative: Negative pairs.
    """

    loss: float
    balanced_accuracy: float
    fmr: float
    fnmr: float
    num_positive: int
    num_negative: int

    def operating_point(self, model: SimilarityModel) -> OperatingPoint | None:
        """Return the similarity of probability one half as a threshold, or `None` if there is none."""
        weight, bias = model.projection.weight.item(), model.projection.bias.item()
        if weight <= 0 or not self.num_positive or not self.num_negative:
            return None
        counts = self.num_positive, self.num_negative
        return OperatingPoint(-bias / weight, self.fmr, self.fnmr, *counts, source="validation pairs")


def given_pairs(embeddings: Tensor, first: Tensor, second: Tensor, positive: Tensor) -> Parts:
    """Compute the similarities of given pairs, in one part.

    Args:
        embeddings: `[N, D]`.
        first: Index of each first embedding `[n]`.
        second: Index of each second embedding `[n]`.
        positive: Whether the classes are the same `[n]`.
    """
    similarity = (embeddings[first] * embeddings[second]).sum(dim=-1)
    positive = positive.to(similarity.device)
    return [(similarity[positive], similarity[~positive])]


def all_pairs(embeddings: Tensor, labels: Tensor) -> Parts:
    """Compute the similarities of all pairs, in parts of some rows.

    Args:
        embeddings: `[N, D]`.
        labels: Class numbers `[N]`.
    """
    order = torch.argsort(labels, stable=True)
    labels, ordered = labels[order].to(embeddings.device), embeddings[order.to(embeddings.device)]
    parts = []
    for start in range(0, len(labels), _ROWS):
        rows = labels[start : start + _ROWS]
        similarity = ordered[start : start + _ROWS] @ ordered[start:].T
        # Sorted by class, all columns after the class of the last row are negative pairs: a slice, without a mask.
        span = int(torch.searchsorted(labels, rows[-1:], right=True)) - start
        near = similarity[:, :span]
        later = torch.ones_like(near, dtype=torch.bool).triu(diagonal=1)
        same = rows[:, None] == labels[None, start : start + span]
        parts.append((near[later & same], near[later & ~same]))
        parts.append((near[:0, 0], similarity[:, span:].reshape(-1)))
    return parts


def validate(model: SimilarityModel, parts: Parts) -> Validation:
    """Compute loss and accuracy of a model's projection on similarities.

    Args:
        model: For its projection.
        parts: Similarities of positive and negative pairs.

    Returns:
        The results. With only one kind of pairs, loss and accuracy are of that kind.
    """
    sums = torch.zeros(2, 2, dtype=torch.float64)
    counts = [0, 0]
    with torch.no_grad():
        for kinds in parts:
            for kind, similarity in enumerate(kinds):
                logits = model.logits(similarity)
                sums[kind, 0] += _sum_of_softplus(-logits if kind == 0 else logits)
                sums[kind, 1] += (logits < 0 if kind == 0 else logits >= 0).sum().cpu()
                counts[kind] += len(similarity)
    losses = [float(sums[kind, 0]) / counts[kind] for kind in (0, 1) if counts[kind]]
    errors = [float(sums[kind, 1]) / counts[kind] if counts[kind] else float("nan") for kind in (0, 1)]
    accuracy = 1.0 - float(np.nanmean(errors))
    return Validation(sum(losses) / len(losses), accuracy, errors[1], errors[0], counts[0], counts[1])


def _sum_of_softplus(values: Tensor) -> float:
    """Sum log(1 + exp(x)); on the CPU with NumPy, as PyTorch's log1p takes eight times as long there."""
    if values.device.type != "cpu":
        return float(functional.softplus(values).sum(dtype=torch.float64))
    x = values.numpy()
    return float((np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))).sum(dtype=np.float64))


@contextlib.contextmanager
def fitted_projection(model: SimilarityModel, parts: Parts, validation: Validation) -> Iterator[Validation]:
    """Fit the projection to validation pairs for the duration of the context, for saving the model with it.

    The trained projection is fitted to training images, which are easier than others, so its probabilities are too
    close to 0 and 1. With too few wrong validation pairs the projection is not fitted.

    Args:
        model: Its projection is changed, and restored afterwards.
        parts: Similarities of the validation pairs.
        validation: Results of `validate` with the trained projection.

    Yields:
        Results of `validate` with the fitted projection.
    """
    errors = validation.fmr * validation.num_negative, validation.fnmr * validation.num_positive
    if not all(count >= _MIN_ERRORS for count in errors):  # NaN where there are no pairs of a kind
        yield validation
        return
    trained = {name: value.clone() for name, value in model.projection.state_dict().items()}
    try:
        fit_projection(model, parts)
        yield validate(model, parts)
    finally:
        model.projection.load_state_dict(trained)


def fit_projection(model: SimilarityModel, parts: Parts) -> None:
    """Fit the projection by logistic regression.

    Positive and negative pairs weigh one half each. Similarities are counted in 4,096 bins, so that the cost does not
    grow with Newton's steps; a little ridge keeps separable data finite.

    References:
        Platt: Probabilistic outputs for support vector machines, 1999.
    """
    bins = 4096
    counts = torch.zeros(2, bins, dtype=torch.float64)
    for kinds in parts:
        for kind, similarity in enumerate(kinds):
            place = ((similarity.clamp(-1, 1) + 1) * (bins / 2)).long().clamp(max=bins - 1)
            counts[kind] += torch.bincount(place, minlength=bins).cpu()
    if not bool((counts.sum(dim=1) > 0).all()):
        return
    share = counts / counts.sum(dim=1, keepdim=True) / 2
    centers = (torch.arange(bins, dtype=torch.float64) + 0.5) * (2 / bins) - 1
    binned = WeightedScores(centers, weights=share[0] + share[1], positive=share[0])
    weight, bias = fit_logistic(lambda: [binned], (10.0, -5.0), ridge=1e-6, tolerance=1e-10, max_change=5.0)
    with torch.no_grad():
        model.projection.weight.fill_(weight)
        model.projection.bias.fill_(bias)
