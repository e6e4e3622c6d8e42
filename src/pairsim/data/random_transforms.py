"""Check whether a dataset gives the same image every time, by its transforms and by reading images twice."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from pairsim.data.generators import seeded_generators
from pairsim.data.image_sets import fetch_images
from pairsim.images import Preprocessing

# Random transforms of torchvision (both versions), besides those whose names begin with Random.
_RANDOM = {
    "AugMix", "AutoAugment", "ColorJitter", "CutMix", "ElasticTransform", "GaussianNoise", "JPEG", "MixUp",
    "RandAugment", "ScaleJitter", "TrivialAugmentWide",
}  # fmt: skip
_FIXED = {
    "CenterCrop", "ConvertImageDtype", "Grayscale", "Identity", "Normalize", "PILToTensor", "Pad", "Resize",
    "RGB", "ToDtype", "ToImage", "ToPILImage", "ToPureTensor", "ToTensor",
}  # fmt: skip
_HOLDERS = {"Compose", "Sequential", "StandardTransform"}
_ITEMS_READ_TWICE = 8


def random_transform(dataset: Any) -> str | None:
    """Return the name of the first random transform of a dataset, searched through wrappers and compositions.

    Recognised are torchvision's transforms and any class named `Random...`. `None` does not prove that there is none:
    a function may draw random numbers (see `differing_item`).

    Args:
        dataset: Any dataset; its attributes that hold datasets or transforms are searched.

    Example:
        >>> from torchvision.transforms import v2
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.zeros(2, 4, 4, dtype=torch.uint8), [0, 1])
        >>> images.transform = v2.Compose([v2.PILToTensor(), v2.RandomCrop(2)])
        >>> random_transform(images)
        'RandomCrop'
    """
    return next((type(part).__name__ for part in _parts(dataset) if _is_random(part)), None)


def is_known_fixed(dataset: Any) -> bool:
    """Return whether a dataset is known to give the same image each time.

    This holds for datasets of torchvision and pairsim with transforms of torchvision that are not random, for lists,
    and for Hugging Face datasets without a transform. Datasets and functions of other modules are never known.

    Args:
        dataset: Any dataset.

    Example:
        >>> from pairsim.data import ImageFiles
        >>> is_known_fixed(ImageFiles(["a.png"], ["a"])), is_known_fixed(range(3))
        (True, False)
    """
    for part in _parts(dataset):
        kind = type(part)
        if kind in (list, tuple, Subset, ConcatDataset, TensorDataset) or kind.__name__ in _HOLDERS:
            continue
        if kind.__module__ == "datasets.arrow_dataset" and part.format["type"] != "custom":  # of Hugging Face
            continue
        module = part.__module__ if isinstance(part, FunctionType) else kind.__module__
        known = f"{module}.".startswith(("torchvision.datasets.", "torchvision.transforms.", "pairsim.data."))
        fixed = isinstance(part, Dataset | FunctionType) or kind.__name__ in _FIXED
        if not known or not fixed or _is_random(part):
            return False
    return True


def differing_item(dataset: Any, preprocessing: Preprocessing | None = None) -> int | None:
    """Read a few items, spread over the dataset, twice, and return the number of the first one that differs.

    A transform that changes few items may not be detected.

    Args:
        dataset: Map-style; items are `(image, ...)` or images.
        preprocessing: Reads items that are PIL images, arrays or paths.

    Raises:
        DataError: If an item is not an image.
        ImageReadError: If a file cannot be read; the message names it.
    """
    for index in np.unique(np.linspace(0, len(dataset) - 1, num=_ITEMS_READ_TWICE).astype(np.int64)):
        images = []
        for key in (1, 2):
            with seeded_generators(key):
                images.append(fetch_images(dataset, index[None], preprocessing))
        if not torch.equal(*images):
            return int(index)
    return None


def _is_random(part: Any) -> bool:
    name = type(part).__name__
    if name == "GaussianBlur":  # random between two strengths, which may be equal
        low, *_, high = getattr(part, "sigma", (0, 1))
        return bool(low != high)
    return name.startswith("Random") or name in _RANDOM


def _parts(dataset: Any) -> Iterator[Any]:
    """Yield a dataset, the datasets in it, and all their transforms, depth first."""
    seen: set[int] = set()
    waiting = [dataset]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += part.children() if isinstance(part, nn.Module) else []
        for name, value in getattr(part, "__dict__", {}).items():
            # Transforms of labels (target_transform) do not change images.
            follow = ("transform" in name or "augment" in name or name == "loader") and not name.startswith("target")
            for item in value if isinstance(value, list | tuple) and (follow or name == "datasets") else (value,):
                inside = isinstance(item, Dataset) or name in ("dataset", "datasets")
                waiting += [item] if inside or (follow and callable(item)) else []
