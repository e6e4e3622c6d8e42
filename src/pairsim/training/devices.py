"""Which device and which number format to train with."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Literal

import torch

from pairsim.errors import DeviceError
from pairsim.models.inference import PrecisionName, cpu_computes_bf16


def resolve_device(name: str = "auto") -> torch.device:
    """The device for a name.

    Args:
        name: `"auto"` (CUDA, else Apple's MPS, else CPU), `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.

    Raises:
        ValueError: If the name is not a device.
        DeviceError: If the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'Expected device to be "auto", "cpu", "cuda", "cuda:N" or "mps", got {name!r}.') from error
    count = torch.cuda.device_count() if device.type == "cuda" and torch.cuda.is_available() else 0
    absent = (device.type == "cuda" and (device.index or 0) >= count) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise DeviceError(
            f"Expected a device for {name!r}, but PyTorch {torch.__version__} finds "
            f"{count} CUDA device{'s' if count != 1 else ''}. Use device auto or cpu, or mend the driver "
            "(pairsim doctor shows what is there)."
        )
    return device


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
