"""Seed the global random generators for code that draws from them, and restore them afterwards."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def seed_generators(key: int, device: torch.device | None = None) -> None:
    """Seed PyTorch's generator of the CPU, and that of a device.

    `torch.manual_seed` seeds those of all devices, which can take as long as a training step of a small net.

    Args:
        key: From `stream_key`.
        device: `None` for the CPU only.
    """
    torch.default_generator.manual_seed(key)
    if device is not None and device.type != "cpu":
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            torch.get_device_module(device).manual_seed(key)


@contextlib.contextmanager
def seeded_generators(key: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed Python's, NumPy's and PyTorch's global generators; the previous states are restored afterwards.

    Args:
        key: From `stream_key`.
        device: A GPU whose generator is seeded too; by default none is, as the training step uses them.

    Example:
        >>> with seeded_generators(1):
        ...     first = torch.rand(())
        >>> with seeded_generators(1):
        ...     bool(torch.rand(()) == first)
        True
    """
    gpu = device if device is not None and device.type == "cuda" else None
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[] if gpu is None else [gpu]):
        seed_generators(key, gpu)
        random.seed(key)
        np.random.seed(key % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
