"""The blocks of a net in the order of its calls, with their output shapes for one blank image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

MAX_BLOCKS = 12
"""Maximum number of blocks if no depth is given."""
_MAX_DEPTH = 8

_WRAPPED_SHARE = 0.9
"""A child with more than this share of the parameters is wrapped by its parent, and is opened too."""

_ATTACHED = tuple(
    f"torch.nn.modules.{name}"
    for name in ("activation", "batchnorm", "dropout", "flatten", "instancenorm", "normalization", "pooling", "padding")
)
_SHORT_NAMES = {
    "BatchNorm1d": "BatchNorm", "BatchNorm2d": "BatchNorm", "MaxPool2d": "MaxPool", "AvgPool2d": "AvgPool",
    "AdaptiveAvgPool2d": "average", "Conv2d": "Conv",
}  # fmt: skip

Shapes: TypeAlias = dict[nn.Module, tuple[int, ...]]


@dataclass(frozen=True)
class NetBlock:
    """One block of a net.

    Attributes:
        layers: Its layers in order, such as `("Conv 5 × 5", "BatchNorm", "ReLU")` or `("BasicBlock ×2",)`.
        output_shape: Shape of its output for one image, without the batch dimension; `()` if that is not a tensor.
        num_parameters: Number of its parameters.
        repeats: How many modules of the same kind and output shape it stands for.
    """

    layers: tuple[str, ...]
    output_shape: tuple[int, ...]
    num_parameters: int
    repeats: int = 1


def outline_net(net: nn.Module, input_shape: tuple[int, int, int], *, depth: int | None = None) -> list[NetBlock]:
    """Run a net on one blank image and list its blocks.

    A block is a module at the given depth, with the normalisation, activation, pooling and similar layers after it.
    Consecutive modules of the same kind and output shape are one block. Operations between modules, such as the sums of
    skip connections, are not detected.

    Args:
        net: Maps `[N, C, H, W]` to `[N, D]`. It is run in eval mode and without gradients; its mode is restored.
        input_shape: `(C, H, W)`.
        depth: Levels of modules to open, at least 1; every module is opened down to it. By default the most levels with
            at most `MAX_BLOCKS` (12) blocks; then modules other than `nn.Sequential` are opened only if they wrap the
            net, because other modules do not always call their children one after the other.

    Returns:
        The blocks in the order of their calls; one block for a net that calls no module.

    Raises:
        ValueError: If the net fails on such images, or `depth` is below 1.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
        >>> [(block.layers, block.output_shape) for block in outline_net(net, (1, 8, 8))]
        [(('Conv 3 × 3', 'ReLU'), (2, 6, 6)), (('Flatten', 'Linear'), (5,))]
    """
    if depth is not None and depth < 1:
        raise ValueError(f"Expected depth to be at least 1, got {depth}. Use 1 for the children of the net.")
    shapes = _output_shapes(net, input_shape)
    blocks = _blocks(net, shapes, depth or 1, every=depth is not None)
    if depth is None:
        deeper = (_blocks(net, shapes, level, every=False) for level in range(2, _MAX_DEPTH + 1))
        blocks = [blocks, *takewhile(lambda blocks: len(blocks) <= MAX_BLOCKS, deeper)][-1]
    return blocks or [NetBlock((_kind(net),), shapes[net], num_parameters(net))]


def num_parameters(module: nn.Module) -> int:
    """Count the parameters of a module, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _output_shapes(net: nn.Module, input_shape: tuple[int, int, int]) -> Shapes:
    """Return the output shape of each module that is called, in the order of the first calls."""
    shapes: Shapes = {}

    def begin(module: nn.Module, _: Any) -> None:
        shapes.setdefault(module, ())

    def end(module: nn.Module, _: Any, output: Any) -> None:
        shapes[module] = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()

    training = [module for module in net.modules() if module.training]
    blank = torch.zeros(1, *input_shape)
    blank = blank.to(next((parameter for parameter in net.parameters() if parameter.is_floating_point()), blank))
    hooks = [module.register_forward_pre_hook(begin) for module in net.modules()]
    hooks += [module.register_forward_hook(end) for module in net.modules()]
    try:
        with torch.no_grad():
            net.eval()(blank)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"Expected the net to take images of shape {list(blank.shape)}, but it failed: {reason}. "
            "Set in_channels and image_size to those of its images."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return shapes


def _blocks(net: nn.Module, shapes: Shapes, depth: int, *, every: bool) -> list[NetBlock]:
    order = {module: number for number, module in enumerate(shapes)}
    blocks: list[NetBlock] = []
    flatten: tuple[str, ...] = ()  # is part of the block of the next layer
    for module in sorted(_opened(net, shapes, depth, every), key=order.__getitem__):
        if isinstance(module, nn.Identity | nn.Dropout):
            continue
        if isinstance(module, nn.Flatten):
            flatten = ("Flatten",)
            continue
        kind, shape, last = _kind(module), shapes[module], blocks[-1] if blocks else None
        size = num_parameters(module) + (last.num_parameters if last else 0)
        leaf = _is_leaf(module)
        if last and leaf and any(base.__module__ in _ATTACHED for base in type(module).__mro__):
            layers = (*last.layers, *flatten, kind)
            blocks[-1] = replace(last, layers=layers, output_shape=shape, num_parameters=size)
        elif last and not leaf and (last.layers, last.output_shape) == ((_times(kind, last.repeats),), shape):
            repeats = last.repeats + 1
            blocks[-1] = NetBlock((_times(kind, repeats),), shape, size, repeats)
        else:
            blocks.append(NetBlock((*flatten, kind), shape, num_parameters(module)))
        flatten = ()
    return blocks


def _times(kind: str, repeats: int) -> str:
    return kind if repeats == 1 else f"{kind} ×{repeats}"


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _opened(module: nn.Module, shapes: Shapes, depth: int, every: bool) -> Iterator[nn.Module]:
    """Yield the called modules at a depth; a sequence of blocks of one kind and output shape as its blocks."""
    for child in module.children():
        if child not in shapes:
            continue
        inside = [part for part in child.children() if part in shapes]
        wraps = len(inside) > 1 and num_parameters(child) > _WRAPPED_SHARE * num_parameters(module)
        sequence = isinstance(child, nn.Sequential)
        if sequence and len({(type(part), shapes[part]) for part in inside}) == 1 and not _is_leaf(inside[0]):
            yield from inside
        elif depth > 1 and inside and (every or sequence or wraps):
            yield from _opened(child, shapes, depth - 1, every)
        else:
            yield child


def _kind(module: nn.Module) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.modules.pooling._AdaptiveAvgPoolNd):
        return f"average → {'1 × 1' if module.output_size in (1, (1, 1)) else module.output_size}"
    text = _SHORT_NAMES.get(kind, kind)
    kernel = getattr(module, "kernel_size", None)
    if kernel is not None:
        sides = kernel if isinstance(kernel, tuple) else (kernel,) * (2 if kind.endswith("2d") else 1)
        text += " " + " × ".join(map(str, sides))
    if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
        text += f", stride {' × '.join(map(str, dict.fromkeys(module.stride)))}"
    return text
