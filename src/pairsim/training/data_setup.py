"""Set up the data of a training run: checks, validation split, placement of images, batches and validation pairs."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pairsim._common.numbers import counted
from pairsim.data import ImageTensors, LabelledImages, PairDataset, stratified_split
from pairsim.data.augment import Augmentation, make_augmentation
from pairsim.data.generators import seeded_generators
from pairsim.data.image_fingerprint import image_fingerprint
from pairsim.data.image_sets import fetch_images, images_of, in_memory, subset
from pairsim.data.loading.batches import PartialBatches, SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.loading.placement import Placement
from pairsim.data.loading.resident import image_shape
from pairsim.data.loading.turns import TURNS, check_square, turned_labels
from pairsim.data.random import Int64Array, stream_key
from pairsim.data.splits import ValidationSplit
from pairsim.data.unreadable import all_named, check_readable
from pairsim.errors import DataError
from pairsim.images.preprocessing import channel_statistics, in_channels
from pairsim.models import SimilarityModel
from pairsim.training.config import TrainConfig
from pairsim.training.distributed.world import World
from pairsim.training.objectives.objective import Objective
from pairsim.training.validation import Parts, all_pairs, given_pairs

_MAX_VAL_IMAGES = 10_000
_STATISTICS_IMAGES = 2_000
_MIN_PIXEL_RANGE = 8
"""Difference of the darkest and brightest pixel, of 255, below which a note says that there is next to no contrast."""


@dataclass
class ValidationData:
    """Validation images and pairs.

    Attributes:
        loader: Validation images that this process embeds, in order. It may give more images than `rows` has.
        rows: Their position among all validation images.
        num_images: Number of validation images of all processes.
        similarities: Computes the similarities of all validation pairs from the embeddings of all images.
        images: All labelled validation images, in memory if they are resident; `None` for given pairs. They are more
            than `num_images` if there are too many to validate on.
    """

    loader: BatchLoader
    rows: slice
    num_images: int
    similarities: Callable[[Tensor], Parts]
    images: LabelledImages | None


@dataclass
class TrainingData:
    """The data of a training run.

    Attributes:
        loader: Batches to train on.
        validation: Validation images and pairs, or `None`.
        fingerprint: Numbers and hashes of labels and images, to recognise the same data.
        notes: Decisions about the data, a line each.
        split: Which images of the training data are validation images, `None` if none were split off.
    """

    loader: BatchLoader
    validation: ValidationData | None
    fingerprint: dict[str, Any]
    notes: list[str]
    split: ValidationSplit | None


def set_up_data(
    train: Any, val: Any, config: TrainConfig, objective: Objective, model: SimilarityModel, *, world: World
) -> TrainingData:
    """Check the data, split off validation data, place the images and plan the batches.

    With several processes each gets the images that it embeds, and draws random transforms and augmentations of its
    own.

    Args:
        train: A labelled dataset or a `PairDataset`.
        val: Likewise; `None` to split off some of the labelled images.
        config: Resolved.
        objective: Plans the batches.
        model: On its device. Mean and standard deviation of its preprocessing are filled in if they are unknown.
        world: The processes that train together.

    Raises:
        DataError: If the data cannot be trained on, there is one validation image, or given validation pairs are all
            positive or all negative.
        TypeError: If `train` is a `PairDataset`, and the objective or turns need labelled images.
    """
    if isinstance(val, PairDataset):
        _check_kinds(val)
    device, notes, split = model.device, list[str](), None
    pictures = {"images": train, "val_images": val}
    workers = config.num_workers
    if workers is None and world.local_size > 1:
        workers = max(1, min(4, (os.cpu_count() or 1) // world.local_size))
    placement = Placement(
        device=device,
        resident=config.resident,
        memory_budget_mb=config.memory_budget_mb,
        cache_dir=config.cache_dir,
        channels_last=config.channels_last,
        workers=workers,
        progress=config.progress,
        shared_by=1 if device.type == "cuda" else world.local_size,
        notes=notes,
    )
    seed = config.seed if world.is_main else stream_key("rank", config.seed, world.rank)
    augment = make_augmentation(config.augment, seed)
    if isinstance(train, PairDataset):
        if config.turns:
            raise TypeError("Expected a labelled dataset for turns, got a PairDataset. Pass the dataset itself.")
        plan = objective.pair_batches(train)
        images = placement.cached(in_memory(train.dataset))
        first_pairs = train.pairs_at(np.arange(min(len(train), 1000)), epoch=0)
        fingerprint: dict[str, Any] = {"num_pairs": len(train), "first_pairs": first_pairs.hash()}
        if first_pairs.target.min() == first_pairs.target.max():
            kind = "positive" if first_pairs.target[0] else "negative"
            looked_at = counted(len(first_pairs.target), "training pair")
            notes.append(f"All of {looked_at} that were looked at are {kind}. Add pairs of the other kind.")
        if val is None:
            notes.append("No validation data: the model of the last epoch counts as the best. Pass val=.")
        placed = _place(images, np.arange(len(images)), placement, model, config.seed, augment=augment)
    else:
        labelled, val, split = _labelled(train, val, config, placement)
        fingerprint = labelled.index.fingerprint()
        placed = _place(labelled.dataset, labelled.targets, placement, model, config.seed, augment=augment)
        if config.turns:
            check_square(*image_shape(placed, model.preprocessing)[0][1:])
            notes.append(f"Turns: {TURNS} times as many classes, {TURNS * labelled.index.num_classes:,}.")
            labelled = turned_labels(labelled)
        plan = objective.batches(labelled, note=notes.append)
    for name, given in pictures.items():
        if given is not None:
            fingerprint[name] = image_fingerprint(given.dataset if isinstance(given, PairDataset) else given)
    loader = partial(
        BatchLoader,
        preprocessing=model.preprocessing,
        pin_memory=device.type == "cuda" if config.pin_memory is None else config.pin_memory,
        seed=seed,
        device=device,
        channels_last=config.channels_last,
    )
    if world.size > 1:
        plan = PartialBatches(plan, world.shard)
    train_loader = loader(placed, plan, num_workers=num_workers(placed, workers), augment=augment, turns=config.turns)
    if val is None:
        return TrainingData(train_loader, None, fingerprint, notes, split)
    if not isinstance(val, PairDataset):
        val = LabelledImages.of(val)
        if len(val) == 1:
            raise DataError(
                "Expected at least two validation images, found one, which makes no pair. Add images, or leave val out "
                "to split some off."
            )
        share = None if split is None else config.val_fraction
        notes += _missing_kind(val, share)
    images, indices, similarities = _validation_pairs(val, config, placement)
    if not (isinstance(train, PairDataset) and isinstance(val, PairDataset) and val.dataset is train.dataset):
        placed = _place(images, np.arange(len(images)), placement, model, config.seed, validation=True)
    # Each process gets whole batches, so that the rounding of an embedding does not depend on the number of processes.
    size = objective.batch_size
    batches = world.shard(math.ceil(len(indices) / size))
    rows = slice(*(min(batch * size, len(indices)) for batch in (batches.start, batches.stop)))
    own = indices[rows] if rows.start < rows.stop else indices[:1]
    val_loader = loader(placed, SequentialBatches(own, size), num_workers=num_workers(placed, workers))
    fingerprint["num_val_images"] = len(indices)
    labelled_val = None
    if isinstance(val, LabelledImages):
        labelled_val = LabelledImages(placed, val.targets, groups=val.groups) if len(placed) == len(val) else val
    validation = ValidationData(val_loader, rows, len(indices), similarities, labelled_val)
    return TrainingData(train_loader, validation, fingerprint, notes, split)


def _labelled(
    train: Any, val: Any, config: TrainConfig, placement: Placement
) -> tuple[LabelledImages, Any, ValidationSplit | None]:
    """Return labelled training images, validation data, and the split if validation images were split off."""
    notes, split = placement.notes, None
    labelled = LabelledImages.of(train)
    images = LabelledImages(placement.cached(in_memory(labelled)), labelled.targets, groups=labelled.groups)
    index = images.index
    if index.num_classes < 2:
        raise DataError(
            f"Expected images of at least two classes, found only {index.classes.tolist()[0]!r}. "
            "Add images of another class."
        )
    if index.counts.max() < 2:
        raise DataError(
            f"Expected a class with at least two images, found {index.num_classes} classes of one image each. "
            "Without two images of one class there is no positive pair to learn from."
        )
    if val is None:
        assert config.val_fraction is not None, "the config is resolved"
        kept, held_out = stratified_split(index, config.val_fraction, seed=config.seed, groups=labelled.groups)
        if len(held_out) < 2:
            what = (
                "Too few images to split off"
                if labelled.groups is None
                else "No whole groups of images to split off as"
            )
            notes.append(
                f"{what} validation data (val_fraction={config.val_fraction}): the model of the last epoch counts as "
                "the best. Keep whole classes for validation, or add images."
            )
        else:
            notes.append(f"Split off {len(held_out):,} of {len(labelled):,} images as validation data.")
            split = ValidationSplit(held_out, index.fingerprint())
            images, val = subset(images, kept), subset(images, held_out)
    single = images.index.classes[images.index.counts == 1]
    if len(single):
        some = ", ".join(str(name) for name in single[:3])
        notes.append(
            f"{len(single)} classes have one image ({some}): it serves in negative pairs, never in positive ones."
        )
    return images, val, split


def _check_kinds(val: PairDataset) -> None:
    """Check that given validation pairs are of both kinds: with one, the best epoch would be the most extreme one."""
    target = val.all_pairs().target
    positive = int(np.count_nonzero(target))
    if positive in (0, len(target)):
        raise DataError(
            f"Expected positive and negative pairs for validation, found {positive:,} and {len(target) - positive:,}. "
            "Best epoch and threshold need both: add pairs of the other kind, or leave the validation pairs out."
        )


def _missing_kind(val: LabelledImages, share: float | None) -> list[str]:
    """Return a line if labelled validation images have pairs of one kind only; `share` of the images was split off."""
    missing = val.index.missing_kind
    if missing is None:
        return []
    found, left = ("different classes", "negative") if missing == "positive" else ("one class", "positive")
    advice = "Add validation images" if share is None else f"Raise val_fraction ({share})"
    return [
        f"The validation images are of {found}, so they have no {missing} pair: the best epoch is chosen by {left} "
        f"pairs alone, balanced accuracy is of these alone, and no threshold is measured. {advice}, or keep whole "
        "classes for validation."
    ]


def _validation_pairs(
    val: PairDataset | LabelledImages, config: TrainConfig, placement: Placement
) -> tuple[Any, Int64Array, Callable[[Tensor], Parts]]:
    """Return the validation images, the indices of those that are used, and how to compute similarities of pairs."""
    if isinstance(val, PairDataset):
        pairs = val.all_pairs()
        indices, inverse = np.unique(np.concatenate((pairs.first, pairs.second)), return_inverse=True)
        first, second = torch.from_numpy(inverse.astype(np.int64)).chunk(2)
        positive = torch.from_numpy(pairs.target.astype(bool))
        similarities = partial(given_pairs, first=first, second=second, positive=positive)
        return placement.cached(in_memory(val.dataset)), indices, similarities
    images, index = placement.cached(in_memory(val)), val.index
    indices = np.arange(index.num_images)
    if index.num_images > _MAX_VAL_IMAGES:
        _, indices = stratified_split(index, _MAX_VAL_IMAGES / index.num_images, seed=config.seed)
        placement.notes.append(f"Validating on {len(indices):,} of {index.num_images:,} validation images.")
        images = subset(images, indices)  # the others need no memory
    codes = torch.from_numpy(index.codes[indices].astype(np.int64))
    return images, np.arange(len(indices)), partial(all_pairs, labels=codes)


def _place(images: Any, *args: Any, **options: Any) -> Any:
    """Place images; all picture files that cannot be read are named before the first epoch (see `_placed`)."""
    with all_named(images):
        placed = _placed(images, *args, **options)
    if images_of(placed) is images_of(images):  # they were not read yet
        check_readable(placed)
    return placed


def _placed(
    images: Any,
    labels: Any,
    placement: Placement,
    model: SimilarityModel,
    seed: int,
    *,
    augment: Augmentation | None = None,
    validation: bool = False,
) -> Any:
    """Place images where they are fastest to read, after a forward pass of some of them that shows errors early.

    The preprocessing of the model gets mean and standard deviation of pixels unless it has them, or the range of
    floating point images: over all images if they are in memory before placement, otherwise over some spread over the
    dataset, so that they do not depend on the placement.

    Args:
        images: The dataset.
        labels: One for each image.
        placement: Places the images.
        model: On its device.
        seed: Seed of random transforms.
        augment: Applied to training images.
        validation: Whether these are validation images, which have to be of the same kind as the training images.
    """

    def sample(dataset: Any, size: int) -> Tensor:
        indices = np.unique(np.linspace(0, len(dataset) - 1, num=size).astype(np.int64))
        with seeded_generators(stream_key("look", seed)):  # random transforms are the same in every run
            return fetch_images(dataset, indices, model.preprocessing)

    batch = sample(images, 8).to(model.device)
    floats, of_training = batch.is_floating_point(), model.preprocessing.float_range is not None
    if validation and floats != of_training:
        kinds = ("floating point", "uint8") if of_training else ("uint8", "floating point")
        raise DataError(
            f"Expected validation images as {kinds[0]}, as the training images are, got {kinds[1]}. "
            "Give both the same transform."
        )
    if not validation:
        placement.notes += _range_notes(batch)
    # the scale of training images is measured below
    with model.evaluating(), torch.no_grad(), nullcontext() if validation else model.without_scale_checks():
        model.embed(batch if augment is None else augment(batch, 0, 0))
    what = "Validation images" if validation else "Images"
    placed = placement.place(images, labels, model.preprocessing, what=what)
    if not validation and (floats or of_training or model.preprocessing.mean is None):
        pixels = placed.images if isinstance(images, ImageTensors) else sample(placed, _STATISTICS_IMAGES)
        found: dict[str, Any] = {"float_range": None}
        if floats:
            low, high = torch.aminmax(pixels)
            found = {"float_range": (float(low), float(high))}
            if low >= 0 and 100 < high <= 255:
                placement.notes.append(
                    f"Images are floating point from {low:.4g} to {high:.4g} and used as they are. Give pixels as "
                    "uint8 to have them normalised."
                )
        elif model.preprocessing.mean is None:
            mean, std = channel_statistics(in_channels(pixels, model.preprocessing.channels))
            found |= {"channels": len(mean), "mean": mean, "std": std}
        model.preprocessing = dataclasses.replace(model.preprocessing, **found)
    return placed


def _range_notes(batch: Tensor) -> list[str]:
    """Describe sampled training images with next to no contrast, such as empty pictures or masks of 0 and 1."""
    low, high = (float(value) for value in torch.aminmax(batch))
    if low == high:
        return [f"All pixels of {len(batch)} sampled images are {low:g}. Check the images."]
    if batch.dtype == torch.uint8 and high - low < _MIN_PIXEL_RANGE:
        return [
            f"All pixels of {len(batch)} sampled images are from {low:g} to {high:g}, of 255: next to no contrast. "
            "Check the images, and multiply masks of 0 and 1 by 255."
        ]
    return []
