"""Batches on their way to the model, without training: an epoch of 20,000 pairs of MNIST in batches of 256 pairs.

Every arm ends with what the net receives: both images of each pair on the device, in floating point and normalised,
and one target per pair. Every arm draws its pairs in that time, a positive or a negative one with probability one half,
and hands out all 20,000.

- The notebook's loader, with 2 workers, which suits 2 cores better than the 4 that it is written with (`reference` and
  `epoch` have those): each image is decoded, scaled and normalised by itself.
- A plain loader, as a user would write it who has the images in one uint8 tensor: pairs drawn with NumPy all at once,
  an item is two slices and a target, whole batches are normalised after the copy to the device. Once in the training
  process and once with 2 workers, as it differs which is faster.
- pairsim: the trainer's own loader for objective "pairs", and the model's preprocessing.
- The limit: batches of pixels that are there already, only normalised. What drawing and picking cost is what pairsim
  takes longer than this.

Workers are started, and stay alive, before the clock runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks import notebook_recipe
from benchmarks.mnist import QUICK_IMAGES, load
from benchmarks.notebook_recipe import BATCH_SIZE, MEAN, STD, Batch
from benchmarks.options import Options, mnist_root
from benchmarks.recipes import net_input, num_pairs
from benchmarks.report import Table
from benchmarks.sampling import numpy_pairs
from benchmarks.timing import interleave, synchronizer, timing_rows
from pairsim import SimilarityModel, TrainConfig, Trainer
from pairsim.data import ClassIndex, ImageTensors

_WORKERS = 2

Loop = Callable[[], tuple[int, int]]
"""Goes through an epoch; gives the pairs and the floating-point pixels that came."""


class PlainPairs(Dataset[Batch]):
    """Pairs as a user would write them: images in one tensor, pairs drawn with NumPy for each epoch.

    Args:
        images: uint8 `[N, 1, H, W]`.
        index: The images of each class.
        num_pairs: Pairs in an epoch.
        seed: Of the pairs.
    """

    def __init__(self, images: Tensor, index: ClassIndex, num_pairs: int, seed: int) -> None:
        self.images = images
        self._index, self._num_pairs = index, num_pairs
        self._rng = np.random.default_rng(seed)
        # in memory that workers share, so that they see the pairs of a new epoch
        self._pairs = torch.empty(3, num_pairs, dtype=torch.int64).share_memory_()
        self.draw()

    def draw(self) -> None:
        """Draw the pairs of the next epoch."""
        first, second, target = numpy_pairs(self._rng, self._index, self._num_pairs)
        for row, values in zip(self._pairs, (first, second, target), strict=True):
            row.copy_(torch.from_numpy(values.astype(np.int64)))

    def __len__(self) -> int:
        return self._num_pairs

    def __getitem__(self, number: int) -> Batch:
        first, second, target = self._pairs[:, number].tolist()
        return self.images[first], self.images[second], torch.tensor(target, dtype=torch.float32)


def run(options: Options) -> list[Table]:
    """Time an epoch of each loader."""
    train = load(options, "train").dataset
    pairs = num_pairs(options)
    workers = min(options.workers, _WORKERS)
    arms: dict[str, Loop] = {
        f"notebook's loader, {workers} workers": notebook_loop(options, pairs, workers),
        "plain DataLoader over a tensor, no workers": plain_loop(train, pairs, 0, options),
    }
    if workers:
        arms[f"plain DataLoader over a tensor, {workers} workers"] = plain_loop(train, pairs, workers, options)
    arms["pairsim"] = pairsim_loop(train, pairs, options)
    arms["limit: batches made beforehand, normalised"] = limit_loop(train, pairs, options)
    for name, loop in arms.items():
        print(f"loading: {name}", file=sys.stderr, flush=True)
        check(loop(), pairs)
    timings = interleave(
        arms,
        rounds=options.rounds or (2 if options.quick else 5),
        work=dict.fromkeys(arms, float(pairs)),
        synchronize=synchronizer(options.device),
    )
    notes = ("Ratio: pairs a second, to the notebook's loader.",)
    return [Table(f"Batches to the model: {pairs:,} pairs", timing_rows(timings, unit="pairs"), notes)]


def check(found: tuple[int, int], pairs: int) -> None:
    """Refuse an arm that did less, or more, than all pairs of 28 x 28 images."""
    expected = (pairs, 2 * pairs * 28 * 28)
    if found != expected:
        raise AssertionError(f"Expected pairs and pixels {expected}, got {found}.")


def notebook_loop(options: Options, pairs: int, workers: int) -> Loop:
    """The notebook's dataset and loader."""
    images: Any = notebook_recipe.load_mnist(mnist_root(options.data_dir), train=True)
    if options.quick:
        wanted = QUICK_IMAGES["train"]
        images.data, images.targets = images.data[:wanted], images.targets[:wanted]
    loader = notebook_recipe.make_loader(notebook_recipe.PairDataset(images, pairs), shuffle=True, workers=workers)
    return lambda: _count(notebook_recipe.batches_to(torch.device(options.device), loader))


def plain_loop(train: ImageTensors, pairs: int, workers: int, options: Options) -> Loop:
    """A dataset of slices and a loader; normalised by the batch."""
    dataset = PlainPairs(train.images, ClassIndex.from_labels(train.targets), pairs, options.seed)
    loader = DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        num_workers=workers,
        pin_memory=torch.device(options.device).type == "cuda",
        persistent_workers=workers > 0,
    )

    def batches() -> Iterator[Batch]:
        dataset.draw()
        for first, second, target in notebook_recipe.batches_to(torch.device(options.device), loader):
            yield normalised(first), normalised(second), target

    return lambda: _count(batches())


def normalised(pixels: Tensor) -> Tensor:
    """Pixels as the notebook's net takes them."""
    return pixels.float().div_(255).sub_(MEAN).div_(STD)


def pairsim_loop(train: ImageTensors, pairs: int, options: Options) -> Loop:
    """The trainer's loader, an epoch further each time."""
    trainer = _trainer(train, pairs, options)
    epoch = iter(range(1_000_000))

    def batches() -> Iterator[Batch]:
        for batch in trainer.data.loader.epoch(next(epoch)):
            images, target = net_input(trainer, batch)
            first, second = images.chunk(2)
            yield first, second, target

    return lambda: _count(batches())


def limit_loop(train: ImageTensors, pairs: int, options: Options) -> Loop:
    """Batches of pixels that one epoch of the trainer's loader has made."""
    trainer = _trainer(train, pairs, options)
    made: list[tuple[Any, Any]] = [(images.clone(), target.clone()) for images, target in trainer.data.loader.epoch(0)]

    def batches() -> Iterator[Batch]:
        for batch in made:
            images, target = net_input(trainer, batch)
            first, second = images.chunk(2)
            yield first, second, target

    return lambda: _count(batches())


def _trainer(train: ImageTensors, pairs: int, options: Options) -> Trainer:
    config = TrainConfig(
        objective="pairs",
        batch_size=BATCH_SIZE,
        num_pairs=pairs,
        device=options.device,
        seed=options.seed,
        progress=False,
    )
    return Trainer(SimilarityModel(), config, train=train)


def _count(batches: Iterator[Batch]) -> tuple[int, int]:
    pairs = pixels = 0
    for first, second, target in batches:
        assert first.is_floating_point()
        assert len(first) == len(second) == len(target)
        pairs += len(target)
        pixels += first.numel() + second.numel()
    return pairs, pixels
