"""Small untrained models."""

from __future__ import annotations

from typing import Any

import torch

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.models import OperatingPoint


def small_model(
    size: int = 8, dim: int = 8, *, channels: int = 1, seed: int = 0, threshold: float | None = None, **settings: Any
) -> SimilarityModel:
    """A model in eval mode whose weights depend on `seed` alone; the global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = EmbeddingNet(in_channels=channels, image_size=size, embedding_dim=dim)
        model = SimilarityModel(net, **settings).eval()
    if threshold is not None:
        model.operating_point = OperatingPoint(threshold, 0.01, 0.0, 1, 100, "a test")
    return model


def model_with_statistics(seed: int = 0) -> SimilarityModel:
    """A small model whose batch norms have seen a batch, as after training."""
    model = small_model(seed=seed).train()
    with torch.no_grad():
        model.embed(torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(seed + 1)))
    return model.eval()
