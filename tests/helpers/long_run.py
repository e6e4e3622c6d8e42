"""Train for many epochs, and print the resident memory and the open files after each as JSON: OUT EPOCHS.

Run as a program, so that nothing but the training opens files.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from pairsim import Callback, EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training import EpochRecord


class Watch(Callback):
    """Notes resident memory and open files after each epoch."""

    def __init__(self) -> None:
        self.memory: list[int] = []
        self.files: list[int] = []

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.files.append(len(os.listdir("/proc/self/fd")))


def main(out: str, epochs: str) -> None:
    os.fsync = lambda _: None  # type: ignore[assignment]  # slow on some disks, and not what is tested
    images = ImageTensors(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 4, 4) * 20, [0, 1] * 6)
    net = EmbeddingNet(nn.Flatten(), image_size=4, embedding_dim=2)
    config = TrainConfig(
        out=Path(out), epochs=int(epochs), batch_size=8, precision="fp32", scheduler="none", progress=False
    )
    watch = Watch()
    Trainer(SimilarityModel(net), config, train=images, callbacks=[watch]).fit()
    print(json.dumps({"memory": watch.memory, "files": watch.files}))


if __name__ == "__main__":
    main(*sys.argv[1:])
