"""Train a head on features, which takes seconds: the backbone is not run."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from pairsim.data import ImageTensors
from pairsim.errors import TrainingError
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.heads.head_modules import HeadName
from pairsim.training.config import TrainConfig
from pairsim.training.history import History

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

    Raises:
        TrainingError: If its weights are not finite.
    """
    from pairsim.training.run_setup import RunSetup

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
    # No epoch is validated: the last one is the best on the training images, as the learning rate goes to zero. They
    # are given as validation images too, so that none are split off.
    model = SimilarityModel(net)
    setup = RunSetup(model, config, vectors, vectors)
    state = setup.new_state(model, History())
    assert isinstance(state.scheduler, LRScheduler), "the recipe of the objective has a schedule by steps"
    for epoch in range(setup.num_epochs):
        for images, targets in setup.data.loader.epoch(epoch):
            state.training_step(images, targets, update=True)
            state.scheduler.step()
    if (found := state.not_finite()) is not None:
        raise TrainingError(f"Expected {found} in head {name}, found NaN or infinity. Choose another head.")
    _scale_inputs(net.head, 1 / scale)
    return net.head.eval()


def _scale_inputs(head: nn.Module, factor: float) -> None:
    """Change a head so that it computes for features what it computed for features times `factor`."""
    first = next(module for module in head.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        first.weight *= factor
