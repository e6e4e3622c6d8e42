"""The net as it is run for inference: at which precision, and from a faster copy that never outlives the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairsim.models.inference.folding import inference_copy, is_plain, parts_of

_EXAMPLES = 4
"""Images on which a copy is compared with the net."""

_SAMPLES = 8
"""Values looked at along each dimension of a weight, or up to twice as many."""

_PLAIN_TYPES = frozenset({bool, float, int, str})


def default_batch_size(device: torch.device, image_size: tuple[int, int]) -> int:
    """How many images of a size are embedded at once where nobody says.

    On a CPU the widest activations of the reference net stay below 32 MB: larger ones leave the cache, and glibc has
    the system clear new pages for each of them. A GPU takes 64 times as many pixels.

    Args:
        device: Where the net runs.
        image_size: Height and width.

    Returns:
        4 to 256 on a CPU, 4 to 2048 elsewhere.

    Example:
        >>> default_batch_size(torch.device("cpu"), (28, 28)), default_batch_size(torch.device("cuda"), (224, 224))
        (256, 256)
    """
    pixels, most = (256 * 28 * 28, 256) if device.type == "cpu" else (64 * 256 * 28 * 28, 2048)
    return min(max(pixels // max(image_size[0] * image_size[1], 1), 4), most)


@dataclass(frozen=True, kw_only=True)
class InferenceNet:
    """A net ready to be run.

    Attributes:
        net: A faster copy, or the net itself.
        dtype: What it computes in under autocast, or `None` for its weights' own format.
        is_copy: Whether it is a copy, and so in eval mode; the net itself must be put in it.
        images_dtype: What images in floating point are given to it in, or `None` for any.
        layout: Memory format of the images, or `None` for any.
    """

    net: Callable[[Tensor], Tensor]
    dtype: torch.dtype | None
    is_copy: bool = False
    images_dtype: torch.dtype | None = None
    layout: torch.memory_format | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """What the net gives for preprocessed images `[N, C, H, W]`; call it without gradients."""
        if self.images_dtype is not None and images.is_floating_point():
            images = images.to(self.images_dtype)
        if self.layout is not None:
            images = images.contiguous(memory_format=self.layout)
        with _autocast(images.device.type, self.dtype):
            return self.net(images)


def _autocast(device_type: str, dtype: torch.dtype | None) -> contextlib.AbstractContextManager[object]:
    if dtype is not None:
        return torch.autocast(device_type, dtype=dtype)
    if torch.amp.is_autocast_available(device_type):  # somebody's outside does not count
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class InferenceNets:
    """Makes and keeps the inference copies of one net, one for each precision, for as long as it does not change.

    Whether it changed is told by its modules and their settings; by place, type and version counter of each parameter
    and buffer; and by a sample of their values, as version counters miss edits through `.data`, the running
    statistics that batch norm writes, and what a CUDA graph replays.

    Copies of this object, and so of a model, start empty.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval()
        >>> images = torch.rand(2, 1, 8, 8)
        >>> nets = InferenceNets()
        >>> nets.get(net, images, None) is nets.get(net, images, None)
        True
    """

    def __init__(self) -> None:
        self._kept: tuple[_Fingerprint | None, dict[Hashable, InferenceNet]] = (None, {})

    def get(self, net: nn.Module, images: Tensor, dtype: torch.dtype | None) -> InferenceNet:
        """The net to run.

        Args:
            net: In any mode; only if no copy of it can be made must it be in eval mode when it is run.
            images: Preprocessed images `[n, C, H, W]`, of which the first few are tried, n at least 1.
            dtype: From `inference_dtype`.
        """
        modules, tensors = parts_of(net)
        if not is_plain(modules, tensors):
            return InferenceNet(net=net, dtype=dtype)
        state = _Fingerprint.of(modules, tensors)
        known, ready = self._kept
        if known is None or not known.equals(state):
            ready = {}
            self._kept = (state, ready)
        # that there is no copy is known for this shape only: the images may have been what the net does not take
        shape = images.shape[1:]
        found = ready.get(dtype) or ready.get((dtype, shape))
        if found is None:
            with _autocast(images.device.type, None):
                found = _made_ready(net, images[:_EXAMPLES], dtype)
            ready[dtype if found.is_copy else (dtype, shape)] = found
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> InferenceNets:
        return InferenceNets()

    def __reduce__(self) -> tuple[type[InferenceNets], tuple[()]]:
        return (InferenceNets, ())


@dataclass(frozen=True)
class _Fingerprint:
    """What tells one state of a net from another."""

    structure: object
    values: Tensor

    @classmethod
    def of(cls, modules: Iterable[nn.Module], tensors: Iterable[Tensor]) -> _Fingerprint:
        settings = [(id(module), _settings(module)) for module in modules]
        counters = [
            # tensors made in inference mode have no counter, so that each look sees another state
            (object() if tensor.is_inference() else tensor._version, tensor.data_ptr(), tensor.dtype, tensor.device)
            for tensor in tensors
        ]
        # a copy, as a view would change along with the weights
        sample = [_every_few(tensor.detach()).flatten() for tensor in tensors]
        return cls((settings, counters), torch.cat(sample) if sample else torch.empty(0))

    def equals(self, other: _Fingerprint) -> bool:
        return self.structure == other.structure and torch.equal(self.values, other.values)


def _settings(module: nn.Module) -> list[tuple[str, object]]:
    """Numbers, names and the like among a module's attributes, but for its mode."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if (type(value) in _PLAIN_TYPES or (type(value) is tuple and all(type(v) in _PLAIN_TYPES for v in value)))
        and name != "training"
    ]


def _every_few(tensor: Tensor) -> Tensor:
    if tensor.numel() <= _SAMPLES:
        return tensor
    return tensor[tuple([slice(None, None, size // _SAMPLES or 1) for size in tensor.shape])]


def _floating_dtype(net: nn.Module) -> torch.dtype | None:
    return next((tensor.dtype for tensor in net.parameters() if tensor.is_floating_point()), None)


def _made_ready(net: nn.Module, example: Tensor, dtype: torch.dtype | None) -> InferenceNet:
    own = _floating_dtype(net)
    example = example.to(own) if own is not None and example.is_floating_point() else example
    faster = inference_copy(net, example, dtype=dtype)
    used = net if faster is None else faster
    last = any(
        weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in used.parameters()
        if weight.ndim == 4
    )
    layout = torch.channels_last if last else torch.contiguous_format
    return InferenceNet(net=used, dtype=dtype, is_copy=faster is not None, images_dtype=own, layout=layout)
