"""The blocks of a net in the order of its calls, with the sizes that they give for one blank image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MAX_BLOCKS = 12
"""Blocks that an outline has at most where nobody chooses the depth."""

_WRAPPED_SHARE = 0.9
"""A child with more of the parameters than this share is what its parent wraps, and is opened too."""

_ATTACHED = tuple(
    f"torch.nn.modules.{name}"
    for name in ("activation", "batchnorm", "dropout", "flatten", "instancenorm", "normalization", "pooling", "padding")
)
_SHORT_NAMES = {
    "BatchNorm1d": "BatchNorm", "BatchNorm2d": "BatchNorm", "MaxPool2d": "MaxPool", "AvgPool2d": "AvgPool",
    "AdaptiveAvgPool2d": "average", "Conv2d": "Conv",
}  # fmt: skip


@dataclass(frozen=True)
class NetBlock:
    """One block of a net.

    Attributes:
        name: Name of its first module in the net, such as `backbone.layer1`.
        layers: What it does, in order, such as `("Conv 5 × 5", "BatchNorm", "ReLU")` or `("BasicBlock ×2",)`.
        output_shape: Shape that it gives for one image, without the batch dimension; `()` where that is no tensor.
        num_parameters: Parameters in it.
        repeats: How many modules of one kind and one output shape follow one another in it.
    """

    name: str
    layers: tuple[str, ...]
    output_shape: tuple[int, ...]
    num_parameters: int
    repeats: int = 1


@dataclass(frozen=True)
class NetOutline:
    """What `outline_net` found.

    Attributes:
        input_shape: Shape of the blank image `(C, H, W)`.
        blocks: The blocks in the order in which they are called.
        output_shape: Shape that the net gives for one image, without the batch dimension.
        num_parameters: Parameters of the net, shared ones once.
    """

    input_shape: tuple[int, int, int]
    blocks: tuple[NetBlock, ...]
    output_shape: tuple[int, ...]
    num_parameters: int


@dataclass(frozen=True)
class _Call:
    order: int
    shape: tuple[int, ...]


def outline_net(net: nn.Module, input_shape: tuple[int, int, int], *, depth: int | None = None) -> NetOutline:
    """Run a net on one blank image and list its blocks.

    A block is a module at the depth, with the normalisation, activation, pooling and the like after it; modules in
    succession that are of one kind and give one shape are one block. What the net does between its modules, such as
    adding what skipped some of them, is not seen.

    Args:
        net: Maps `[N, C, H, W]` to `[N, D]`. It is run in eval mode and without gradients, and left as it was.
        input_shape: `(C, H, W)`.
        depth: Levels of modules to open, at least 1, at which every module is opened. By default the most levels that
            give at most `MAX_BLOCKS` (12) blocks, and of other modules than `nn.Sequential` only those are opened that
            wrap the net, as what is called in succession by others need not be a succession.

    Returns:
        The outline; a net that calls no module is one block.

    Raises:
        ValueError: If the net does not take such images or `depth` is below 1.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 5))
        >>> [(block.layers, block.output_shape) for block in outline_net(net, (1, 8, 8)).blocks]
        [(('Conv 3 × 3', 'ReLU'), (2, 6, 6)), (('Flatten', 'Linear'), (5,))]
    """
    if depth is not None and depth < 1:
        raise ValueError(f"Expected depth to be at least 1, got {depth}. Use 1 for the children of the net.")
    calls, output_shape = _traced(net, input_shape)
    if depth is not None:
        blocks = _blocks(net, calls, depth, every=True)
    else:
        blocks, level = _blocks(net, calls, 1, every=False), 2
        while level <= 8 and len(deeper := _blocks(net, calls, level, every=False)) <= MAX_BLOCKS:
            blocks, level = deeper, level + 1
    size = sum(p.numel() for p in net.parameters())
    if not blocks:
        blocks = [NetBlock("", (_kind(net),), output_shape, size)]
    return NetOutline(input_shape, tuple(blocks), output_shape, size)


def _traced(net: nn.Module, input_shape: tuple[int, int, int]) -> tuple[dict[nn.Module, _Call], tuple[int, ...]]:
    started: dict[nn.Module, int] = {}
    calls: dict[nn.Module, _Call] = {}

    def begin(module: nn.Module, _: Any) -> None:
        started.setdefault(module, len(started))

    def note(module: nn.Module, _: Any, output: Any) -> None:
        calls[module] = _Call(started[module], tuple(output.shape[1:]) if isinstance(output, Tensor) else ())

    training = [module for module in net.modules() if module.training]
    parameter = next(net.parameters(), None)
    blank = torch.zeros(1, *input_shape)
    if parameter is not None:
        blank = blank.to(parameter.device, parameter.dtype if parameter.is_floating_point() else None)
    hooks = [module.register_forward_pre_hook(begin) for module in net.modules()]
    hooks += [module.register_forward_hook(note) for module in net.modules()]
    try:
        with torch.no_grad():
            output = net.eval()(blank)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ValueError(
            f"Expected the net to take images of shape {list(blank.shape)}, but it failed: {reason}. "
            "Set in_channels and image_size to what it was made for."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return calls, tuple(output.shape[1:]) if isinstance(output, Tensor) else ()


def _blocks(net: nn.Module, calls: dict[nn.Module, _Call], depth: int, *, every: bool) -> list[NetBlock]:
    found: list[NetBlock] = []
    flattening: tuple[str, ...] = ()  # belongs to the layer after it: what was flattened has no sides to show
    for name, module in sorted(_opened("", net, calls, depth, every), key=lambda item: calls[item[1]].order):
        if isinstance(module, nn.Identity | nn.Dropout):
            continue
        if isinstance(module, nn.Flatten):
            flattening = ("Flatten",)
            continue
        kind, inside = _kind(module), _repeated(module, calls)
        leaf = not list(module.children())
        attached = leaf and any(base.__module__ in _ATTACHED for base in type(module).__mro__)
        shape, size = calls[module].shape, sum(p.numel() for p in module.parameters())
        last = found[-1] if found else None
        if last is not None and attached:
            layers, repeats = (*last.layers, *flattening, kind), last.repeats
        elif (
            last is not None
            and not leaf
            and last.layers == (_times(kind, last.repeats),)
            and last.output_shape == shape
        ):
            repeats = last.repeats + 1
            layers = (_times(kind, repeats),)
        else:
            text = _times(_kind(inside[0]), len(inside)) if inside else kind
            found.append(NetBlock(name, (*flattening, text), shape, size, len(inside) or 1))
            flattening = ()
            continue
        found[-1] = NetBlock(last.name, layers, shape, last.num_parameters + size, repeats)
        flattening = ()
    return found


def _times(kind: str, repeats: int) -> str:
    return kind if repeats == 1 else f"{kind} ×{repeats}"


def _opened(
    name: str, module: nn.Module, calls: dict[nn.Module, _Call], depth: int, every: bool
) -> Iterator[tuple[str, nn.Module]]:
    """The modules at a depth that are called, each with its name."""
    children = [(child_name, child) for child_name, child in module.named_children() if child in calls]
    whole = sum(p.numel() for p in module.parameters())
    for child_name, child in children:
        full = f"{name}.{child_name}" if name else child_name
        grandchildren = [below for below in child.children() if below in calls]
        size = sum(p.numel() for p in child.parameters())
        wraps = whole > 0 and size > _WRAPPED_SHARE * whole and len(grandchildren) > 1
        opens = every or isinstance(child, nn.Sequential) or wraps
        if depth > 1 and grandchildren and opens and not _repeated(child, calls):
            yield from _opened(full, child, calls, depth - 1, every)
        else:
            yield full, child


def _repeated(module: nn.Module, calls: dict[nn.Module, _Call]) -> list[nn.Module]:
    """The modules of a sequence if they are blocks of one kind that give one shape, else an empty list."""
    if not isinstance(module, nn.Sequential):
        return []
    inside = [child for child in module if child in calls]
    same = len({(type(child), calls[child].shape) for child in inside}) == 1 and bool(list(inside[0].children()))
    return inside if same else []


def _kind(module: nn.Module) -> str:
    kind = type(module).__name__
    kernel = getattr(module, "kernel_size", None)
    if isinstance(module, nn.modules.pooling._AdaptiveAvgPoolNd):
        return f"average → {'1 × 1' if module.output_size in (1, (1, 1)) else module.output_size}"
    text = _SHORT_NAMES.get(kind, kind)
    if kernel is not None:
        sides = kernel if isinstance(kernel, tuple) else (kernel,) * (2 if kind.endswith("2d") else 1)
        text += " " + " × ".join(map(str, sides))
    if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
        text += f", stride {' × '.join(map(str, dict.fromkeys(module.stride)))}"
    return text
