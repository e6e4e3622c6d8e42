"""Statistics of batch norm: estimated again from training batches, and shared by several processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pairsim.errors import DeviceError
from pairsim.models.embedding_net import eval_mode
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World

_Skip: TypeAlias = Callable[[str], bool]
_CONVERTIBLE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Exactly these classes: a subclass may do more, which the synchronised one would not."""


def _skip_none(_: str) -> bool:
    return False


def _batch_norms(model: nn.Module, skip: _Skip = _skip_none) -> list[_BatchNorm]:
    """List the batch norms with running statistics, except for skipped names."""
    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    return [norm for name, norm in norms if norm.track_running_stats and not skip(name)]


def reestimate_batch_norm(
    model: nn.Module,
    batches: Iterable[Tensor],
    forward: Callable[[Tensor], object],
    *,
    skip: _Skip = _skip_none,
) -> None:
    """Set the running statistics of every batch norm to the mean over some batches, with the current weights.

    The statistics of training are a moving average over earlier weights, and averaged weights (`ema_decay`) have no
    statistics of their own.

    Args:
        model: Its batch norms are changed, except for their `momentum` and each module's mode.
        batches: Images `[N, C, H, W]` on the model's device; without batches nothing is changed.
        forward: Runs the model on a batch.
        skip: Returns whether the module of a name is left unchanged.

    Example:
        >>> net = nn.BatchNorm1d(1)
        >>> reestimate_batch_norm(net, [torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [7.0]])], net)
        >>> net.running_mean.item(), net.running_var.item()
        (4.0, 2.0)

    References:
        Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018.
    """
    before = [(norm, norm.momentum, norm.training) for norm in _batch_norms(model, skip)]
    try:
        with eval_mode(model), torch.no_grad():  # no dropout
            for number, images in enumerate(batches if before else ()):
                for norm, _, _ in before if number == 0 else ():
                    norm.reset_running_stats()
                    norm.momentum = None  # PyTorch then takes the plain mean over batches
                    norm.train()
                forward(images)
    finally:
        for norm, momentum, training in before:
            norm.momentum, norm.training = momentum, training


@contextlib.contextmanager
def synchronised(models: Iterable[nn.Module], *, skip: _Skip = _skip_none) -> Iterator[None]:
    """Replace batch norms by PyTorch's `SyncBatchNorm`, which takes statistics over all processes, and restore them.

    `SyncBatchNorm` needs GPUs, where this has not been tested. Weights and running statistics remain the same tensors.

    Args:
        models: Their batch norms of PyTorch's own classes are replaced.
        skip: Returns whether the module of a name is left unchanged.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for model in models:
        for name, module in list(model.named_modules()):
            if type(module) in _CONVERTIBLE and name and not skip(name):
                parent_name, _, attribute = name.rpartition(".")
                parent = model.get_submodule(parent_name)
                replaced.append((parent, attribute, module))
                setattr(parent, attribute, nn.SyncBatchNorm.convert_sync_batchnorm(module))
    try:
        yield
    finally:
        for parent, attribute, module in replaced:
            module.train(getattr(parent, attribute).training)
            setattr(parent, attribute, module)


def share_buffers(models: Iterable[nn.Module], world: World, *, skip: _Skip = _skip_none) -> None:
    """Make the buffers of models the same in all processes.

    Running statistics that each process took of its own images are averaged; every other buffer is that of rank 0.

    Args:
        models: Their buffers are changed.
        world: The processes.
        skip: Returns whether the module of a name is not trained, so that its statistics are the same anyway.
    """
    if world.size == 1:
        return
    for model in models:
        norms = [norm for norm in _batch_norms(model, skip) if not isinstance(norm, nn.SyncBatchNorm)]
        averaged = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        world.all_reduce(averaged)
        for value in averaged:
            value.div_(world.size)
        statistics = {id(value) for value in averaged}
        world.broadcast(value for value in model.buffers() if id(value) not in statistics)


def syncs_batch_norm(model: nn.Module, config: TrainConfig, world: World) -> bool:
    """Whether batch norm takes its statistics over all processes.

    Raises:
        DeviceError: If `config.sync_batch_norm` is true and the device is not a GPU.
    """
    if world.size == 1 or config.sync_batch_norm is False or not _batch_norms(model):
        return False
    on_gpus = world.device.type == "cuda"
    if config.sync_batch_norm and not on_gpus:
        raise DeviceError(
            f"Expected GPUs for sync_batch_norm=True, found the device {world.device.type}. "
            "Leave it out: each process then takes the statistics of its own images."
        )
    return on_gpus


def processes_note(world: World, syncs: bool, model: nn.Module) -> str:
    """A line about training with several processes and their batch norm."""
    line = f"{world.size} processes train together, each on its part of every batch."
    if _batch_norms(model):
        parts = "over all parts" if syncs else "of each part, so results differ a little from one process"
        line += f" Batch norm takes its statistics {parts}."
    return line
