"""Optimizers and learning rate schedules by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from pairsim.training.config import TrainConfig

Scheduler: TypeAlias = LRScheduler | ReduceLROnPlateau


def make_optimizer(config: TrainConfig, parameters: Iterable[nn.Parameter], *, recordable: bool = False) -> Optimizer:
    """The optimizer of a config over the parameters that need gradients.

    Args:
        config: A named optimizer is fused, one kernel for all parameters, where the device has that.
        parameters: Of the model.
        recordable: Whether its step must work in a CUDA graph: the learning rate is then a tensor on the device.

    Returns:
        The optimizer.

    Raises:
        ValueError: If no parameter needs gradients.
        TypeError: If a factory does not return an optimizer.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise ValueError("Expected a model with parameters that need gradients, found none. Unfreeze some.")
    device, decay = trained[0].device, config.weight_decay
    rate = torch.tensor(config.learning_rate, device=device) if recordable else config.learning_rate
    fused = all(parameter.device.type in ("cpu", "cuda") and parameter.is_floating_point() for parameter in trained)
    if config.optimizer == "adam":
        return Adam(trained, lr=rate, weight_decay=decay, fused=fused, capturable=recordable)
    if config.optimizer == "adamw":
        return AdamW(trained, lr=rate, weight_decay=decay, fused=fused, capturable=recordable)
    if config.optimizer == "sgd":
        nesterov = config.momentum > 0
        return SGD(trained, lr=rate, weight_decay=decay, momentum=config.momentum, nesterov=nesterov, fused=fused)
    optimizer = config.optimizer(trained)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"Expected the optimizer factory to return an Optimizer, got {type(optimizer).__name__}.")
    return optimizer


def make_scheduler(config: TrainConfig, optimizer: Optimizer, *, total_steps: int) -> Scheduler | None:
    """The schedule of a resolved config.

    Args:
        config: `plateau` is stepped once an epoch with the loss, `onecycle` and `cosine` once a step.
        optimizer: Whose learning rates are set.
        total_steps: Optimizer steps in the whole training.
    """
    if config.scheduler == "plateau":
        return ReduceLROnPlateau(optimizer, patience=config.plateau_patience, factor=config.plateau_factor)
    if config.scheduler == "onecycle":
        peaks = [float(group["lr"]) for group in optimizer.param_groups]
        # without cycling the momentum: a CUDA graph would not notice its changes
        return OneCycleLR(optimizer, max_lr=peaks, total_steps=max(total_steps, 2), cycle_momentum=False)
    if config.scheduler == "cosine":
        return CosineAnnealingLR(optimizer, T_max=max(total_steps, 1))
    return None
