"""Tests of the moving average, against PyTorch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from pairsim.training.optimize.moving_average import MovingAverage


def changed(model: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
    model(torch.randn(8, 3, generator=generator))
    return model


def test_it_averages_as_pytorch_does() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    own, other = (
        MovingAverage(model, 0.8),
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True),
    )
    for seed in range(4):
        changed(model, seed)
        own.update_parameters(model)
        other.update_parameters(model)
    for (name, value), expected in zip(own.state_dict().items(), other.state_dict().values(), strict=True):
        if "num_batches" in name:
            assert value == 4
        else:
            torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_an_update_copies_nothing_to_the_device() -> None:
    class Copies(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.found: list[str] = []

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if "_to_copy" in str(function) or "_local_scalar" in str(function):
                tensors = [value for value in args if isinstance(value, Tensor)]
                self.found += [str(function) for value in tensors if value.device.type == "meta"]
            return function(*args, **(kwargs or {}))

    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = MovingAverage(model, 0.8)
    for part in (model, average.module):
        part.to("meta")
    with Copies() as copies:
        average.update_parameters(model)
        average.update_parameters(model)
    assert copies.found == []
    assert average.n_averaged.device.type == "cpu"


def test_infinite_buffers_stay_infinite() -> None:
    """The mean of two infinities would be NaN."""
    model = nn.Linear(2, 1)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    average = MovingAverage(model, 0.5)
    for value in (1.0, 3.0):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    assert average.module.get_buffer("mask").tolist() == [0.0, -torch.inf]
    assert average.module.get_parameter("weight").tolist() == [[2.0, 2.0]]
