"""MNIST for the benchmarks: all of it, or with `--quick` some of each class; and what is trained and judged on it."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.judge import Quality, judge
from benchmarks.options import Options, mnist_root
from benchmarks.timing import synchronizer
from pairsim import SimilarityModel, TrainConfig
from pairsim.cli.training.train import make_trainer
from pairsim.data import ClassIndex, ImageTensors, LabelledData, load_data, stratified_split
from pairsim.data.image_sets import subset

QUICK_IMAGES = {"train": 3_000, "test": 1_000}
VAL_FRACTION = 0.1


def load(options: Options, split: Literal["train", "test"]) -> LabelledData:
    """A split in memory; with `--quick` a part of it, the same every time."""
    loaded = load_data("mnist", split, data_dir=mnist_root(options.data_dir))
    wanted = QUICK_IMAGES[split]
    if not options.quick or len(loaded.dataset) <= wanted:
        return loaded
    index = ClassIndex.from_labels(loaded.dataset.targets)
    _, some = stratified_split(index, wanted / len(loaded.dataset), seed=0)
    return dataclasses.replace(loaded, dataset=subset(loaded.dataset, some))


def split_as_trainer(images: ImageTensors, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Image numbers that the trainer learns from, and those that it holds out, with `seed`."""
    return stratified_split(ClassIndex.from_labels(images.targets), VAL_FRACTION, seed=seed)


def labels_of(images: ImageTensors) -> Tensor:
    """Class numbers `[N]`."""
    return torch.from_numpy(images.targets.astype(np.int64))


def judge_model(model: SimilarityModel, options: Options) -> Quality:
    """Judge a model on all pairs of the test images, at its own probability 0.5."""
    test = load(options, "test").dataset
    projection = model.projection
    return judge(
        model.encode(test.images, precision="fp32"),
        labels_of(test),
        weight=projection.weight.item(),
        bias=projection.bias.item(),
    )


@dataclass(frozen=True)
class Fit:
    """A training run from reading the data to the saved model.

    Attributes:
        seconds: Wall time of all of it.
        precision: What was computed in.
        quality: On all test pairs; not part of `seconds`.
        model: The best model.
    """

    seconds: float
    precision: str
    quality: Quality
    model: SimilarityModel


def fit(options: Options, *, seed: int, share: float = 1.0, **config: Any) -> Fit:
    """Train as `pairsim train mnist` does and judge what came out.

    Args:
        options: For data and device.
        seed: Of initial weights, split and batches.
        share: Of the images to train on and to validate on, chosen at random.
        config: Further fields of `TrainConfig`.
    """
    synchronize = synchronizer(options.device)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        settings = TrainConfig(seed=seed, out=Path(folder), device=options.device, progress=False, **config)
        data = load(options, "train")
        if share < 1.0:
            count = len(data.dataset)
            chosen = np.random.default_rng(seed).choice(count, round(share * count), replace=False)
            data = dataclasses.replace(data, dataset=subset(data.dataset, np.sort(chosen)))
        trainer = make_trainer(data, settings)
        trainer.fit("never")
        if synchronize is not None:
            synchronize()
        seconds = time.perf_counter() - began
    return Fit(seconds, trainer.precision.name, judge_model(trainer.model, options), trainer.model)


def trained_model(options: Options) -> SimilarityModel:
    """A model after one pass of objective "all-pairs", for benchmarks that need embeddings as one really has them."""
    return _trained(options.device, options.quick, options.data_dir, options.seed)


@functools.cache
def _trained(device: str, quick: bool, data_dir: Path | None, seed: int) -> SimilarityModel:
    options = Options(device=device, quick=quick, data_dir=data_dir, seed=seed)
    return fit(options, seed=seed, epochs=1).model
