"""Embeddings of a whole dataset."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pairsim.data.batches import SequentialBatches
from pairsim.data.image_sets import in_memory
from pairsim.data.loading import BatchLoader, num_workers
from pairsim.data.random import Int64Array
from pairsim.models import SimilarityModel


def encode_dataset(
    model: SimilarityModel,
    dataset: Any,
    *,
    places: Int64Array | None = None,
    batch_size: int = 256,
    workers: int | None = None,
    progress: bool | None = None,
) -> Tensor:
    """Embed the images of a dataset, each once, in eval mode and without gradients.

    Args:
        model: The model, on its device.
        dataset: Map-style; items are `(image, ...)` or images, as uint8, preprocessed floating point, or pictures.
        places: Image numbers `[n]` to embed; all by default.
        batch_size: Images embedded at once.
        workers: Reading processes for data that is not in memory; by default one a core, up to 4.
        progress: Whether to show a progress bar; by default where there is a terminal.

    Returns:
        Unit-length embeddings `[n, D]`, float32, on the model's device.

    Raises:
        DataError: If images differ in shape or have pixels that are not finite.
        ImageReadError: If a file cannot be read; the message names it.
        ValueError: If the dataset is empty or the images do not fit the model.

    Example:
        >>> from pairsim.data import ImageTensors
        >>> images = ImageTensors(torch.zeros(5, 28, 28, dtype=torch.uint8), range(5))
        >>> encode_dataset(SimilarityModel(), images).shape
        torch.Size([5, 128])
    """
    images = in_memory(dataset)
    places = np.arange(len(images)) if places is None else places
    if len(places) == 0:
        raise ValueError("Expected images to embed, found none. Check the split or the filter.")
    loader = BatchLoader(
        images,
        SequentialBatches(places, batch_size),
        preprocessing=model.preprocessing,
        num_workers=num_workers(images, workers),
    )
    shown = None if progress is None else not progress
    parts = []
    with (
        model.evaluating(),
        torch.inference_mode(),
        tqdm(total=len(places), desc="embedding", unit=" images", file=sys.stderr, disable=shown, leave=False) as bar,
    ):
        for batch, _ in loader.epoch(0):
            parts.append(model.embed(batch.to(model.device, non_blocking=True)))
            bar.update(len(batch))
    return torch.cat(parts)
