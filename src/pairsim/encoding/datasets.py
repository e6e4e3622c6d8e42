"""Embed the images of a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from pairsim._common.arrays import as_array
from pairsim._common.choices import PrecisionName
from pairsim._common.numbers import whole_number
from pairsim.data.image_sets import ImageTensors, in_memory
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.random import Int64Array
from pairsim.data.unreadable import all_named
from pairsim.models import SimilarityModel
from pairsim.models.given_model import check_model
from pairsim.models.inference.inference_nets import default_batch_size


def encode_dataset(
    model: SimilarityModel,
    dataset: Any,
    *,
    indices: Int64Array | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    precision: PrecisionName = "fp32",
    progress: bool | None = None,
) -> Tensor:
    """Embed the images of a dataset, each once, in eval mode and without gradients.

    Args:
        model: The model, on its device.
        dataset: Map-style; items are `(image, ...)` or images, as uint8, preprocessed floating point, or pictures.
        indices: Indices `[n]` of the images to embed; all by default.
        batch_size: Images embedded at once; by default what suits the device and the size of the images.
        workers: Reading processes for data that is not in memory; by default one per core, up to 4.
        precision: `"fp32"`, `"bf16"`, `"fp16"` or `"auto"`, as for `SimilarityModel.encode`.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        Unit-length embeddings `[n, D]`, float32, on the model's device.

    Raises:
        DataError: If images differ in shape or have pixels that are not finite.
        ImageReadError: If files cannot be read; the message counts them and names the first ten.
        TypeError: If it is not a map-style dataset, or `model` not a `SimilarityModel`.
        ValueError: If the dataset is empty, an index is outside it, the images do not fit the model, `batch_size` is
            below 1, or there is no such precision.

    Example:
        >>> import torch
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.zeros(5, 28, 28, dtype=torch.uint8), range(5))
        >>> encode_dataset(SimilarityModel(), images).shape
        torch.Size([5, 128])
    """
    check_model(model)
    images = in_memory(dataset)
    indices = np.arange(len(images)) if indices is None else _checked(indices, len(images))
    if len(indices) == 0:
        raise ValueError("Expected images to embed, found none. Check the split or the filter.")
    if batch_size is None:
        size = images.images.shape[2:] if isinstance(images, ImageTensors) else model.preprocessing.image_size
        batch_size = default_batch_size(model.device, (size[0], size[1]))
    batch_size = whole_number(batch_size, "batch_size", 1)
    loader = BatchLoader(
        images,
        SequentialBatches(indices, batch_size),
        preprocessing=model.preprocessing,
        num_workers=num_workers(images, workers),
    )

    def batches() -> Iterator[Tensor]:
        for batch, _ in loader.epoch(0):
            model.warn_of_whole(batch)
            yield batch

    with all_named(images):
        return model.encode_batches(batches(), len(indices), precision=precision, progress=progress)


def _checked(indices: Any, num_images: int) -> Int64Array:
    numbers = as_array(indices, "indices")
    whole = numbers.dtype.kind in "iu" and numbers.ndim == 1
    if numbers.size and not (whole and numbers.min() >= 0 and numbers.max() < num_images):
        raise ValueError(
            f"Expected indices to be whole numbers from 0 to {num_images - 1}, [n], got {numbers.dtype} "
            f"{list(numbers.shape)} with {numbers.flat[0]!r} and others. Give the numbers of images."
        )
    return numbers.astype(np.int64)
