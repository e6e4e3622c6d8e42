"""Choose the number format of the forward pass for a device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from pairsim._common.choices import PRECISIONS, PrecisionName
from pairsim.errors import DeviceError

_DTYPES: dict[PrecisionName, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def inference_dtype(precision: PrecisionName, device: torch.device) -> torch.dtype | None:
    """Choose the number format of convolutions and linear layers.

    Args:
        precision: `"fp32"` keeps the format of the weights; `"bf16"`; `"fp16"`; `"auto"` is bf16 where the hardware
            computes in it, else fp16 on CUDA, else the format of the weights.
        device: Where the net runs.

    Returns:
        bfloat16, float16, or `None` for the format of the weights.

    Raises:
        DeviceError: If a GPU does not compute in bf16.
        ValueError: If there is no such precision.

    Example:
        >>> inference_dtype("fp16", torch.device("cpu"))
        torch.float16
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Expected precision to be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    cuda = device.type == "cuda"
    if precision == "auto":
        if cuda:
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_computes_bf16() else None
    if precision == "bf16" and cuda and not torch.cuda.is_bf16_supported():
        raise DeviceError("Expected a GPU that computes in bf16, found one that does not. Use precision fp16 or auto.")
    return _DTYPES[precision]


def cpu_computes_bf16() -> bool:
    """Whether this processor multiplies in bf16."""
    # PyTorch has no public function for this. Other processors emulate bf16, slower than fp32.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


@contextlib.contextmanager
def fp32_convolutions(dtype: torch.dtype | None, device_type: str) -> Iterator[None]:
    """Multiply in fp32 where a GPU convolves fp32 tensors; PyTorch's default is TF32, with 10 bits of each factor.

    Args:
        dtype: From `inference_dtype`; the context changes nothing unless it is `None`.
        device_type: Likewise unless it is `"cuda"`.
    """
    if dtype is not None or device_type != "cuda":
        yield
        return
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


@dataclass(frozen=True)
class Precision:
    """A number format for the forward pass.

    Attributes:
        name: `"fp32"`, `"bf16"` or `"fp16"`.
        device_type: Type of the device, for autocast.
    """

    name: PrecisionName
    device_type: str

    @property
    def scales_gradients(self) -> bool:
        """Whether the loss has to be scaled, because small gradients vanish in fp16."""
        return self.name == "fp16"

    def fp32_convolutions(self) -> contextlib.AbstractContextManager[None]:
        """The context in which a whole step runs, with its backward pass."""
        return fp32_convolutions(_DTYPES[self.name], self.device_type)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which the net runs."""
        dtype = _DTYPES[self.name]
        return contextlib.nullcontext() if dtype is None else torch.autocast(self.device_type, dtype=dtype)


def resolve_precision(name: PrecisionName, device: torch.device) -> Precision:
    """Resolve the number format of training on a device.

    Args:
        name: The precision; see `inference_dtype`.
        device: Where the net is trained.

    Returns:
        The number format; `"fp32"` where `inference_dtype` returns `None`.

    Raises:
        DeviceError: If a GPU does not compute in bf16.
        ValueError: If there is no such precision.
    """
    dtype = inference_dtype(name, device)
    return Precision(next(known for known, value in _DTYPES.items() if value == dtype), device.type)
