"""From what a user passes as `train` and `val` to batches to train on and pairs to validate with, all checked."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairsim.data import (
    ClassBalancedBatches,
    ClassIndex,
    ImageTensors,
    PairDataset,
    read_labels,
    stratified_split,
)
from pairsim.data.batches import BatchPlan, PairBatches, SequentialBatches
from pairsim.data.image_sets import fetch_images, in_memory, subset
from pairsim.data.loading import BatchLoader, num_workers
from pairsim.data.random import Int64Array
from pairsim.errors import DataError
from pairsim.images.preprocessing import channel_statistics
from pairsim.models import SimilarityModel
from pairsim.training.config import TrainConfig
from pairsim.training.validation import AllPairs, GivenPairs, ValidationPairs

_MAX_VAL_IMAGES = 10_000
_STATISTICS_IMAGES = 2_000
_DEFAULT_NUM_PAIRS = 20_000


@dataclass
class TrainingData:
    """Everything that a training loop needs of the data.

    Attributes:
        loader: Batches to train on.
        val_loader: All validation images in order, or `None`.
        val_pairs: The pairs of them that validation is judged by.
        fingerprint: Numbers and a hash of labels, to recognise the data again.
        notes: What was decided or passed over, a line each.
    """

    loader: BatchLoader
    val_loader: BatchLoader | None
    val_pairs: ValidationPairs | None
    fingerprint: dict[str, Any]
    notes: list[str]


def set_up_data(train: Any, val: Any, config: TrainConfig, model: SimilarityModel, *, pin_memory: bool) -> TrainingData:
    """Check the data, split off validation data, and plan the batches.

    Raises:
        DataError: If the data cannot be trained on; before any training.
        TypeError: If a `PairDataset` is given to an objective that needs labelled images.
    """
    notes: list[str] = []
    if isinstance(train, PairDataset):
        if config.objective != "pairs":
            raise TypeError(
                f"Expected a labelled dataset for objective {config.objective!r}, got a PairDataset. "
                'Pass the dataset itself, or use objective="pairs".'
            )
        images = in_memory(train.dataset)
        plan: BatchPlan = PairBatches(train, _batch_size(config))
        fingerprint = _pair_fingerprint(train)
        if val is None:
            notes.append("No validation data: the model of the last epoch counts as the best. Pass val=.")
    else:
        images, val, index = _labelled(train, val, config, notes)
        plan = _plan(images, index, config, notes)
        fingerprint = {
            "num_images": index.num_images,
            "num_classes": index.num_classes,
            "labels": _hash(index.codes),
        }
    _look_at_images(images, model)
    settings: dict[str, Any] = {"preprocessing": model.preprocessing, "pin_memory": pin_memory, "seed": config.seed}
    loader = BatchLoader(images, plan, num_workers=num_workers(images, config.num_workers), **settings)
    if val is None:
        return TrainingData(loader, None, None, fingerprint, notes)
    val_images, val_places, val_pairs = _validation(val, config, notes)
    _look_at_images(val_images, model)
    val_plan = SequentialBatches(val_places, _batch_size(config))
    val_loader = BatchLoader(val_images, val_plan, num_workers=num_workers(val_images, config.num_workers), **settings)
    fingerprint["num_val_images"] = len(val_places)
    return TrainingData(loader, val_loader, val_pairs, fingerprint, notes)


def _batch_size(config: TrainConfig) -> int:
    assert config.batch_size is not None, "the config is resolved"
    return config.batch_size


def _labelled(train: Any, val: Any, config: TrainConfig, notes: list[str]) -> tuple[Any, Any, ClassIndex]:
    """Training images, validation data and the index of the training images."""
    images = in_memory(train)
    labels = read_labels(images)
    index = ClassIndex.from_labels(labels)
    if index.num_classes < 2:
        raise DataError(
            f"Expected images of at least two classes, found only {index.classes[0]!r}. Add images of another class."
        )
    if index.counts.max() < 2:
        raise DataError(
            f"Expected a class with at least two images, found {index.num_classes} classes of one image each. "
            "Without two images of one class there is no positive pair to learn from."
        )
    if val is None:
        kept, held = stratified_split(index, config.val_fraction, seed=config.seed)
        if len(held) < 2:
            notes.append(
                f"Too few images to split off validation data (val_fraction={config.val_fraction}): "
                "the model of the last epoch counts as the best."
            )
        else:
            val = subset(images, held)
            images = subset(images, kept)
            index = ClassIndex.from_labels(labels[kept])
            notes.append(f"Split off {len(held):,} of {len(labels):,} images as validation data.")
    alone = int((index.counts == 1).sum())
    if alone:
        some = ", ".join(str(name) for name in index.classes[index.counts == 1][:3])
        notes.append(f"{alone} classes have one image ({some}): it serves in negative pairs, never in positive ones.")
    return images, val, index


def _plan(images: Any, index: ClassIndex, config: TrainConfig, notes: list[str]) -> BatchPlan:
    if config.objective == "pairs":
        pairs = PairDataset(
            images,
            config.num_pairs or min(_DEFAULT_NUM_PAIRS, index.num_images),
            positive_fraction=config.positive_fraction,
            seed=config.seed,
            negatives=config.negatives,
        )
        return PairBatches(pairs, _batch_size(config))
    if _batch_size(config) > index.num_images:
        notes.append(f"batch_size {config.batch_size} is more than the {index.num_images} images: one batch an epoch.")
    return ClassBalancedBatches(index, _batch_size(config), images_per_class=config.images_per_class, seed=config.seed)


def _validation(val: Any, config: TrainConfig, notes: list[str]) -> tuple[Any, Int64Array, ValidationPairs]:
    """Validation images, the places of those that are used, and the pairs of them."""
    if isinstance(val, PairDataset):
        pairs = val.all_pairs()
        places, inverse = np.unique(np.concatenate((pairs.first, pairs.second)), return_inverse=True)
        first, second = np.split(inverse.astype(np.int64), 2)
        return in_memory(val.dataset), places, GivenPairs(first, second, pairs.target)
    images = in_memory(val)
    index = ClassIndex.from_labels(read_labels(images))
    places = np.arange(index.num_images)
    if index.num_images > _MAX_VAL_IMAGES:
        _, places = stratified_split(index, _MAX_VAL_IMAGES / index.num_images, seed=config.seed)
        notes.append(f"Validating on {len(places):,} of {index.num_images:,} validation images.")
    return images, places, AllPairs(torch.from_numpy(index.codes[places].astype(np.int64)))


def _look_at_images(images: Any, model: SimilarityModel) -> None:
    """Fetch a few images and let the model try them, so that a misfit shows before training."""
    places = np.unique(np.linspace(0, len(images) - 1, num=8).astype(np.int64))
    batch = fetch_images(images, places, model.preprocessing)
    if batch.dtype == torch.uint8 and model.preprocessing.mean is None:
        mean, std = channel_statistics(_sample(images, model))
        model.preprocessing = dataclasses.replace(model.preprocessing, channels=len(mean), mean=mean, std=std)
    with model.evaluating(), torch.no_grad():
        model.embed(batch.to(model.device))


def _sample(images: Any, model: SimilarityModel) -> Tensor:
    if isinstance(images, ImageTensors):
        return images.images
    places = np.unique(np.linspace(0, len(images) - 1, num=_STATISTICS_IMAGES).astype(np.int64))
    return fetch_images(images, places, model.preprocessing)


def _pair_fingerprint(pairs: PairDataset) -> dict[str, Any]:
    return {
        "num_pairs": len(pairs),
        "first_pairs": pairs.pairs_at(np.arange(min(len(pairs), 1000)), epoch=0).hash(),
    }


def _hash(codes: Any) -> str:
    return hashlib.sha256(codes.astype("<i8").tobytes()).hexdigest()
