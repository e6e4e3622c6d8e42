"""A few images in MNIST's file format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def tiny_mnist(tmp_path: Path) -> Path:
    """MNIST's four files with a few random images; the root for torchvision."""
    rng = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, size in (("train", 120), ("t10k", 40)):
        images, labels = rng.integers(0, 256, (size, 28, 28), np.uint8), np.arange(size, dtype=np.uint8) % 10
        shape = np.array([0x00000803, size, 28, 28], ">i4").tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(shape + images.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(
            np.array([0x00000801, size], ">i4").tobytes() + labels.tobytes()
        )
    return tmp_path
