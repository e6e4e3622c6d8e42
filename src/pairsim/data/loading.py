"""Batches of images on their way to the device: sliced from memory, or read by a `DataLoader`."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pairsim.data.batches import BatchPlan
from pairsim.data.image_sets import ImageTensors, fetch_images
from pairsim.data.random import stream_key
from pairsim.errors import PairsimError
from pairsim.images import Preprocessing


class _PlannedBatches(Dataset[tuple[Tensor, Tensor] | PairsimError]):
    """Item (epoch, b) is the whole batch b of that epoch, so that a worker needs no state."""

    def __init__(self, dataset: Any, plan: BatchPlan, preprocessing: Preprocessing | None, seed: int) -> None:
        self.dataset = dataset
        self.plan = plan
        self.preprocessing = preprocessing
        self.seed = seed

    def __getitem__(self, item: tuple[int, int]) -> tuple[Tensor, Tensor] | PairsimError:
        epoch, number = item
        indices, extra = self.plan.batch(epoch, number)
        if isinstance(self.dataset, ImageTensors):
            return fetch_images(self.dataset, indices), extra
        # A dataset's random transforms draw from global generators: seeding those by batch makes augmentation the
        # same for any number of workers and after a resume. The caller's own state is put back.
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            key = stream_key("transforms", self.seed, epoch, number)
            # torch.manual_seed would also seed the GPU's generators, which belong to the training step
            torch.default_generator.manual_seed(key)
            random.seed(key)
            np.random.seed(key % 2**32)  # noqa: NPY002
            try:
                return fetch_images(self.dataset, indices, self.preprocessing), extra
            except PairsimError as error:
                # Handed over as a value: raised in a worker it would arrive with the worker's traceback as its text.
                return error
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)  # noqa: NPY002


class _EpochSampler(Sampler[tuple[int, int]]):
    def __init__(self, num_batches: int) -> None:
        super().__init__()
        self.num_batches = num_batches
        self.epoch = 0
        self.start = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch  # of now: the generator runs on while another epoch may be asked for
        return ((epoch, number) for number in range(self.start, self.num_batches))

    def __len__(self) -> int:
        return self.num_batches - self.start


class BatchLoader:
    """The batches of a plan, from any start, with their images.

    Images that are in memory (`ImageTensors`) are sliced by the training process, as workers would only copy them
    about. Any other dataset is read by a `DataLoader` whose workers make whole batches and stay alive over epochs.

    Args:
        dataset: Items are `(image, ...)`.
        plan: Which images make up each batch.
        preprocessing: Reads items that are PIL images, arrays or paths.
        num_workers: Reading processes; 0 reads in this process.
        pin_memory: Whether batches are put in page-locked memory for asynchronous copies to a GPU.
        seed: Seeds the dataset's random transforms, by epoch and batch.
    """

    def __init__(
        self,
        dataset: Any,
        plan: BatchPlan,
        *,
        preprocessing: Preprocessing | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
    ) -> None:
        self.plan = plan
        self._batches = _PlannedBatches(dataset, plan, preprocessing, seed)
        self._sampler = _EpochSampler(plan.num_batches)
        self._pin_memory = pin_memory
        self._loader: DataLoader[Any] | None = None
        if not isinstance(dataset, ImageTensors):
            self._loader = DataLoader(
                self._batches,
                batch_size=None,
                sampler=self._sampler,
                num_workers=num_workers,
                pin_memory=pin_memory,
                persistent_workers=num_workers > 0,
                generator=torch.Generator().manual_seed(0),  # else it draws from the caller's; seeds come by batch
            )

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches `start` to the last of an epoch: images `[n, C, H, W]` and what the plan says of them."""
        self._sampler.epoch, self._sampler.start = epoch, start
        source = (self._batches[item] for item in self._sampler) if self._loader is None else iter(self._loader)
        for batch in source:
            if isinstance(batch, PairsimError):
                raise batch
            pin = self._pin_memory and self._loader is None
            yield (batch[0].pin_memory(), batch[1].pin_memory()) if pin else batch


def num_workers(dataset: Any, wanted: int | None) -> int:
    """Reading processes for a dataset: none for images in memory, else as wanted, by default one a core up to 4."""
    if isinstance(dataset, ImageTensors):
        return 0
    return wanted if wanted is not None else min(4, os.cpu_count() or 1)
