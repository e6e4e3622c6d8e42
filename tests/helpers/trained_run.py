"""A run as the command line leaves it, on a folder of data with unusual class names, and its evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, VerificationReport
from pairsim.data import ImageTensors
from pairsim.runs.run_records import save_evaluation

NAMES = ["<script>alert(1)</script>", "a|b", "*star*", "`code`", "[x](http://y)", *"56789"]
FOLDER = "/home/jane doe/secret-place/faces"


def ten_classes() -> ImageTensors:
    pixels = torch.randint(0, 256, (120, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageTensors(pixels, [number % 10 for number in range(120)])


def train_run(folder: Path) -> Path:
    torch.manual_seed(0)
    net = EmbeddingNet(image_size=8, embedding_dim=8)
    config = TrainConfig(out=folder, epochs=2, batch_size=32, seed=7, precision="fp32", device="cpu", progress=False)
    Trainer(SimilarityModel(net), config, train=ten_classes()).fit()
    data = {
        "data": FOLDER,
        "source": f"{FOLDER}/train",
        "num_images": 120,
        "class_names": NAMES,
        "image_size": [8, 8],
        "channels": 1,
    }
    (folder / "data.json").write_text(json.dumps(data))
    return folder


def keep(run: Path, report: VerificationReport, **changes: Any) -> None:
    """Store an evaluation on the test images of the run's data."""
    known: dict[str, Any] = {"data": FOLDER, "split": "test", "source": f"{FOLDER}/test", "class_names": NAMES}
    save_evaluation(run, report, **{**known, **changes})


def section(card: str, heading: str) -> str:
    """Return the text of a section of a model card."""
    return card.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
