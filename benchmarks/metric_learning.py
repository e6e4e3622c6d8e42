"""pytorch-metric-learning: its losses for pairsim's loop, and its own trainer as it is documented.

Its own trainer is set up as its examples for MNIST and for `MetricLossOnly` do it: torchvision's MNIST with ToTensor
and Normalize, Adam at 1e-2, batches of 256, `MPerClassSampler` with 4 images of a class, 2 loading workers, everything
in fp32. What differs is the net, which is the one of all other arms, and the loss, `SupConLoss`, its best here.
"""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from benchmarks import notebook_recipe
from benchmarks.judge import Quality, judge
from benchmarks.mnist import labels_of, load, split_as_trainer
from benchmarks.optional import optional
from benchmarks.options import Options, mnist_root
from benchmarks.timing import synchronizer
from pairsim.evaluation import all_pair_scores

PACKAGE = "pytorch-metric-learning"
BATCH_SIZE, IMAGES_PER_CLASS, WORKERS, LEARNING_RATE = 256, 4, 2, 1e-2

Loss = Callable[[Tensor, Tensor], Tensor]


def part(name: str) -> Any:
    """A module of the package, such as `losses`; `None` if the package is not installed."""
    return optional(PACKAGE, f"pytorch_metric_learning.{name}")


def losses() -> dict[str, Callable[[], Loss]]:
    """Makers of the losses by name, each as the package's documentation has it; empty without the package."""
    found, miners, distances, reducers = (part(name) for name in ("losses", "miners", "distances", "reducers"))
    if found is None:
        return {}

    def mined_triplets() -> Loss:
        # as in the package's example for MNIST
        distance = distances.CosineSimilarity()
        loss = found.TripletMarginLoss(margin=0.2, distance=distance, reducer=reducers.ThresholdReducer(low=0))
        miner = miners.TripletMarginMiner(margin=0.2, distance=distance, type_of_triplets="semihard")
        return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))

    def mined_similarities() -> Loss:
        loss, miner = found.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
        return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))

    return {
        "SupCon": found.SupConLoss,
        "MultiSimilarity": found.MultiSimilarityLoss,
        "MultiSimilarity with its miner": mined_similarities,
        "TripletMargin with semihard miner": mined_triplets,
        "Contrastive": found.ContrastiveLoss,
    }


@dataclass(frozen=True)
class Point:
    """A model on its way.

    Attributes:
        passes: Images learnt from, in passes over the training images.
        seconds: From reading the data until here, without the time that judging took.
        quality: On all pairs of the test images, at the threshold that is best on the validation images.
    """

    passes: float
    seconds: float
    quality: Quality


class _ReachedError(Exception):
    """Ends its trainer's loop."""


def train_own(
    options: Options,
    seed: int,
    *,
    passes: float,
    every: float,
    goal: float,
    tuned: bool = False,
) -> list[Point]:
    """Train with the package's own trainer, and judge the model again and again on its way.

    The package has no probability, so the threshold is chosen on the validation images: the one with the best balanced
    accuracy. Choosing and judging stop the clock, so no validation is in `seconds`.

    Args:
        options: For data and device.
        seed: Of weights, sampler and split; the split is the trainer's of pairsim with this seed.
        passes: Passes over the training images at most.
        every: Passes between judgements.
        goal: Balanced accuracy at which training ends.
        tuned: Whether it is given what its trainer takes and helps: images in memory, normalised beforehand, without
            workers, and a one-cycle learning rate over all `passes`.
    """
    trainers, samplers, found = part("trainers"), part("samplers"), part("losses")
    commons = part("utils.common_functions")
    assert found is not None, "asked for only where the package is there"
    labelled = load(options, "train").dataset
    kept, held = split_as_trainer(labelled, seed)
    held_images, held_labels = normalised(labelled.images[torch.from_numpy(held)]), labelled.targets[held]
    test = load(options, "test").dataset
    test_images = normalised(test.images)
    device = torch.device(options.device)
    synchronize = synchronizer(options.device) or (lambda: None)
    points: list[Point] = []
    with seeded(commons, seed), quiet():
        began = time.perf_counter()
        paused = 0.0
        if tuned:
            dataset: Any = TensorDataset(normalised(labelled.images[torch.from_numpy(kept)]), labels_of(labelled)[kept])
        else:
            dataset = Subset(_with_transform(options), kept.tolist())
        net = notebook_recipe.EmbeddingNet().to(device)
        optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
        sampler = samplers.MPerClassSampler(
            labelled.targets[kept], m=IMAGES_PER_CLASS, length_before_new_iter=len(kept)
        )
        batch_size = min(BATCH_SIZE, len(sampler))
        steps = max(round(passes * len(kept) / batch_size), 1)
        marks = {max(round(count * every * len(kept) / batch_size), 1) for count in range(1, round(passes / every) + 1)}
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LEARNING_RATE, total_steps=max(steps, 2))

        def look(trainer: Any) -> None:
            nonlocal paused
            done = trainer.iteration + 1
            if done not in marks and done != steps:
                return
            synchronize()
            stopped = time.perf_counter()
            net.eval()
            with torch.inference_mode():
                held_vectors, vectors = (_embed(net, images, device) for images in (held_images, test_images))
            net.train()
            threshold = best_threshold(held_vectors, held_labels)
            quality = judge(vectors, labels_of(test), weight=1.0, bias=-threshold)
            points.append(Point(done * batch_size / len(kept), stopped - began - paused, quality))
            if quality.balanced_accuracy >= goal:
                raise _ReachedError
            paused += time.perf_counter() - stopped

        trainer = trainers.MetricLossOnly(
            {"trunk": net},
            {"trunk_optimizer": optimizer},
            batch_size,
            {"metric_loss": found.SupConLoss()},
            dataset,
            sampler=sampler,
            iterations_per_epoch=steps,
            data_device=device,
            dataloader_num_workers=0 if tuned else min(options.workers, WORKERS),
            lr_schedulers={"trunk_scheduler_by_iteration": schedule} if tuned else None,
            end_of_iteration_hook=look,
        )
        with contextlib.suppress(_ReachedError):
            trainer.train(num_epochs=1)
        # the workers end now, and not when the garbage collector comes by, which would be in another arm's time
        trainer.dataloader_iter = trainer.dataloader = None
    return points


def best_threshold(embeddings: Tensor, labels: Any) -> float:
    """The threshold with the best balanced accuracy on all pairs, between two scores."""
    pairs = all_pair_scores(embeddings.float().cpu().numpy(), labels)
    # a positive is a match from the threshold on: the best cut lies just below some positive
    cuts = np.unique(pairs.positive)
    missed = np.searchsorted(pairs.positive, cuts) / pairs.num_positive
    let_in = 1 - np.searchsorted(pairs.negative, cuts) / pairs.num_negative
    best = int(np.argmin(missed + let_in))
    below = np.searchsorted(pairs.negative, cuts[best])
    lower = float(pairs.negative[below - 1]) if below else float(cuts[best]) - 1e-3
    return (lower + float(cuts[best])) / 2


def normalised(pixels: Tensor) -> Tensor:
    """Pixels as the notebook's net takes them."""
    return (pixels.float() / 255 - notebook_recipe.MEAN) / notebook_recipe.STD


def _with_transform(options: Options) -> Any:
    """torchvision's training images with the usual transform; those of `load` in the same order."""
    dataset: Any = notebook_recipe.load_mnist(mnist_root(options.data_dir), train=True)
    loaded = load(options, "train").dataset
    if len(loaded) == len(dataset):
        return dataset
    # --quick has a part of them: the same images, still with the transform for each
    dataset.data, dataset.targets = loaded.images[:, 0], labels_of(loaded)
    return dataset


def _embed(net: torch.nn.Module, images: Tensor, device: torch.device) -> Tensor:
    return torch.cat([net(batch.to(device)).cpu() for batch in images.split(1000)])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the trainer's progress bar, and without PyTorch's warning of how it writes the loss there."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True to a scalar")
        yield


@contextlib.contextmanager
def seeded(commons: Any, seed: int) -> Iterator[None]:
    """Seed the generators that the package draws from inside, and put back what was there."""
    before = commons.NUMPY_RANDOM
    commons.NUMPY_RANDOM = np.random.RandomState(seed)  # what the package takes
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        commons.NUMPY_RANDOM = before
