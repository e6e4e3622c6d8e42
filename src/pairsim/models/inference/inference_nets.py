"""Select the net that runs at inference: the net itself, or a faster copy that is made again when the net changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from pairsim._common.precision import fp32_convolutions
from pairsim.models.inference.folding import inference_copy, is_plain, parts_of

MAX_WITHOUT_COPY = 2
"""Images up to which the net itself runs: a copy takes longer to make and to check than it saves on a pair."""

_EXAMPLES = 4
"""Images on which a copy is compared with the net."""

_SAMPLES = 8
"""Values compared along each dimension of a weight, or up to twice as many."""

_PLAIN_TYPES = frozenset({bool, float, int, str})
_OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has, such as its parameters, hooks and mode."""
_State: TypeAlias = tuple[object, Tensor]


def default_batch_size(device: torch.device, image_size: tuple[int, int]) -> int:
    """Return how many images of a size are embedded at once by default.

    On a CPU the widest activations of the reference net stay below 32 MB: larger ones leave the cache, and glibc has
    the system clear new pages for each of them. A GPU takes 64 times as many pixels.

    Args:
        device: The device of the net.
        image_size: Height and width.

    Returns:
        4 to 256 on a CPU, 4 to 2048 elsewhere.

    Example:
        >>> default_batch_size(torch.device("cpu"), (28, 28)), default_batch_size(torch.device("cuda"), (224, 224))
        (256, 256)
    """
    max_pixels, max_size = (256 * 28 * 28, 256) if device.type == "cpu" else (64 * 256 * 28 * 28, 2048)
    return min(max(max_pixels // max(image_size[0] * image_size[1], 1), 4), max_size)


@dataclass(frozen=True, kw_only=True)
class InferenceNet:
    """A net ready to run.

    Attributes:
        net: A faster copy, or the net itself.
        dtype: What it computes in under autocast, or `None` for its weights' own format.
        in_eval_mode: Whether it is in eval mode already; else the caller sets it.
        images_dtype: Format to which images in floating point are converted, or `None` for any.
        layout: Memory format of the images, or `None` for any.
    """

    net: Callable[[Tensor], Tensor]
    dtype: torch.dtype | None
    in_eval_mode: bool = False
    images_dtype: torch.dtype | None = None
    layout: torch.memory_format | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Run the net on preprocessed images `[N, C, H, W]`; call it without gradients."""
        if self.images_dtype is not None and images.is_floating_point():
            images = images.to(self.images_dtype)
        if self.layout is not None:
            images = images.contiguous(memory_format=self.layout)
        with _autocast(images.device.type, self.dtype), fp32_convolutions(self.dtype, images.device.type):
            return self.net(images)


def _autocast(device_type: str, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    if dtype is not None:
        return torch.autocast(device_type, dtype=dtype)
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):  # by the caller
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class InferenceNets:
    """Makes the inference copies of one net, one for each precision, and keeps them until the net changes.

    Changes are detected by its modules and their attributes; by address, type and version counter of each parameter and
    buffer; and by the sum and a sample of their values, as version counters miss edits through `.data`, the running
    statistics that batch norm writes, and the replay of a CUDA graph.

    Copies of this object, and so of a model, start empty.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval()
        >>> images = torch.rand(2, 1, 8, 8)
        >>> nets = InferenceNets()
        >>> nets.get(net, images, None) is nets.get(net, images, None)
        True
    """

    def __init__(self) -> None:
        self._kept: tuple[_State | None, dict[Hashable, InferenceNet]] = (None, {})

    def get(self, net: nn.Module, images: Tensor, dtype: torch.dtype | None, *, few: bool = False) -> InferenceNet:
        """Return the net to run.

        Args:
            net: In any mode.
            images: Preprocessed images `[n, C, H, W]`, n at least 1; a copy is tried on the first few.
            dtype: From `inference_dtype`.
            few: Whether a copy is not worth its making. Only a net in training mode gets one then, as changing its
                mode would disturb other threads.
        """
        modules, tensors = parts_of(net)
        own = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)
        if few and not any(module.training for module in modules):
            return InferenceNet(net=net, dtype=dtype, in_eval_mode=True, images_dtype=own)
        if not is_plain(modules, tensors):
            return InferenceNet(net=net, dtype=dtype, images_dtype=own)
        state, (known, ready) = _state(modules, tensors), self._kept
        if known is None or known[0] != state[0] or not torch.equal(known[1], state[1]):
            ready = {}
            self._kept = (state, ready)
        # that there is no copy is known for this shape only: the images may not have been what the net takes
        shape = images.shape[1:]
        chosen = ready.get(dtype) or ready.get((dtype, shape))
        if chosen is None:
            with _autocast(images.device.type, None):
                chosen = _made_ready(net, images[:_EXAMPLES], dtype, own)
            ready[dtype if chosen.in_eval_mode else (dtype, shape)] = chosen
        return chosen

    def __reduce__(self) -> tuple[type[InferenceNets], tuple[()]]:
        return (InferenceNets, ())


def _state(modules: Iterable[nn.Module], tensors: Iterable[Tensor]) -> _State:
    """Return what distinguishes one state of a net from another: its structure, and sums and samples of its values."""
    settings = [
        (id(module), [(name, _compared(value)) for name, value in vars(module).items() if name not in _OF_TORCH])
        for module in modules
    ]
    counters = [
        # tensors made in inference mode have no counter, so that every call sees another state
        (object() if tensor.is_inference() else tensor._version, tensor.data_ptr(), tensor.dtype, tensor.device)
        for tensor in tensors
    ]
    # a copy, as a view would change along with the weights
    values = [tensor.detach() for tensor in tensors]
    sums = [_sum(tensor) for tensor in values if tensor.numel() > _SAMPLES]
    sample = [_every_few(tensor).flatten() for tensor in values]
    return (settings, counters), torch.cat(([torch.stack(sums)] if sums else []) + sample) if values else torch.empty(0)


class _Same:
    """Equal only to one of the same object, which it keeps, so that no other gets its address."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]


def _compared(value: object) -> object:
    """Return what an attribute is compared by: numbers and names, also in lists, by value; others by identity."""
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, Tensor):
        return _Same(value), None if value.is_inference() else value._version
    if isinstance(value, dict):
        return dict, [(_compared(key), _compared(one)) for key, one in value.items()]
    return (type(value), [*map(_compared, value)]) if isinstance(value, list | tuple) else _Same(value)


def _sum(tensor: Tensor) -> Tensor:
    is_short = tensor.dtype in (torch.float16, torch.bfloat16)  # whose sums lose most digits
    return tensor.sum(dtype=torch.float32 if is_short else None)


def _every_few(tensor: Tensor) -> Tensor:
    if tensor.numel() <= _SAMPLES:
        return tensor
    return tensor[tuple([slice(None, None, size // _SAMPLES or 1) for size in tensor.shape])]


def _made_ready(net: nn.Module, example: Tensor, dtype: torch.dtype | None, own: torch.dtype | None) -> InferenceNet:
    example = example.to(own) if own is not None and example.is_floating_point() else example
    faster = inference_copy(net, example, dtype=dtype)
    used = net if faster is None else faster
    last = any(
        weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in used.parameters()
    )
    layout = torch.channels_last if last else torch.contiguous_format
    return InferenceNet(net=used, dtype=dtype, in_eval_mode=faster is not None, images_dtype=own, layout=layout)
