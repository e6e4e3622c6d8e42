"""Labelled images in a memory-mapped file of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pairsim.data.random import Int64Array


@dataclass(eq=False)
class MappedImages(Dataset[tuple[Tensor, Any]]):
    """Labelled images in a memory-mapped file of pixels.

    Args:
        path: The file; it is not changed while it is in use.
        offset: Bytes before the first pixel.
        shape: `(N, C, H, W)` of the uint8 pixels in it.
        targets: Label of each image `[n]`.
        indices: Which images of the file these are `[n]`.
    """

    path: Path
    offset: int
    shape: tuple[int, int, int, int]
    targets: npt.NDArray[Any]
    indices: Int64Array
    _pixels: npt.NDArray[np.uint8] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pixels": None}  # each worker maps the file itself

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.batch(np.array([index]))[0], self.targets[index].item()

    def batch(self, indices: npt.NDArray[np.integer]) -> Tensor:
        """Read images as uint8 `[n, C, H, W]`."""
        if self._pixels is None:
            # Read-only, unlike torch.from_file: a writable map cannot be larger than the memory of the machine.
            self._pixels = np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.offset, shape=self.shape)
        return torch.from_numpy(np.asarray(self._pixels).take(self.indices[indices], axis=0))
