"""Statistics of batch norm: estimated anew from training batches, and shared by several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pairsim.errors import DeviceError
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World

_CONVERTIBLE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Exactly these: a class derived from one may do more, which the synchronised one would not."""


def reestimate_batch_norm(
    model: nn.Module,
    batches: Iterable[Tensor],
    forward: Callable[[Tensor], object],
    *,
    skip: Callable[[str], bool] = lambda _: False,
) -> None:
    """Set the running statistics of every batch norm to the mean over some batches, with the weights as they are now.

    The statistics that training leaves behind are a moving average over weights that have since changed; those of
    averaged weights (`ema_decay`) were never seen at all.

    Args:
        model: Its batch norms are changed; their `momentum`, and each module's mode, stay as they were.
        batches: Images `[N, C, H, W]` on the model's device; without any, nothing is changed.
        forward: Runs the model on a batch.
        skip: Tells of a module's name whether it is left as it is.

    Example:
        >>> net = nn.BatchNorm1d(1)
        >>> reestimate_batch_norm(net, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])], net)
        >>> net.running_mean.item(), net.running_var.item()
        (4.0, 2.0)

    References:
        Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.
    """
    norms = [
        module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and not skip(name)
    ]
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()  # dropout and the like stay out of it
    begun = False
    try:
        with torch.no_grad():
            for images in batches if norms else ():
                if not begun:
                    for norm in norms:
                        norm.reset_running_stats()
                        norm.momentum = None  # PyTorch then takes the plain mean over batches
                        norm.train()
                    begun = True
                forward(images)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def synchronised(models: Iterable[nn.Module], *, skip: Callable[[str], bool] = lambda _: False) -> Iterator[None]:
    """Inside, batch norms take their statistics over the batches of all processes; afterwards they are as before.

    By PyTorch's `SyncBatchNorm`, which needs GPUs. Weights and running statistics stay the same tensors throughout.
    Not run on GPUs so far.

    Args:
        models: Their batch norms of PyTorch's own classes are replaced.
        skip: Tells of a module's name whether it is left as it is.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for model in models:
        for name, module in list(model.named_modules()):
            if type(module) in _CONVERTIBLE and name and not skip(name):
                parent, _, own = name.rpartition(".")
                holder = model.get_submodule(parent)
                replaced.append((holder, own, module))
                setattr(holder, own, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    try:
        yield
    finally:
        for holder, own, module in replaced:
            module.train(getattr(holder, own).training)
            setattr(holder, own, module)


def _has_batch_norm(model: nn.Module) -> bool:
    """Whether a model has a batch norm with running statistics."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules())


def share_buffers(model: nn.Module, world: World, *, skip: Callable[[str], bool] = lambda _: False) -> None:
    """Make the buffers of a model the same in all processes.

    Running statistics that each process took of its own images become their mean; every other buffer is that of
    rank 0.

    Args:
        model: Its buffers are changed.
        world: The processes.
        skip: Tells of a module's name whether it is not trained, so that its statistics are the same anyway.
    """
    if world.size == 1:
        return
    averaged: list[Tensor] = []
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm) and not skip(name):
            averaged += [value for value in (module.running_mean, module.running_var) if value is not None]
    world.add_up(averaged)
    for value in averaged:
        value.div_(world.size)
    own = {id(value) for value in averaged}
    world.take_over(value for value in model.buffers() if id(value) not in own)


def syncs_batch_norm(model: nn.Module, config: TrainConfig, world: World) -> bool:
    """Whether batch norm takes its statistics over all processes.

    Raises:
        DeviceError: If it is asked to where it cannot.
    """
    if world.size == 1 or config.sync_batch_norm is False or not _has_batch_norm(model):
        return False
    if world.device.type == "cuda":
        return True
    if config.sync_batch_norm:
        raise DeviceError(
            f"Expected GPUs for sync_batch_norm=True, found the device {world.device.type}. "
            "Leave it out: each process then takes the statistics of its own images."
        )
    return False


def processes_note(world: World, syncs: bool, model: nn.Module) -> str:
    """What it means for a model that several processes train it, in one line."""
    line = f"{world.size} processes train together, each on its part of every batch."
    if not _has_batch_norm(model):
        return line
    if syncs:
        return f"{line} Batch norm takes its statistics over all parts."
    return f"{line} Batch norm takes its statistics of each part, so results differ a little from one process."
