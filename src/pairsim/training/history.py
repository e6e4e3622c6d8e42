"""Records of the epochs of a training run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """Results of one epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Mean loss of its batches.
        val_loss: Loss on validation pairs, `None` without validation data.
        val_balanced_accuracy: In [0, 1], at probability one half; `None` without validation data.
        learning_rate: Learning rate of the first parameter group at the end of the epoch.
        best: Whether this is the best model so far.
        skipped_steps: Steps of this epoch without an update, as a gradient was not finite in fp16.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    val_balanced_accuracy: float | None
    learning_rate: float
    best: bool
    skipped_steps: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values, `skipped_steps` only where there were some. No times, so equal runs are equal."""
        return {name: value for name, value in vars(self).items() if name != "skipped_steps" or value}

    def to_json(self) -> str:
        """One line of JSON, of `to_dict`."""
        return json.dumps(self.to_dict(), allow_nan=False)


@dataclass
class History:
    """The epochs of a run, oldest first.

    Attributes:
        records: One for each epoch.
        seconds: Wall time of each epoch, with validation; of an interrupted epoch, only the time after the resume.
        waiting: Share of each epoch's `seconds` that the training loop waited for its next batch, in [0, 1] (see
            `pairsim.data.loading.loader.TimedBatches`).
        num_images: Image forwards of training in each epoch.
        notes: Decisions of the run, a line each.
    """

    records: list[EpochRecord] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    num_images: int = 0
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.records)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch with the best model, `None` before the first epoch."""
        return next((record for record in reversed(self.records) if record.best), None)

    def timing(self, index: int) -> dict[str, float]:
        """The times of an epoch, by its index in `records`."""
        seconds = self.seconds[index]
        return {
            "epoch": self.records[index].epoch,
            "seconds": seconds,
            "images_per_s": round(self.num_images / seconds, 1),
            "waiting": self.waiting[index],
        }

    def to_dict(self) -> dict[str, Any]:
        """The history as JSON values."""
        return {
            "epochs": [record.to_dict() for record in self.records],
            "seconds": self.seconds,
            "waiting": self.waiting,
            "notes": self.notes,
        }
