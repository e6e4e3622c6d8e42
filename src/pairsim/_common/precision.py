"""Number formats of the forward pass: their names, and the choice for a device."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch

from pairsim._common.choices import PRECISIONS, PrecisionName
from pairsim.errors import DeviceError


def inference_dtype(precision: PrecisionName, device: torch.device) -> torch.dtype | None:
    """The number format of convolutions and linear layers for a precision.

    Args:
        precision: `"fp32"` leaves the weights in their own format; `"bf16"`; `"fp16"`; `"auto"` takes bf16 where the
            hardware computes in it, else fp16 on CUDA, else the weights' own.
        device: Where the net runs.

    Returns:
        bfloat16, float16, or `None` for the weights' own.

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
        raise DeviceError("Expected a GPU that computes in bf16, this one does not. Use precision fp16 or auto.")
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def cpu_computes_bf16() -> bool:
    """Whether this processor multiplies in bf16."""
    # PyTorch has no public name for this; without it bf16 would be emulated, slower than fp32
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        check = getattr(torch.cpu, name, None)
        if check is not None and check():
            return True
    return False


@dataclass(frozen=True)
class Precision:
    """A number format for the forward pass.

    Attributes:
        name: `"fp32"`, `"bf16"` or `"fp16"`.
        device_type: Kind of device, for autocast.
    """

    name: Literal["fp32", "bf16", "fp16"]
    device_type: str

    @property
    def scales_gradients(self) -> bool:
        """Whether the loss must be scaled, as small gradients vanish in fp16."""
        return self.name == "fp16"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which the net runs."""
        if self.name == "fp32":
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device_type, dtype=dtype)


def resolve_precision(name: PrecisionName, device: torch.device) -> Precision:
    """The number format for a device.

    `"auto"` takes bf16 where the hardware computes in it, else fp16 on CUDA, else fp32.

    Raises:
        DeviceError: If the device cannot compute in the format that was asked for.
    """
    if name != "auto":
        if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise DeviceError("Expected a GPU that computes in bf16, this one does not. Use precision fp16 or auto.")
        return Precision(name, device.type)
    if device.type == "cuda":
        return Precision("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16", "cuda")
    return Precision("bf16" if device.type == "cpu" and cpu_computes_bf16() else "fp32", device.type)
