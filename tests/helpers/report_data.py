"""A small run and labelled images, for tests of reports."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors


def trained_run(folder: Path) -> Path:
    """A run of two epochs on random images of 8 x 8 pixels."""
    model = SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8))
    config = TrainConfig(out=folder / "run", epochs=2, batch_size=16, precision="fp32")
    Trainer(model, config, train=labelled_images(4)).fit()
    return folder / "run"


def labelled_images(num_classes: int, count: int = 60, size: int = 8) -> ImageTensors:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 1, size, size), generator=generator, dtype=torch.uint8)
    return ImageTensors(pixels, [number % num_classes for number in range(count)])


def counts_of(page: str) -> dict[str, Any]:
    """The counts that the slider of a page reads."""
    found = re.search(r'<script type="application/json" id="counts">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values
