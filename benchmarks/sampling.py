"""Pairs drawn a second, on one core, without touching an image.

All arms draw the same kind of pair: first image uniform, positive or negative with probability one half, a
negative's class uniform among the others. pairsim's `PairSampler` makes pair k a pure function of seed, epoch and k,
and balances exactly. The notebook's Python code gets its labels from a list instead of from decoded images, which
spares it nearly all of its cost. NumPy's own generator, in arrays of the size that pairsim works in, is the limit: it
draws in order only, and balances on average only. The Python arm draws fewer pairs, as its cost is the same for each;
arms are compared per pair. NumPy and Python use one core for this.

The table of an epoch is about 20,000 pairs, as many as the notebook draws for one: there each arm ends with three
arrays, of first images, second images and targets. Its first arm is the notebook's code for an item without its images:
the label of either image is read from the dataset's tensor of labels, as torchvision does it for each item, and the
target is made a tensor. Its second arm is the same drawing at its best: labels in a list, targets as numbers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.notebook_recipe import TRAIN_PAIRS, draw_second
from benchmarks.options import Options
from benchmarks.report import Table
from benchmarks.timing import interleave, timing_rows
from pairsim.data import ClassIndex, PairSampler

_NUM_PAIRS, _QUICK_PAIRS = 20_000_000, 2_000_000
_CHUNK = 32_768
_EPOCH_IMAGES, _EPOCH_CLASSES = 60_000, 10
_SETS = {"60,000 images, 10 classes": (60_000, 10), "10,000,000 images, 1,000 classes": (10_000_000, 1_000)}


def run(options: Options) -> list[Table]:
    """Measure drawing an epoch, then many pairs from a small and from a large set of labels."""
    num_pairs = options.num_pairs or (_QUICK_PAIRS if options.quick else _NUM_PAIRS)
    rounds = options.rounds or (3 if options.quick else 5)
    tables = [_epoch_table(options)]
    for title, (num_images, num_classes) in _SETS.items():
        labels = np.random.default_rng(options.seed).integers(0, num_classes, size=num_images, dtype=np.int64)
        index = ClassIndex.from_labels(labels)
        # a negative in Python walks all classes
        num_slow = max(num_pairs // (100 if num_classes <= 10 else 1000), 1)
        arms, work = _arms(index, labels, num_pairs, num_slow, options.seed)
        timings = interleave(arms, rounds=rounds, work=work)
        notes = ("Ratio: pairs a second, to the notebook's code.",)
        tables.append(Table(f"Drawing pairs: {title}", timing_rows(timings, unit="pairs"), notes))
    return tables


def _arms(
    index: ClassIndex, labels: npt.NDArray[np.int64], num_pairs: int, num_slow: int, seed: int
) -> tuple[Mapping[str, Callable[[], object]], Mapping[str, float]]:
    images_of, label_list = _as_lists(index, labels)
    sampler = PairSampler(index, seed=seed)
    rng = np.random.default_rng(seed)

    def pairsim_stream() -> None:
        drawn = sum(len(pairs) for pairs in sampler.stream(0, num_pairs))
        assert drawn == num_pairs

    def numpy_limit() -> None:
        for start in range(0, num_pairs, _CHUNK):
            numpy_pairs(rng, index, min(_CHUNK, num_pairs - start))

    arms = {
        "notebook's Python code, labels given": lambda: notebook_pairs(images_of, label_list, num_slow),
        "pairsim PairSampler.stream": pairsim_stream,
        "limit: NumPy generator": numpy_limit,
    }
    return arms, dict(zip(arms, (num_slow, num_pairs, num_pairs), strict=True))


def _epoch_table(options: Options) -> Table:
    """An epoch of the notebook: its pairs as arrays, from labels that are known."""
    labels = np.random.default_rng(options.seed).integers(0, _EPOCH_CLASSES, size=_EPOCH_IMAGES, dtype=np.int64)
    index = ClassIndex.from_labels(labels)
    images_of, label_list = _as_lists(index, labels)
    sampler = PairSampler(index, seed=options.seed)
    label_tensor, positions = torch.from_numpy(labels), np.arange(TRAIN_PAIRS)
    rng = np.random.default_rng(options.seed)
    epochs = itertools.count()
    arms: dict[str, Callable[[], object]] = {
        "notebook's items, without images": lambda: notebook_items(images_of, label_tensor, TRAIN_PAIRS),
        "notebook's Python code, labels given": lambda: notebook_arrays(images_of, label_list, TRAIN_PAIRS),
        "pairsim PairSampler.draw": lambda: sampler.draw(next(epochs), positions),
        "limit: NumPy generator": lambda: numpy_pairs(rng, index, TRAIN_PAIRS),
    }
    # an epoch takes a millisecond or so: many rounds cost nothing
    timings = interleave(
        arms,
        rounds=options.rounds or (5 if options.quick else 50),
        warmup=3,
        work=dict.fromkeys(arms, float(TRAIN_PAIRS)),
    )
    notes = ("Ratio: pairs a second, to the notebook's items.",)
    return Table(f"Pair indices of an epoch: {TRAIN_PAIRS:,}", timing_rows(timings, unit="pairs"), notes)


def _as_lists(index: ClassIndex, labels: npt.NDArray[np.int64]) -> tuple[dict[int, list[int]], list[int]]:
    """The notebook's index of images, and the label of each image."""
    names = [int(name) for name in index.classes]
    parts = np.split(index.order, index.offsets[1:-1])
    return {name: part.tolist() for name, part in zip(names, parts, strict=True)}, labels.tolist()


def notebook_items(
    images_of: Mapping[int, list[int]], labels: Tensor, num_pairs: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """First images, second images and targets by the notebook's code for an item, which also looks up labels."""
    first, second, target = [], [], []
    for _ in range(num_pairs):
        number = random.randrange(len(labels))
        other, same = draw_second(images_of, int(labels[number]))
        int(labels[other])  # an item of the dataset has its label
        first.append(number)
        second.append(other)
        target.append(torch.tensor(same, dtype=torch.float32))
    return np.array(first), np.array(second), torch.stack(target).numpy()


def notebook_arrays(
    images_of: Mapping[int, list[int]], labels: list[int], num_pairs: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """First images, second images and targets by the notebook's code."""
    first, second, target = [], [], []
    for _ in range(num_pairs):
        number = random.randrange(len(labels))
        other, same = draw_second(images_of, labels[number])
        first.append(number)
        second.append(other)
        target.append(same)
    return np.array(first), np.array(second), np.array(target, dtype=np.float32)


def notebook_pairs(images_of: Mapping[int, list[int]], labels: list[int], num_pairs: int) -> None:
    """Draw pairs by the notebook's code."""
    for _ in range(num_pairs):
        first = random.randrange(len(labels))
        draw_second(images_of, labels[first])


def numpy_pairs(
    rng: np.random.Generator, index: ClassIndex, num_pairs: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """First images, second images and targets `[n]`, never an image with itself."""
    target = rng.random(num_pairs) < 0.5
    place = (rng.random(num_pairs) * index.num_images).astype(np.int64)
    first = index.order[place]
    code = index.codes[first].astype(np.int64)
    other = (rng.random(num_pairs) * (index.num_classes - 1)).astype(np.int64)
    other += other >= code
    chosen = np.where(target, code, other)
    second = index.offsets[chosen] + (rng.random(num_pairs) * (index.counts[chosen] - target)).astype(np.int64)
    second += target & (second >= place)
    return first, index.order[second], target
