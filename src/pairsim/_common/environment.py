"""Describe the environment that a result depends on: versions, device, threads."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch


def describe_environment(device: torch.device, *, num_processes: int = 1) -> dict[str, Any]:
    """Describe versions and hardware as JSON values.

    Args:
        device: The device that is used.
        num_processes: Number of processes that train together.

    Returns:
        Versions of pairsim, torch, torchvision, numpy and Python, system, device, and the number of threads; of several
        processes also their number.
    """
    versions = {}
    for package in ("pairsim", "torch", "torchvision", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.system(),
        "device": str(device) if num_processes == 1 else device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": torch.get_num_threads(),
        **({} if num_processes == 1 else {"num_processes": num_processes}),
    }
