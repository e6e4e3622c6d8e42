"""Measure how similarities and decisions differ between two exported files of one model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairsim.data import ImageTensors, PairDataset, PairIndices, read_labels
from pairsim.data.image_sets import fetch_images, in_memory
from pairsim.data.random import Int64Array
from pairsim.evaluation import PairFigures, PairScores
from pairsim.export.description import Description
from pairsim.export.onnx_models import Float32Array, OnnxModel, Pixels, check_pixels
from pairsim.verification.scoring import all_scores

_BATCH, _ROWS = 256, 1024


class PixelSource:
    """The uint8 pixels of a dataset or of an array of images.

    Args:
        data: A dataset of uint8 images or pictures, or uint8 `[N, C, H, W]`.
        description: Of the file that the images are for.
    """

    def __init__(self, data: Any, description: Description) -> None:
        self.labelled: bool = not isinstance(data, Tensor | np.ndarray)
        self.dataset: Any = in_memory(data) if self.labelled else ImageTensors(torch.as_tensor(data), range(len(data)))
        self._description = description

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, number: int) -> Pixels:
        """Return at most `number` images, evenly spaced."""
        return self.at(np.unique(np.linspace(0, len(self) - 1, min(number, len(self))).round().astype(np.int64)))

    def at(self, indices: Int64Array) -> Pixels:
        """Return the images at `indices` as `[n, C, H, W]`.

        Raises:
            ValueError: If they are not uint8 images of the model's size.
        """
        images = fetch_images(self.dataset, indices, self._description.preprocessing)
        pixels: Pixels = np.ascontiguousarray(images.cpu().numpy())
        check_pixels(pixels, self._description)
        return pixels

    def batches(self, indices: Int64Array) -> Iterator[Pixels]:
        """Yield batches of the images at `indices`."""
        return (self.at(indices[start : start + _BATCH]) for start in range(0, len(indices), _BATCH))


def measure_changes(before: OnnxModel, after: OnnxModel, images: PixelSource) -> dict[str, Any]:
    """Compute the fields of `Quantization` that measure what changed.

    Args:
        before: The file that the other was made from.
        after: The other file, of the same kind.
        images: Compared on all their pairs, or for kind `"pair"` on about as many pairs as there are images. With
            labels, balanced accuracies are among the result.
    """
    embeds, threshold = before.description.kind == "embed", before.description.threshold
    if embeds:
        everything = np.arange(len(images))
        vectors = [
            np.concatenate([model.embed(part) for part in images.batches(everything)]) for model in (before, after)
        ]
        num_pairs = len(images) * (len(images) - 1) // 2
        mean, largest = _change_of_all(*vectors)
    else:
        pairs = _pairs(images)
        similarities = [_similarities(model, images, pairs) for model in (before, after)]
        num_pairs = len(pairs.first)
        change = np.abs(similarities[0] - similarities[1])
        mean, largest = float(change.mean()), float(change.max())
    changes: dict[str, Any] = {"num_pairs": num_pairs, "mean_change": mean, "max_change": largest}
    if images.labelled and not math.isnan(threshold):
        scores: list[PairFigures]
        if embeds:
            codes = np.unique(read_labels(images.dataset), return_inverse=True)[1].astype(np.int64)
            scores = [all_scores(of, codes) for of in vectors]
        else:
            scores = [PairScores.from_scores(of, pairs.target) for of in similarities]
        changes["balanced_accuracy_before"] = scores[0].balanced_accuracy(threshold)
        changes["balanced_accuracy_after"] = scores[1].balanced_accuracy(threshold)
    return changes


def _pairs(images: PixelSource) -> PairIndices:
    """Draw as many pairs as images by their labels; without labels pair each image with the next."""
    if images.labelled:
        return PairDataset(images.dataset).all_pairs()
    first = np.arange(len(images) - 1)
    return PairIndices(first, first + 1, np.zeros(len(first), dtype=np.uint8))


def _similarities(model: OnnxModel, images: PixelSource, pairs: PairIndices) -> Float32Array:
    batches = zip(images.batches(pairs.first), images.batches(pairs.second), strict=True)
    return np.concatenate([model.compare(first, second)[0] for first, second in batches])


def _change_of_all(a: Float32Array, b: Float32Array) -> tuple[float, float]:
    """Compute the mean and largest absolute change of the similarity of all pairs."""
    total, largest = 0.0, 0.0
    for start in range(0, len(a), _ROWS):
        rows = slice(start, start + _ROWS)
        change = np.triu(np.abs(a[rows] @ a[start:].T - b[rows] @ b[start:].T), k=1)
        total += float(change.sum(dtype=np.float64))
        largest = max(largest, float(change.max()))
    return total / (len(a) * (len(a) - 1) / 2), largest
