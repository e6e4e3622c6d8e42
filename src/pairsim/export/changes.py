"""How similarities, and decisions by them, differ between two exported files of one model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pairsim.data import PairDataset, PairIndices, read_labels
from pairsim.data.image_sets import fetch_images, in_memory
from pairsim.evaluation import PairFigures, PairScores
from pairsim.export.description import Description
from pairsim.export.onnx_models import Float32Array, OnnxModel, Pixels, check_pixels
from pairsim.verification.scoring import all_scores

_BATCH, _ROWS = 256, 1024


class PixelSource:
    """The uint8 pixels of whatever holds images.

    Args:
        data: A dataset of uint8 images or pictures, or uint8 `[N, C, H, W]`.
        description: Of the file that they are for.
    """

    def __init__(self, data: Any, description: Description) -> None:
        self.labelled: bool = not isinstance(data, Tensor | np.ndarray)
        self.data: Any = in_memory(data) if self.labelled else torch.as_tensor(data)
        self._description = description

    def __len__(self) -> int:
        return len(self.data)

    def some(self, number: int) -> Pixels:
        """At most so many, evenly spaced."""
        return self.at(np.unique(np.linspace(0, len(self) - 1, min(number, len(self))).round().astype(np.int64)))

    def at(self, places: npt.NDArray[np.int64]) -> Pixels:
        """The images at some places, `[n, C, H, W]`.

        Raises:
            ValueError: If they are not uint8 images of the model's size.
        """
        if self.labelled:
            found = fetch_images(self.data, places, self._description.preprocessing)
        else:
            found = self.data[torch.from_numpy(places)]
        pixels: Pixels = np.ascontiguousarray(found.cpu().numpy())
        check_pixels(pixels, self._description)
        return pixels

    def batches(self, places: npt.NDArray[np.int64] | None = None) -> Iterator[Pixels]:
        """Images at some places, by default all, a batch at a time."""
        wanted = np.arange(len(self)) if places is None else places
        return (self.at(wanted[start : start + _BATCH]) for start in range(0, len(wanted), _BATCH))


def compare_models(before: OnnxModel, after: OnnxModel, images: PixelSource) -> dict[str, Any]:
    """The fields of `Quantization` that say what changed.

    Args:
        before: The file that another was made from.
        after: That other, of the same kind.
        images: Compared on all their pairs, or for kind `"pair"` on about as many pairs as there are images. With
            labels balanced accuracies are among the result.
    """
    threshold = before.description.threshold
    if before.description.kind == "embed":
        vectors = [np.concatenate([model.embed(part) for part in images.batches()]) for model in (before, after)]
        num_pairs = len(images) * (len(images) - 1) // 2
        mean, largest = _change_of_all(*vectors)
    else:
        pairs = _pairs(images)
        similarities = [_similarities(model, images, pairs) for model in (before, after)]
        num_pairs = len(pairs.first)
        change = np.abs(similarities[0] - similarities[1])
        mean, largest = float(change.mean()), float(change.max())
    found: dict[str, Any] = {"num_pairs": num_pairs, "mean_change": mean, "max_change": largest}
    if images.labelled and not math.isnan(threshold):
        scores: list[PairFigures]
        if before.description.kind == "embed":
            codes = np.unique(read_labels(images.data), return_inverse=True)[1].astype(np.int64)
            scores = [all_scores(of, codes) for of in vectors]
        else:
            scores = [PairScores.from_scores(of, pairs.target) for of in similarities]
        names = ("balanced_accuracy_before", "balanced_accuracy_after")
        found |= {name: of.balanced_accuracy(threshold) for name, of in zip(names, scores, strict=True)}
    return found


def _pairs(images: PixelSource) -> PairIndices:
    """As many pairs as images, drawn by their labels; without labels each image and the next."""
    if images.labelled:
        return PairDataset(images.data).all_pairs()
    first = np.arange(len(images) - 1)
    return PairIndices(first, first + 1, np.zeros(len(first), dtype=np.uint8))


def _similarities(model: OnnxModel, images: PixelSource, pairs: PairIndices) -> Float32Array:
    batches = zip(images.batches(pairs.first), images.batches(pairs.second), strict=True)
    return np.concatenate([model.compare(first, second)[0] for first, second in batches])


def _change_of_all(a: Float32Array, b: Float32Array) -> tuple[float, float]:
    """Mean and largest absolute change of the similarity of all pairs."""
    total, largest = 0.0, 0.0
    for start in range(0, len(a), _ROWS):
        rows = slice(start, start + _ROWS)
        change = np.triu(np.abs(a[rows] @ a[start:].T - b[rows] @ b[start:].T), k=1)
        total += float(change.sum(dtype=np.float64))
        largest = max(largest, float(change.max()))
    return total / (len(a) * (len(a) - 1) / 2), largest
