"""Batches of embeddings, and the loss of all their pairs by its definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pairsim import SimilarityModel
from pairsim.models.embedding_net import unit_length

Memory = tuple[Tensor, Tensor]
Batch = tuple[Tensor, Tensor]

CASES = st.tuples(
    st.integers(0, 40), st.sampled_from([1, 2, 5, 10_000]), st.integers(1, 5), st.integers(0, 2**31), st.integers(0, 30)
)
"""Number of images and of classes, dimensions, seed, and size of a memory."""


def projection_model(scale: float = 10.0, bias: float = -5.0, dtype: torch.dtype = torch.float64) -> SimilarityModel:
    """A model whose net is not used."""
    model = SimilarityModel(torch.nn.Identity()).to(dtype)
    with torch.no_grad():
        model.projection.weight.fill_(scale)
        model.projection.bias.fill_(bias)
    return model


def batch_of(num_images: int, num_classes: int, dim: int = 6, seed: int = 0, *, empty: float = 0.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    embeddings = unit_length(torch.randn(num_images, dim, generator=generator, dtype=torch.float64))
    labels = torch.randint(num_classes, (num_images,), generator=generator)
    labels[torch.rand(num_images, generator=generator) < empty] = -1
    return embeddings, labels


def pair_by_pair(
    model: SimilarityModel,
    embeddings: Tensor,
    labels: Tensor,
    *,
    prior: float = 0.5,
    hard_pairs: float = 0.0,
    memory: Memory | None = None,
) -> Tensor:
    """Compute the loss of "all-pairs" by its definition, one pair after the other."""
    size = len(labels)
    pairs = [(embeddings[j], labels[i] == labels[j], i) for i in range(size) for j in range(i)]
    if memory is not None:
        pairs += [
            (other.detach(), labels[i] == label, i)
            for i in range(size)
            for other, label in zip(*memory, strict=True)
            if label >= 0
        ]
    total = embeddings.sum() * 0 + model.projection.weight.sum() * 0 + model.projection.bias.sum() * 0
    for target, share in ((1.0, prior), (0.0, 1 - prior)):
        logits = [model.projection((embeddings[i] @ other)[None])[0] for other, same, i in pairs if same == target]
        if logits:
            stacked = torch.stack(logits)
            weights = (torch.sigmoid(stacked) - target).abs().detach() ** hard_pairs
            costs = functional.binary_cross_entropy_with_logits(
                stacked, torch.full_like(stacked, target), reduction="none"
            )
            total = total + share * (weights * costs).sum() / weights.sum()
    return total


def outputs(function: Callable[..., Tensor], model: SimilarityModel, batch: Batch, **options: Any) -> list[Tensor]:
    """Loss, and its gradients with respect to embeddings, scale and bias."""
    embeddings = batch[0].clone().requires_grad_()
    model.zero_grad()
    loss = function(model, embeddings, batch[1], **options)
    loss.backward()
    weight, bias = model.projection.weight.grad, model.projection.bias.grad
    assert embeddings.grad is not None
    assert weight is not None
    assert bias is not None
    return [loss.detach(), embeddings.grad, weight.clone(), bias.clone()]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Compare within `tolerance` of the largest entry of the loss and of each gradient."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        # Weights sum to 1, so that 0.1 is small for a gradient, and less than that is what cancels.
        scale = max(0.1, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=tolerance * scale)
