"""What a result depends on besides code and data: versions, device, threads."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch


def describe_environment(device: torch.device, *, num_processes: int = 1) -> dict[str, Any]:
    """Versions and hardware, as JSON values.

    Args:
        device: The device that is used.
        num_processes: That train together.

    Returns:
        Versions of pairsim, Python, torch and numpy, kind of device, and number of threads, and of
        processes if there are several.
    """
    versions = {}
    for package in ("pairsim", "torch", "torchvision", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.system(),
        "device": str(device) if num_processes == 1 else device.type,
        "device_name": name,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        **({} if num_processes == 1 else {"num_processes": num_processes}),
    }
