"""Small training runs on the CPU: data, models, interruption, and the last checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from pairsim import Callback, EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training.checkpointing.run_folder import load_checkpoint


def random_images(num: int = 60) -> ImageTensors:
    """Images of 3 classes, 8 x 8, with nothing to learn."""
    images = torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageTensors(images, [n % 3 for n in range(num)])


def easy_images(num: int = 80, size: int = 8) -> ImageTensors:
    """Images of 2 classes that differ in brightness."""
    labels = torch.arange(num) % 2
    noise = torch.randint(0, 60, (num, 1, size, size), generator=torch.Generator().manual_seed(0))
    return ImageTensors((noise + labels.view(-1, 1, 1, 1) * 150).to(torch.uint8), labels)


def reference_model(size: int = 8) -> SimilarityModel:
    torch.manual_seed(0)
    return SimilarityModel(EmbeddingNet(image_size=size, embedding_dim=8))


def dropout_model() -> SimilarityModel:
    """A model with batch norm and dropout, so that a run depends on every batch and on random numbers."""
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
    return SimilarityModel(EmbeddingNet(backbone, image_size=8, embedding_dim=6))


def colour_images(num: int = 24, channels: int = 3) -> ImageTensors:
    """Images of 3 classes, 16 x 16, with nothing to learn."""
    shape = (num, channels, 16, 16)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageTensors(pixels, [n % 3 for n in range(num)])


def backbone_model() -> SimilarityModel:
    """A model for `colour_images` with a backbone of named parts."""
    torch.manual_seed(1)
    parts = {
        "conv1": nn.Conv2d(3, 4, 3),
        "bn1": nn.BatchNorm2d(4),
        "drop": nn.Dropout(0.5),
        "conv10": nn.Conv2d(4, 4, 3),
        "bn2": nn.BatchNorm2d(4),
    }
    backbone = nn.Sequential()
    for name, part in parts.items():
        backbone.add_module(name, part)
    return SimilarityModel(EmbeddingNet(backbone, in_channels=3, image_size=16, embedding_dim=6))


class CutOffError(Exception):
    pass


class CutOff(Callback):
    """Raises after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        if step == self.step:
            raise CutOffError


def last_state(run: Path) -> dict[str, Any]:
    """The newest checkpoint without times, which differ between equal runs."""
    state, problems = load_checkpoint(run)
    assert state is not None
    assert not problems
    del state["seconds"], state["waiting"]
    return state


def fit(train: Any, val: Any = None, model: SimilarityModel | None = None, **settings: Any) -> Trainer:
    """Train the reference model, or another, with a few epochs of small batches."""
    settings = {"epochs": 3, "batch_size": 16, "precision": "fp32", **settings}
    trainer = Trainer(model or reference_model(), TrainConfig(**settings), train=train, val=val)
    trainer.fit()
    return trainer
