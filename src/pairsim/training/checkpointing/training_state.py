"""State of a training run, as it is stored in checkpoints."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from pairsim.images import Preprocessing
from pairsim.models import OperatingPoint, SimilarityModel
from pairsim.training.history import EpochRecord
from pairsim.training.optimize.optimizers import Scheduler
from pairsim.training.optimize.step import TrainingStep


@dataclass
class TrainingState:
    """Everything that changes during training. A checkpoint holds each attribute under its name.

    Attributes:
        model: The model in training; a checkpoint also holds its `preprocessing`.
        training_step: Optimizer, gradient scaler and the state of the objective.
        scheduler: Learning rate schedule, or `None`.
        ema: Moving average of the weights, or `None`.
        loss_sum: Sum of the batch losses of the current epoch, 0-dimensional, on the device.
        records: One record for each epoch.
        seconds: Wall time of each epoch.
        waiting: Share of each epoch's time spent waiting for data.
        next: Epoch and batch to train next.
        step: Optimizer steps so far.
        stopped: Whether training ends after the current epoch.
        best: Weights of the best epoch, `None` before the first.
        best_loss: Validation loss of that epoch, or training loss without validation data.
        best_point: Operating point of that epoch.
    """

    model: SimilarityModel
    training_step: TrainingStep
    scheduler: Scheduler | None
    ema: AveragedModel | None
    loss_sum: Tensor
    records: list[EpochRecord]
    seconds: list[float]
    waiting: list[float]
    next: tuple[int, int] = (0, 0)
    step: int = 0
    stopped: bool = False
    best: dict[str, Tensor] | None = None
    best_loss: float = math.inf
    best_point: OperatingPoint | None = None

    @property
    def evaluated_model(self) -> SimilarityModel:
        """The model to validate and save: with averaged weights if there is an `ema`."""
        if self.ema is None:
            return self.model
        averaged = self.ema.module
        assert isinstance(averaged, SimilarityModel)
        return averaged

    @property
    def models(self) -> list[SimilarityModel]:
        """The model in training and, if there is one, the model with averaged weights."""
        return [self.model] if self.ema is None else [self.model, self.evaluated_model]

    def state_dict(self) -> dict[str, Any]:
        """Return the state as nested dictionaries, lists, tensors, numbers and text."""
        state = {name: _encoded(value) for name, value in vars(self).items()}
        return {**state, "preprocessing": self.model.preprocessing.to_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Lists and tensors are changed in place."""
        self.model.preprocessing = Preprocessing.from_dict(state["preprocessing"])
        for name, value in vars(self).items():
            saved = state[name]
            if hasattr(value, "load_state_dict"):
                value.load_state_dict(saved)
            elif isinstance(value, Tensor):
                value.copy_(saved)
            elif isinstance(value, list):
                value[:] = [EpochRecord(**item) if isinstance(item, dict) else item for item in saved]
            else:
                setattr(self, name, saved)
        if state["best_point"] is not None:
            self.best_point = OperatingPoint.from_dict(state["best_point"])


def _encoded(value: Any) -> Any:
    if hasattr(value, "state_dict"):
        return value.state_dict()
    if isinstance(value, EpochRecord | OperatingPoint):
        return dataclasses.asdict(value)
    return [_encoded(item) for item in value] if isinstance(value, list) else value
