"""Copy a net for faster inference: batch norm folded into the layer before it, cheaper pooling, channels last."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

FOLDABLE: dict[type[nn.Module], tuple[type[nn.Module], ...]] = {
    nn.BatchNorm1d: (nn.Linear, nn.Conv1d),
    nn.BatchNorm2d: (nn.Conv2d,),
    nn.BatchNorm3d: (nn.Conv3d,),
}
"""Each batch norm with the layers that it can be folded into. Exact types: a subclass may compute something else."""

_NOT_PLAIN = (torch.jit.ScriptModule, LazyModuleMixin, nn.DataParallel, nn.parallel.DistributedDataParallel)

_PLAIN_TENSORS = (Tensor, nn.Parameter, nn.Buffer)

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def parts_of(net: nn.Module) -> tuple[list[nn.Module], list[Tensor]]:
    """Return a net's modules, and its parameters and buffers; those that are shared may come twice.

    It is one walk instead of three, as it is done for every call.
    """
    modules = list(net.modules())
    held = [values for module in modules for values in (module._parameters, module._buffers)]
    return modules, [tensor for values in held for tensor in values.values() if tensor is not None]


def is_plain(modules: Iterable[nn.Module], tensors: Sequence[Tensor]) -> bool:
    """Return whether a copy can replace a net: ordinary modules and tensors on one device, and no hooks.

    Hooks have to be called on the net itself; compiled, scripted, quantised and sharded nets run in their own ways.

    Args:
        modules: All modules of the net.
        tensors: Its parameters and buffers.
    """
    return (
        not any(
            module._forward_hooks
            or module._forward_pre_hooks
            or "_orig_mod" in module._modules  # torch.compile's wrapper
            or "forward" in vars(module)  # replaced on this object, perhaps by a method of the net itself
            or isinstance(module, _NOT_PLAIN)
            for module in modules
        )
        and all(type(tensor) in _PLAIN_TENSORS for tensor in tensors)
        and all(tensor.device == tensors[0].device for tensor in tensors)
    )


def inference_copy(net: nn.Module, example: Tensor, *, dtype: torch.dtype | None = None) -> nn.Module | None:
    """Return a copy of a net that computes the same in eval mode, with less work.

    Batch norm is folded if a run on `example` shows that it is the only user of the output of a convolution or linear
    layer. The copy keeps the net's own `forward`. It is compared with the net on `example`, and discarded if it
    differs. Only copies run: the net and its mode do not change, also for other threads.

    Args:
        net: A plain net (see `is_plain`), in any mode.
        example: Some preprocessed images `[n, C, H, W]`, n at least 1.
        dtype: Format of the weights of convolutions and linear layers, for use under autocast; `None` leaves them.

    Returns:
        The copy in eval mode, or `None` if it would not be faster or the net cannot be copied.
    """
    kinds = Counter(type(module) for module in net.modules())
    has_2d = kinds[nn.Conv2d] > 1  # one alone, as in a ViT, does not get faster
    if dtype is None and not has_2d and not any(kinds[norm] for norm in FOLDABLE):
        return None
    for layout in (torch.channels_last, torch.contiguous_format) if has_2d else (torch.contiguous_format,):
        # A module that cannot be copied, or cannot run in another layout, raises anything: then try the next layout.
        try:
            with torch.no_grad():
                faster = copy.deepcopy(net).eval()
                expected = faster(example)
                folded = fold_batch_norm(faster, example)
                if not (folded or layout is torch.channels_last or dtype is not None):
                    return None
                faster.to(memory_format=layout)
                if layout is torch.channels_last and all(value.device.type == "cpu" for value in faster.parameters()):
                    for name in [name for name, module in faster.named_modules() if _is_pool_of_two(module)]:
                        faster.set_submodule(name, PairwiseMax())
                if not _agree(expected, faster(example.contiguous(memory_format=layout)), example.device):
                    continue
                if dtype is not None:
                    for module in faster.modules():
                        if type(module) in _LAYERS:
                            module.to(dtype)
                    with torch.autocast(example.device.type, dtype=dtype):
                        faster(example.contiguous(memory_format=layout))
        except Exception:  # noqa: S112
            continue
        return faster.requires_grad_(False)
    return None


def fold_batch_norm(net: nn.Module, example: Tensor) -> int:
    """Fold batch norm into the layers before it, in place.

    Args:
        net: In eval mode; batch norms that are folded become `nn.Identity`.
        example: Images that the net takes.

    Returns:
        The number of folded batch norms.
    """
    pairs = foldable_pairs(net, example)
    modules: dict[str, Any] = dict(net.named_modules())
    for layer_name, norm_name in pairs:
        fuse: Any = fuse_linear_bn_eval if isinstance(modules[layer_name], nn.Linear) else fuse_conv_bn_eval
        net.set_submodule(layer_name, fuse(modules[layer_name], modules[norm_name]))
        net.set_submodule(norm_name, nn.Identity())
    return len(pairs)


def foldable_pairs(net: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Find the batch norms that can be folded, by running the net.

    Args:
        net: In eval mode.
        example: Images that the net takes.

    Returns:
        Names of layers, each with that of the batch norm that is the only user of its output.
    """
    # Twice, with one image and with two: a net may run other code on a batch of one image.
    one, two = (_foldable_pairs(net, torch.cat((example, example))[:size]) for size in (1, 2))
    return [pair for pair in one if pair in two]


class PairwiseMax(nn.Module):
    """Compute the same as `nn.MaxPool2d(2)` by comparing neighbours.

    torch's own also stores the index of each maximum, in 64 bits, and is slow on 16-bit numbers: with channels last on
    a CPU this takes half its time.

    Example:
        >>> images = torch.rand(2, 3, 5, 8)
        >>> bool((PairwiseMax()(images) == nn.MaxPool2d(2)(images)).all())
        True
    """

    def forward(self, images: Tensor) -> Tensor:
        """Halve height and width: `[..., H, W]` to `[..., H // 2, W // 2]`."""
        height, width = images.shape[-2] // 2 * 2, images.shape[-1] // 2 * 2
        wide = torch.maximum(images[..., 0:width:2], images[..., 1:width:2])
        return torch.maximum(wide[..., 0:height:2, :], wide[..., 1:height:2, :])


def _foldable_pairs(net: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Run a net, and return the names of layers and of the batch norms that are the only users of their outputs."""
    names: dict[Any, str] = {module: name for name, module in net.named_modules()}
    places = Counter(module for _, module in net.named_modules(remove_duplicate=False))
    calls: Counter[nn.Module] = Counter()
    outputs: dict[int, tuple[Any, Tensor]] = {}  # keeps the tensors, so that no other gets their id
    norms_of: dict[int, list[Any]] = {}
    uses: Counter[int] = Counter()  # by other torch functions than those of batch norms
    before: dict[nn.Module, int] = {}

    class CountUses(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            uses.update(map(id, tree_leaves((args, kwargs))))
            return func(*args, **(kwargs or {}))

    def after_layer(module: nn.Module, _: Any, output: Any) -> None:
        calls[module] += 1
        outputs[id(output)], norms_of[id(output)] = (module, output), []
        uses[id(output)] = 0  # not those of an earlier tensor with this id

    def before_norm(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[module] += 1
        norms_of.get(id(inputs[0]), []).append(module)
        before[module] = uses[id(inputs[0])]

    def after_norm(module: nn.Module, inputs: tuple[Any, ...], _: Any) -> None:
        uses[id(inputs[0])] = before[module]

    hooks = [module.register_forward_hook(after_layer) for module in names if type(module) in _LAYERS]
    for module in names:
        if type(module) in FOLDABLE:
            hooks += [module.register_forward_pre_hook(before_norm), module.register_forward_hook(after_norm)]
    try:
        with CountUses():
            result = net(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (names[layer], names[norm])
        for key, (layer, output) in outputs.items()
        for norm in norms_of[key]
        if len(norms_of[key]) == 1
        and uses[key] == 0
        and result is not output
        and calls[layer] == calls[norm] == places[layer] == places[norm] == 1
        and type(layer) in FOLDABLE[type(norm)]
        and norm.running_mean is not None
        and len(norm.running_mean) == len(layer.weight)
    ]


def _is_pool_of_two(module: nn.Module) -> bool:
    if type(module) is not nn.MaxPool2d or module.return_indices or module.ceil_mode:
        return False
    settings = ((module.kernel_size, 2), (module.stride, 2), (module.padding, 0), (module.dilation, 1))
    return all(value in (wanted, (wanted, wanted)) for value, wanted in settings)


def _agree(expected: Any, computed: Any, device: torch.device) -> bool:
    """Return whether two batches of embeddings are the same except for rounding, relative to their length."""
    if not isinstance(expected, Tensor) or not isinstance(computed, Tensor) or expected.shape != computed.shape:
        return False
    length = torch.linalg.vector_norm(expected, dim=-1, keepdim=True)
    length = length.clamp_min(max(1e-3 * float(length.max()), 1e-12))  # an embedding of nearly 0 has no direction
    # GPUs may multiply in TF32, with 10 bits after the point
    tolerance = 1e-4 if device.type == "cpu" else 1e-2
    return torch.allclose(expected / length, computed / length, rtol=0, atol=tolerance, equal_nan=True)
