"""From what a user passes as `train` and `val` to batches to train on and pairs to validate with, all checked."""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass, field
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
from pairsim.data.augment import Augmentation, make_augmentation
from pairsim.data.generators import seeded_generators
from pairsim.data.image_sets import fetch_images, in_memory, subset
from pairsim.data.loading.batches import BatchPlan, PairBatches, PartialBatches, SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.loading.placement import Placement
from pairsim.data.random import Int64Array, stream_key
from pairsim.errors import DataError
from pairsim.images.preprocessing import channel_statistics, in_channels
from pairsim.models import SimilarityModel
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World
from pairsim.training.validation import AllPairs, GivenPairs, ValidationPairs

_MAX_VAL_IMAGES = 10_000
_STATISTICS_IMAGES = 2_000
_DEFAULT_NUM_PAIRS = 20_000
_ALONE = World()
_LEAST_IMAGES_PER_CLASS = 4
_LEAST_GROUPS = 10
"""In a batch: with fewer, batches differ so much in their classes that batch norm suffers."""


@dataclass
class TrainingData:
    """Everything that a training loop needs of the data.

    Attributes:
        loader: Batches to train on.
        val_loader: The validation images that this process embeds, in order, or `None`.
        val_rows: Which of all validation images those are. The loader may give more, which then do not count.
        num_val_images: All validation images.
        val_pairs: The pairs of them that validation is judged by.
        fingerprint: Numbers and a hash of labels, to recognise the data again.
        notes: What was decided or passed over, a line each.
    """

    loader: BatchLoader
    val_loader: BatchLoader | None
    val_pairs: ValidationPairs | None
    fingerprint: dict[str, Any]
    notes: list[str]
    val_rows: slice = field(default_factory=lambda: slice(0))
    num_val_images: int = 0


def set_up_data(
    train: Any,
    val: Any,
    config: TrainConfig,
    model: SimilarityModel,
    *,
    pin_memory: bool,
    world: World = _ALONE,
) -> TrainingData:
    """Check the data, split off validation data, and plan the batches.

    Of several processes each gets the images that it embeds. Its random transforms and augmentations are its own, as
    each draws for the images of its part.

    Raises:
        DataError: If the data cannot be trained on; before any training.
        TypeError: If a `PairDataset` is given to an objective that needs labelled images.
    """
    notes: list[str] = []
    wanted_workers = config.num_workers
    if wanted_workers is None and world.local_size > 1:
        wanted_workers = max(1, min(4, (os.cpu_count() or 1) // world.local_size))
    placement = Placement(
        device=model.device,
        resident=config.resident,
        memory_budget_mb=config.memory_budget_mb,
        cache_dir=config.cache_dir,
        channels_last=config.channels_last,
        workers=wanted_workers,
        progress=config.progress,
        shared_by=1 if model.device.type == "cuda" else world.local_size,
        notes=notes,
    )
    own_seed = config.seed if world.is_main else stream_key("rank", config.seed, world.rank)
    augment = make_augmentation(config.augment, own_seed)
    if isinstance(train, PairDataset):
        if config.objective != "pairs":
            raise TypeError(
                f"Expected a labelled dataset for objective {config.objective!r}, got a PairDataset. "
                'Pass the dataset itself, or use objective="pairs".'
            )
        images = placement.cached(in_memory(train.dataset))
        labels: Any = np.arange(len(images))  # the pairs say what belongs together
        fingerprint = _pair_fingerprint(train)
        if val is None:
            notes.append("No validation data: the model of the last epoch counts as the best. Pass val=.")
    else:
        images, labels, val, index = _labelled(train, val, config, placement)
        fingerprint = index.fingerprint()
    in_memory_before = isinstance(images, ImageTensors)
    _look_at_images(images, model, config.seed, augment)
    placed = placement.place(images, labels, model.preprocessing)
    _learn_normalisation(placed, model, config.seed, of_all=in_memory_before)
    plan: BatchPlan = (
        PairBatches(train, _batch_size(config))
        if isinstance(train, PairDataset)
        else _plan(placed, index, config, notes)
    )
    settings: dict[str, Any] = {
        "preprocessing": model.preprocessing,
        "pin_memory": pin_memory,
        "seed": own_seed,
        "device": model.device,
        "channels_last": config.channels_last,
    }
    if world.size > 1:
        plan = PartialBatches(plan, world.part)
    workers = num_workers(placed, wanted_workers)
    loader = BatchLoader(placed, plan, num_workers=workers, augment=augment, **settings)
    if val is None:
        return TrainingData(loader, None, None, fingerprint, notes)
    val_images, val_places, val_pairs = _validation(val, config, placement)
    _look_at_images(val_images, model, config.seed, None)
    if isinstance(train, PairDataset) and isinstance(val, PairDataset) and val.dataset is train.dataset:
        val_placed = placed
    else:
        val_labels = np.arange(len(val_images))  # the validation pairs say what belongs together
        val_placed = placement.place(val_images, val_labels, model.preprocessing, what="Validation images")
    _learn_normalisation(val_placed, model, config.seed, of_all=isinstance(val_images, ImageTensors))
    # Whole batches each, so that an image meets the same others, and rounding is the same, however many processes.
    batch_size = _batch_size(config)
    batches = world.part(math.ceil(len(val_places) / batch_size))
    rows = slice(batches.start * batch_size, min(batches.stop * batch_size, len(val_places)))
    own = val_places[rows] if batches.start < batches.stop else val_places[:1]
    val_plan = SequentialBatches(own, batch_size)
    val_loader = BatchLoader(val_placed, val_plan, num_workers=num_workers(val_placed, wanted_workers), **settings)
    fingerprint["num_val_images"] = len(val_places)
    return TrainingData(loader, val_loader, val_pairs, fingerprint, notes, rows, len(val_places))


def _batch_size(config: TrainConfig) -> int:
    assert config.batch_size is not None, "the config is resolved"
    return config.batch_size


def _labelled(train: Any, val: Any, config: TrainConfig, placement: Placement) -> tuple[Any, Any, Any, ClassIndex]:
    """Training images, their labels, validation data and the index of the training images."""
    notes = placement.notes
    images = placement.cached(in_memory(train))
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
            notes.append(f"Split off {len(held):,} of {len(labels):,} images as validation data.")
            images, labels = subset(images, kept), labels[kept]
            index = ClassIndex.from_labels(labels)
    alone = int((index.counts == 1).sum())
    if alone:
        some = ", ".join(str(name) for name in index.classes[index.counts == 1][:3])
        notes.append(f"{alone} classes have one image ({some}): it serves in negative pairs, never in positive ones.")
    return images, labels, val, index


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
    images_per_class = _images_per_class(config, index)
    return ClassBalancedBatches(index, _batch_size(config), images_per_class=images_per_class, seed=config.seed)


def _images_per_class(config: TrainConfig, index: ClassIndex) -> int:
    """Images of a class that come together.

    Raises:
        DataError: If no class has so many, or a batch does not hold two such groups.
    """
    batch_size, wanted, largest = _batch_size(config), config.images_per_class, int(index.counts.max())
    if wanted is None:
        several = batch_size // max(index.num_classes, _LEAST_GROUPS)
        return max(min(_LEAST_IMAGES_PER_CLASS, batch_size // 2), several)
    if wanted > largest:
        raise DataError(
            f"Expected images_per_class of at most {largest}, the images of the largest class, got {wanted}. Lower it."
        )
    if 2 * wanted > batch_size:
        raise DataError(
            f"Expected batch_size to hold two groups of images_per_class={wanted}, got {batch_size}: a batch of one "
            f"class has no negative pair. Use batch_size={2 * wanted} or more, or fewer images_per_class."
        )
    return wanted


def _validation(val: Any, config: TrainConfig, placement: Placement) -> tuple[Any, Int64Array, ValidationPairs]:
    """Validation images, the places of those that are used, and the pairs of them."""
    if isinstance(val, PairDataset):
        pairs = val.all_pairs()
        places, inverse = np.unique(np.concatenate((pairs.first, pairs.second)), return_inverse=True)
        first, second = np.split(inverse.astype(np.int64), 2)
        return placement.cached(in_memory(val.dataset)), places, GivenPairs(first, second, pairs.target)
    images = placement.cached(in_memory(val))
    index = ClassIndex.from_labels(read_labels(images))
    places = np.arange(index.num_images)
    if index.num_images > _MAX_VAL_IMAGES:
        _, places = stratified_split(index, _MAX_VAL_IMAGES / index.num_images, seed=config.seed)
        placement.notes.append(f"Validating on {len(places):,} of {index.num_images:,} validation images.")
        images = subset(images, places)  # no room is needed for the others
    codes = torch.from_numpy(index.codes[places].astype(np.int64))
    return images, np.arange(len(places)), AllPairs(codes)


def _look_at_images(images: Any, model: SimilarityModel, seed: int, augment: Augmentation | None) -> None:
    """Fetch a few images and let the model try them, so that a misfit shows before training."""
    places = np.unique(np.linspace(0, len(images) - 1, num=8).astype(np.int64))
    batch = _fetched(images, places, model, seed).to(model.device)
    if augment is not None:
        batch = augment(batch, 0, 0)
    with model.evaluating(), torch.no_grad():
        model.embed(batch)


def _learn_normalisation(images: Any, model: SimilarityModel, seed: int, *, of_all: bool) -> None:
    """Measure mean and standard deviation of pixels, unless they are known.

    Args:
        images: The dataset.
        model: Whose preprocessing is filled in.
        seed: Of random transforms.
        of_all: Of all images, or of some spread over the dataset. Where the images are kept must not matter here.
    """
    if model.preprocessing.mean is not None:
        return
    if of_all:
        sample = images.images
    else:
        places = np.unique(np.linspace(0, len(images) - 1, num=_STATISTICS_IMAGES).astype(np.int64))
        sample = _fetched(images, places, model, seed)
    if sample.dtype == torch.uint8:
        mean, std = channel_statistics(in_channels(sample, model.preprocessing.channels))
        model.preprocessing = dataclasses.replace(model.preprocessing, channels=len(mean), mean=mean, std=std)


def _fetched(images: Any, places: Int64Array, model: SimilarityModel, seed: int) -> Tensor:
    """Some images, with random transforms that are the same in every run and leave the caller's generators alone."""
    with seeded_generators(stream_key("look", seed)):
        return fetch_images(images, places, model.preprocessing)


def _pair_fingerprint(pairs: PairDataset) -> dict[str, Any]:
    return {
        "num_pairs": len(pairs),
        "first_pairs": pairs.pairs_at(np.arange(min(len(pairs), 1000)), epoch=0).hash(),
    }
