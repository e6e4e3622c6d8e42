"""Picture files with random pixels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(
    folder: Path, names: Iterable[str], shape: tuple[int, ...] = (8, 8), *, brightest: int = 255
) -> list[Path]:
    """Write a picture of `shape` for each name, sub-folders and suffix included; return the paths in this order."""
    generator = np.random.default_rng(0)
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, brightest, shape, dtype=np.uint8, endpoint=True)).save(path)
    return paths


def folder_of_classes(folder: Path, classes: Iterable[str], number: int = 10, shape: tuple[int, ...] = (8, 8)) -> Path:
    """Write `0.png`, `1.png`, ... into a sub-folder for each class and return `folder`."""
    write_pictures(folder, [f"{name}/{index}.png" for name in classes for index in range(number)], shape)
    return folder
