"""A long run: neither memory nor open files grow, and the log is complete."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from pairsim import Callback, EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors
from pairsim.training import EpochRecord

EPOCHS = 2_000
WARM_UP = 500
MAX_GROWTH = 16_000_000  # bytes; the records of 1,500 epochs need less than 2 million


class Watch(Callback):
    """Notes resident memory and open files after each epoch."""

    def __init__(self) -> None:
        self.memory: list[int] = []
        self.files: list[int] = []

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.files.append(len(os.listdir("/proc/self/fd")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_and_files_stay_flat_over_many_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # slow on some disks, and not what is tested
    images = ImageTensors(torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 4, 4) * 20, [0, 1] * 6)
    net = EmbeddingNet(nn.Flatten(), image_size=4, embedding_dim=2)
    config = TrainConfig(
        out=tmp_path / "run", epochs=EPOCHS, batch_size=8, precision="fp32", scheduler="none", progress=False
    )
    watch = Watch()
    Trainer(SimilarityModel(net), config, train=images, callbacks=[watch]).fit()
    early, late = max(watch.memory[:WARM_UP]), max(watch.memory[WARM_UP:])
    print(
        f"{EPOCHS} epochs: {early / 1e6:.1f} MB after {WARM_UP}, {late / 1e6:.1f} MB at most, {watch.files[-1]} files"
    )
    assert late - early < MAX_GROWTH
    # the garbage collector may close what other tests left open, and threads of theirs may open a file for a moment
    assert min(watch.files[-WARM_UP:]) <= min(watch.files[WARM_UP : 2 * WARM_UP])
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))
    assert len((tmp_path / "run" / "timings.jsonl").read_text().splitlines()) == EPOCHS
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
