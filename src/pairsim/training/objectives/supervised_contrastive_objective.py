"""Objective "supervised-contrastive": each image of a batch is told apart from all others but those of its class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pairsim.models import SimilarityModel
from pairsim.training.objectives.objective import ClassBalancedObjective


@dataclass(kw_only=True)
class SupervisedContrastiveObjective(ClassBalancedObjective):
    """The loss of `supervised_contrastive_loss`."""

    trains_projection = False

    temperature: float

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """Compute the loss of a batch."""
        return supervised_contrastive_loss(embeddings, targets, temperature=self.temperature)


def supervised_contrastive_loss(embeddings: Tensor, labels: Tensor, *, temperature: float = 0.05) -> Tensor:
    """Mean over images and their positive pairs of `-log softmax(similarity / temperature)` among all other images.

    The softmax concentrates on the negative pairs of highest similarity, so that the loss is mostly of look-alikes;
    the cross-entropy of all pairs weighs all negative pairs alike. Memory grows with the square of N.

    Args:
        embeddings: Unit length `[N, D]`, computed in float32, or in float64 if they are float64.
        labels: Class numbers `[N]`, integers. An image without another of its class serves in negative pairs only.
        temperature: Positive; a lower one concentrates on more similar pairs.

    Returns:
        Scalar, float32 (float64 for float64); 0 without positive pairs, NaN if an embedding is NaN.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss = supervised_contrastive_loss(embeddings, torch.tensor([0, 0, 1]), temperature=0.5)
        >>> round(loss.item(), 4)  # log(1 + exp(-2))
        0.1269

    References:
        Khosla et al., "Supervised contrastive learning", NeurIPS 2020, equation 2.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        vectors = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        similarities = (vectors @ vectors.T / temperature).masked_fill(own, -torch.inf)
        positive = (labels[:, None] == labels) & ~own
        num_positive = positive.sum(dim=1)
        log_shares = similarities.log_softmax(dim=1).masked_fill(~positive, 0)
        losses = -log_shares.sum(dim=1) / num_positive.clamp(min=1)
        return losses.sum() / (num_positive > 0).sum().clamp(min=1)
