"""Train a head on features, which takes seconds: the backbone is not run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pairsim.data import ImageTensors
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.heads.head_modules import HeadName
from pairsim.training.config import TrainConfig

_EPOCHS, _STEPS, _BATCH_SIZE, _RATE = 10, 60, 128, 1e-3
"""At least so many epochs and steps. Fewer images than a batch have that many epochs, of one step each."""


def train_head(
    name: HeadName, features: Tensor, labels: Tensor, dim: int, *, seed: int, start: nn.Module | None = None
) -> nn.Module:
    """Train a head on features with objective "all-pairs", on the CPU.

    Args:
        name: `"linear"` or `"mlp"`.
        features: `[N, F]`, float32.
        labels: Class numbers `[N]`.
        dim: Length of an embedding, D.
        seed: Seed of weights and batches.
        start: A head from `[N, F]` to `[N, D]` to start from, which is changed; by default random weights.

    Returns:
        The head, from `[N, F]` to `[N, D]`.
    """
    from pairsim.training.trainer import Trainer

    scale = float(features.std().clamp_min(1e-12))  # steps are right for features of about size 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = EmbeddingNet(nn.Identity(), head=name, in_channels=features.shape[1], image_size=1, embedding_dim=dim)
    if start is not None:
        net.head = start
        _scale_inputs(start, scale)
    vectors = ImageTensors((features / scale)[:, :, None, None], labels.numpy())
    config = TrainConfig(
        epochs=max(_EPOCHS, min(_STEPS, math.ceil(_STEPS * _BATCH_SIZE / len(features)))),
        batch_size=_BATCH_SIZE,
        learning_rate=_RATE,
        optimizer="adamw",
        precision="fp32",
        device="cpu",
        seed=seed,
        progress=False,
    )
    # the same images validate: the last epochs are then the best, as the learning rate goes to zero
    Trainer(SimilarityModel(net), config, train=vectors, val=vectors).fit()
    _scale_inputs(net.head, 1 / scale)
    return net.head.eval()


def _scale_inputs(head: nn.Module, factor: float) -> None:
    """Change a head so that it computes for features what it computed for features times `factor`."""
    first = next(module for module in head.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        first.weight *= factor
