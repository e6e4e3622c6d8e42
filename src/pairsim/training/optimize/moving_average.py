"""Moving average of the weights of a model."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """Exponential moving average of parameters and floating-point buffers, which does not wait for the device.

    `AveragedModel` copies its counter to the device for each kind of tensor in each update, and waits for the copy.

    Args:
        model: Its state is the start.
        decay: Share of the average that an update keeps, in [0, 1).

    Example:
        >>> model = nn.Linear(1, 1)
        >>> average = MovingAverage(model, 0.9)
        >>> average.update_parameters(model)
        >>> bool(average.module.weight == model.weight)
        True
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self._decay = decay

    def update_parameters(self, model: nn.Module) -> None:
        """Average with the state of the model; the first update copies it, and whole numbers always are copied."""
        states = ([*part.parameters(), *part.buffers()] for part in (self.module, model))
        pairs = list(zip(*states, strict=True))
        is_first = int(self.n_averaged) == 0  # on the CPU
        copied = [pair for pair in pairs if is_first or not pair[0].is_floating_point()]
        averaged = [pair for pair in pairs if not is_first and pair[0].is_floating_point()]
        with torch.no_grad():
            for average, value in copied:
                average.copy_(value)
            if averaged:
                averages, values = zip(*averaged, strict=True)
                torch._foreach_lerp_(averages, values, 1 - self._decay)
        self.n_averaged.add_(1)
