"""Moving average of the weights of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
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
        self._has_mean = [value.is_floating_point() and bool(value.isfinite().all()) for value in _state(self.module)]

    def update_parameters(self, model: nn.Module) -> None:
        """Average with the state of the model; the first update copies it.

        Whole numbers are always copied, and so are tensors with infinite values at the start, such as masks.
        """
        pairs = list(zip(_state(self.module), _state(model), strict=True))
        is_first = int(self.n_averaged) == 0  # on the CPU
        means = [has_mean and not is_first for has_mean in self._has_mean]
        copied = [pair for pair, is_mean in zip(pairs, means, strict=True) if not is_mean]
        averaged = [pair for pair, is_mean in zip(pairs, means, strict=True) if is_mean]
        with torch.no_grad():
            for average, value in copied:
                average.copy_(value)
            if averaged:
                averages, values = zip(*averaged, strict=True)
                torch._foreach_lerp_(averages, values, 1 - self._decay)
        self.n_averaged.add_(1)


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
