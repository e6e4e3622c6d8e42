"""Statistics of batch norm, estimated anew from training batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


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
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats and not skip(name)
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
