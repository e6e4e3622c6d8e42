"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pairsim.errors import TrainingError

if TYPE_CHECKING:
    from pairsim.models import SimilarityModel
    from pairsim.training.config import ObjectiveFunction


def pairs_loss(model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of pairs.

    Args:
        model: For its projection from similarity to logit.
        embeddings: First images, then second images, unit length `[2N, D]`.
        targets: 1 = same class, 0 = different, float `[N]`.

    Returns:
        Scalar, float32.
    """
    first, second = embeddings.chunk(2)
    return functional.binary_cross_entropy_with_logits(model.logits((first * second).sum(dim=-1)), targets)


def all_pairs_loss(model: SimilarityModel, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of all N(N-1)/2 pairs of a batch, positives and negatives weighing one half each.

    The weights make probability 0.5 mean the same as with as many positive as negative pairs. A batch that has only
    one kind gives that kind all the weight there is, one half.

    Args:
        model: For its projection from similarity to logit.
        embeddings: Unit length `[N, D]`.
        labels: Class numbers `[N]`.

    Returns:
        Scalar, float32; 0 for a single image.
    """
    logits = model.logits(embeddings @ embeddings.T)
    # Every pair appears twice in the full matrix, which changes no mean; masks instead of selection keep all
    # shapes fixed, so that nothing waits for the device.
    other = 1.0 - torch.eye(len(labels), device=logits.device)
    same = (labels[:, None] == labels[None, :]).to(logits.dtype)
    positive, negative = same * other, 1.0 - same
    weights = 0.5 * (positive / positive.sum().clamp(min=1.0) + negative / negative.sum().clamp(min=1.0))
    return (weights * (functional.softplus(logits) - same * logits)).sum()


def function_loss(function: ObjectiveFunction, embeddings: Tensor, labels: Tensor) -> Tensor:
    """The loss of a user's function, checked to be one number.

    Raises:
        TrainingError: If it is not a tensor of one element.
    """
    loss = function(embeddings, labels)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise TrainingError(
            f"Expected the objective to return a scalar tensor, got {found}. Take the mean of its losses."
        )
    return loss.reshape(())
