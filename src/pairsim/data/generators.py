"""Seed the global random generators for code that draws from them, and restore them afterwards."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


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
        # torch.manual_seed would seed every GPU
        torch.default_generator.manual_seed(key)
        if gpu is not None:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(key)
        random.seed(key)
        np.random.seed(key % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
