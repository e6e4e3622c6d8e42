"""Compute the features of a backbone, once for each image, and keep them on disk.

A folder of features has one sub-folder for each set of images, named by a SHA-256 of the layers and weights of the
backbone, the preprocessing and the images. It holds the features and a checksum, which is checked when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairsim._common import storage
from pairsim._common.choices import PrecisionName
from pairsim._common.precision import inference_dtype
from pairsim.data.image_fingerprint import pixels_sha256
from pairsim.data.image_sets import ImageFiles, ImageTensors, in_memory
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.unreadable import all_named
from pairsim.errors import RunError
from pairsim.models import EmbeddingNet, SimilarityModel
from pairsim.models.collecting import collect
from pairsim.models.embedding_net import eval_mode, pooled
from pairsim.models.inference.inference_nets import InferenceNet, InferenceNets, default_batch_size
from pairsim.models.pretrained import deserialize, serialize
from pairsim.models.weight_names import unwrapped

_FILE = "features.safetensors"


class _Backbone(nn.Module):
    """The part of an `EmbeddingNet` before its head, as a module that shares its weights.

    Args:
        net: A net with a backbone.

    Raises:
        ValueError: If it has none.
    """

    def __init__(self, net: EmbeddingNet) -> None:
        super().__init__()
        if net.backbone is None:
            raise ValueError("Expected a net with a backbone, found the reference network. Name a backbone.")
        self.backbone: nn.Module = net.backbone

    def forward(self, images: Tensor) -> Tensor:
        """Compute features `[N, F]` of preprocessed images `[N, C, H, W]`."""
        return pooled(self.backbone(images))


def backbone_features(
    model: SimilarityModel,
    dataset: Any,
    *,
    folder: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    precision: PrecisionName = "fp32",
    progress: bool | None = None,
) -> Tensor:
    """Compute the features of a model's backbone, which its head maps to embeddings, in eval mode.

    Args:
        model: Its net is an `EmbeddingNet` with a backbone.
        dataset: Map-style, as for `encode_dataset`.
        folder: Where features are kept: those of the same images, weights, preprocessing and precision are read, others
            computed and written. Datasets other than picture files and images in memory are computed each time.
        batch_size: Images computed at once; by default what suits the device and the size of the images.
        workers: As for `encode_dataset`.
        precision: As for `encode_dataset`.
        progress: Whether to show a progress bar; by default for long work on a terminal.

    Returns:
        Features `[N, F]`, float32, on the CPU.

    Raises:
        ImageReadError: If a file cannot be read; the message names it.
        RunError: If features cannot be written.
        ValueError: If the model has no backbone, or the images do not fit it.

    Example:
        >>> from pairsim.data import ImageTensors
        >>> net = EmbeddingNet(nn.Conv2d(1, 4, 3), in_channels=1, image_size=8)
        >>> images = ImageTensors(torch.zeros(5, 8, 8, dtype=torch.uint8), range(5))
        >>> backbone_features(SimilarityModel(net), images).shape
        torch.Size([5, 4])
    """
    net = unwrapped(model.embedding_net)
    if not isinstance(net, EmbeddingNet):
        raise ValueError(f"Expected an EmbeddingNet with a backbone, got {type(net).__name__}.")
    backbone, images = _Backbone(net), in_memory(dataset)
    dtype = inference_dtype(precision, model.device) if model.weights_dtype == torch.float32 else None
    path = None
    if folder is not None and (content := _content(images)) is not None:
        path = Path(folder) / _key(backbone, model, content, str(dtype))
        try:
            return deserialize(storage.read_folder(path)[_FILE], path)["features"]
        except (RunError, KeyError, OSError):  # none yet, or damaged
            storage.remove(path)
    if batch_size is None:
        height, width = images.images.shape[2:] if isinstance(images, ImageTensors) else model.preprocessing.image_size
        batch_size = default_batch_size(model.device, (height, width))
    loader = BatchLoader(
        images,
        SequentialBatches(np.arange(len(images)), batch_size),
        preprocessing=model.preprocessing,
        num_workers=num_workers(images, workers),
    )
    chosen: InferenceNet | None = None

    def features_of(batch: Tensor) -> Tensor:
        nonlocal chosen
        pixels = model.preprocessed(batch.to(model.device))
        if chosen is None:  # the first batch selects the net that runs
            chosen = InferenceNets().get(backbone, pixels, dtype)
        return chosen(pixels).float().cpu()

    with torch.no_grad(), all_named(images), eval_mode(backbone):
        batches = (features_of(batch) for batch, _ in loader.epoch(0))
        features = collect(batches, len(images), progress=progress)
    assert features is not None, "a loader has images"
    if path is not None:
        storage.write_folder(path, {_FILE: serialize({"features": features})})
    return features


def _content(images: Any) -> str | None:
    """Return a hash of the images of a dataset, or of the state of their files; `None` for any other dataset."""
    if isinstance(images, ImageTensors):
        return pixels_sha256(images)
    if isinstance(images, ImageFiles):
        digest = hashlib.sha256()
        for path in images.paths:
            state = os.stat(path)
            digest.update(storage.encoded(json.dumps([os.path.abspath(path), state.st_size, state.st_mtime_ns])))
        return digest.hexdigest()
    return None


def _key(backbone: nn.Module, model: SimilarityModel, content: str, dtype: str) -> str:
    weights = serialize(backbone.state_dict())
    layers = repr(backbone)  # has strides, activations and so on, which no weight shows
    settings = storage.to_json(
        {"preprocessing": model.preprocessing.to_dict(), "images": content, "dtype": dtype, "layers": layers}
    )
    return storage.sha256(weights + settings)[:16]
