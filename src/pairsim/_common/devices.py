"""Resolve the device to compute on, and restrict PyTorch to deterministic algorithms."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from pairsim._common.choices import check_device_name
from pairsim.errors import DeviceError


def resolve_device(name: str = "auto", *, local_rank: int | None = None) -> torch.device:
    """Resolve the name of a device.

    Args:
        name: `"auto"` (CUDA, else Apple's MPS, else CPU), `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.
        local_rank: Number on this machine of one of several processes that train together: each computes on the GPU of
            its number, or on the only one that it sees, or all compute on the CPU.

    Returns:
        The device; a GPU has its number.

    Raises:
        ValueError: If the name is not that of a device.
        DeviceError: If the machine does not have the device.
    """
    check_device_name(name)
    if local_rank is not None and name not in ("auto", "cpu", "cuda"):
        raise ValueError(
            f'Expected device to be "auto", "cpu" or "cuda" with several processes, got {name!r}. '
            "Each computes on the GPU of its LOCAL_RANK; choose GPUs by CUDA_VISIBLE_DEVICES."
        )
    if name == "auto" and torch.cuda.is_available():
        name = "cuda"
    elif name == "auto":
        name = "mps" if local_rank is None and torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    count = torch.cuda.device_count() if device.type == "cuda" and torch.cuda.is_available() else 0
    no_mps = device.type == "mps" and not torch.backends.mps.is_available()
    if no_mps or (device.type == "cuda" and (device.index or 0) >= count):
        raise DeviceError(
            f"Expected a device for {name!r}, but PyTorch {torch.__version__} finds "
            f"{count} CUDA device{'s' if count != 1 else ''}. Use device auto or cpu, or fix the driver "
            "(pairsim doctor shows the devices)."
        )
    if device.type != "cuda":
        return device
    if local_rank is None:  # with its number, as the devices of tensors have it
        return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    if count == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:  # job schedulers show each process its own GPU only
        return torch.device("cuda", 0)
    if local_rank >= count:
        raise DeviceError(
            f"Expected a GPU for each process, found {count} for LOCAL_RANK {local_rank}. "
            f"Start with torchrun --nproc-per-node {count}, or use device cpu."
        )
    return torch.device("cuda", local_rank)


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Restrict PyTorch to deterministic algorithms inside the context, and restore the caller's settings after it.

    Args:
        wanted: If `False`, the context changes nothing.
    """
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
