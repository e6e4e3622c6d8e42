"""The notebook's recipe, and pairsim's objective "pairs" with the same hyper-parameters: arms that go by the epoch.

Both: the same net, as many pairs an epoch in batches of 256, Adam at 1e-2 with weight decay 1e-5, learning rate halved
on a plateau, an evaluation after each epoch, the best weights written to disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks import notebook_recipe
from benchmarks.judge import Quality, judge
from benchmarks.mnist import QUICK_IMAGES, judge_model, labels_of, load
from benchmarks.options import Options, mnist_root
from benchmarks.timing import synchronizer
from pairsim import SimilarityModel, TrainConfig, Trainer
from pairsim._common.choices import PrecisionName
from pairsim.training import Callback

QUICK_PAIRS = 1_000

Synchronize = Callable[[], object] | None


class RecipeArm(Protocol):
    """A recipe that goes an epoch at a time.

    Attributes:
        training_s: Seconds of the training part of each epoch so far.
    """

    training_s: list[float]

    def epoch(self) -> None:
        """Train and evaluate one epoch."""
        ...

    def quality(self) -> Quality:
        """Judge the weights that were kept, on all test pairs; ends the run."""
        ...


class NotebookArm:
    """The notebook as written.

    Args:
        folder: For its `best_model.pt`.
        options: For data, pairs, workers, device and seed.
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.training_s: list[float] = []
        self._options, self._synchronize = options, synchronizer(options.device)
        self.run = notebook_recipe.NotebookRun(
            mnist_root(options.data_dir),
            options.seed,
            out=folder / "best_model.pt",
            workers=options.workers,
            num_pairs=num_pairs(options),
            num_test_pairs=QUICK_PAIRS // 4 if options.quick else notebook_recipe.TEST_PAIRS,
            device=options.device,
            num_images=(QUICK_IMAGES["train"], QUICK_IMAGES["test"]) if options.quick else None,
        )

    def epoch(self) -> None:
        """Train and evaluate one epoch."""
        began = time.perf_counter()
        self.run.train_epoch()
        if self._synchronize is not None:
            self._synchronize()
        self.training_s.append(time.perf_counter() - began)
        self.run.finish_epoch()

    def quality(self) -> Quality:
        """Judge `best_model.pt`."""
        model = notebook_recipe.SimilarityModel(notebook_recipe.EmbeddingNet())
        model.load_state_dict(torch.load(self.run.out, weights_only=True))
        model.eval()
        test = load(self._options, "test").dataset
        images = (test.images.float() / 255 - notebook_recipe.MEAN) / notebook_recipe.STD
        with torch.inference_mode():
            embeddings = torch.cat([model.embedding_net(part) for part in images.split(notebook_recipe.BATCH_SIZE)])
        projection = model.projection
        return judge(embeddings, labels_of(test), weight=projection.weight.item(), bias=projection.bias.item())


class PairsimArm:
    """pairsim's objective "pairs" with the notebook's hyper-parameters.

    Args:
        folder: Run folder.
        options: For data, pairs, device and seed.
        precision: To compute in.
        epochs: That will be asked for, at most.
        resident: Whether every step gets the same batch, made beforehand as the net takes it, so that what is left
            is the step alone.
    """

    def __init__(
        self,
        folder: Path,
        options: Options,
        precision: PrecisionName,
        epochs: int,
        *,
        resident: bool = False,
    ) -> None:
        self.training_s: list[float] = []
        self._options = options
        config = TrainConfig(
            objective="pairs",
            out=folder,
            epochs=epochs,
            batch_size=notebook_recipe.BATCH_SIZE,
            num_pairs=num_pairs(options),
            learning_rate=notebook_recipe.LEARNING_RATE,
            weight_decay=notebook_recipe.WEIGHT_DECAY,
            scheduler="plateau",
            plateau_patience=notebook_recipe.PATIENCE,
            plateau_factor=notebook_recipe.FACTOR,
            precision=precision,
            device=options.device,
            seed=options.seed,
            progress=False,
        )
        train = load(options, "train").dataset
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            model = SimilarityModel()
        self.first_slope = model.projection.weight.item()
        self._watch = TrainingPart(synchronizer(options.device))
        self.trainer = Trainer(model, config, train=train, callbacks=[self._watch])
        if resident:
            loader: Any = ResidentBatches(self.trainer)
            self.trainer.data.loader = loader
        self._epochs: Iterator[object] = self.trainer.epochs("never")

    def epoch(self) -> None:
        """Train and evaluate one epoch."""
        began = time.perf_counter()
        next(self._epochs)
        self.training_s.append(self._watch.ended - began)

    def quality(self) -> Quality:
        """Judge the best weights, which are in the model after the last epoch."""
        for _ in self._epochs:
            raise AssertionError("epochs are left")
        return judge_model(self.trainer.model, self._options)


class ResidentBatches:
    """Takes a trainer's loader's place: as many batches of the same sizes, all made beforehand.

    Images are preprocessed floating point on the device, laid out as the trainer lays them out. There is one batch of
    each size, handed out again and again, so that nothing but the step touches memory.

    Args:
        trainer: Its own loader makes the batches.
    """

    def __init__(self, trainer: Trainer) -> None:
        loader = trainer.data.loader
        self.plan = loader.plan
        first = net_input(trainer, next(iter(loader.epoch(0))))
        last = net_input(trainer, next(iter(loader.epoch(0, start=self.plan.num_batches - 1))))
        self._batches = [first] * (self.plan.num_batches - 1) + [last]

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ARG002  all are alike
        """The batches of an epoch."""
        yield from self._batches[start:]


def net_input(trainer: Trainer, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A batch of a trainer's loader as its net receives it: on the device, normalised, laid out."""
    images, extra = (part.to(trainer.device, non_blocking=True) for part in batch)
    images = trainer.model.preprocessing(images)
    if trainer.config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images, extra


class TrainingPart(Callback):
    """Notes when the last step of an epoch is done."""

    def __init__(self, synchronize: Synchronize) -> None:
        self.synchronize = synchronize
        self.ended = 0.0

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        """Note the time after each epoch's last step."""
        if step % trainer.data.loader.plan.num_batches == 0:
            if self.synchronize is not None:
                self.synchronize()
            self.ended = time.perf_counter()


def num_pairs(options: Options) -> int:
    """Pairs in an epoch: the notebook's number, unless another is asked for."""
    return options.num_pairs or (QUICK_PAIRS if options.quick else notebook_recipe.TRAIN_PAIRS)
