from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from pairsim.data.batches import SequentialBatches
from pairsim.data.image_sets import ImageTensors, fetch_images, in_memory, subset
from pairsim.data.loading import BatchLoader, num_workers
from pairsim.errors import DataError, ImageReadError
from pairsim.images import Preprocessing


class Augmented(Dataset[Any]):
    """Noise from all three global generators, as transforms of all kinds draw it."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        noise = torch.rand(()) + random.random() + np.random.rand()  # noqa: NPY002
        return torch.full((1, 2, 2), float(index)) + noise / 10, 0


def images_of(start: int = 0, epoch: int = 1, **settings: Any) -> torch.Tensor:
    loader = BatchLoader(Augmented(), SequentialBatches(np.arange(20), 4), seed=7, **settings)
    return torch.cat([images for images, _ in loader.epoch(epoch, start=start)])


def test_random_transforms_are_a_function_of_seed_epoch_and_batch() -> None:
    expected = images_of()
    assert torch.equal(images_of(), expected)
    assert torch.equal(images_of(num_workers=1), expected)
    assert torch.equal(images_of(num_workers=2), expected)
    assert torch.equal(images_of(start=3), expected[12:])
    assert not torch.equal(images_of(epoch=2), expected)


def test_the_callers_generators_are_left_alone() -> None:
    states = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    images_of()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert repr(np.random.get_state()) == states[2]  # noqa: NPY002


class Failing(Augmented):
    def __getitem__(self, index: int) -> Any:
        if index == 9:
            raise ImageReadError("9.png cannot be read.")
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failure_arrives_as_it_was_raised(workers: int) -> None:
    loader = BatchLoader(Failing(), SequentialBatches(np.arange(20), 4), num_workers=workers)
    with pytest.raises(ImageReadError, match=r"^9.png cannot be read.$"):
        list(loader.epoch(0))


def test_images_in_memory_need_no_workers() -> None:
    images = ImageTensors(torch.zeros(3, 4, 4, dtype=torch.uint8), [0, 1, 0])
    assert num_workers(images, 4) == 0
    assert num_workers(Augmented(), 3) == 3


def test_torchvision_like_datasets_without_a_transform_are_in_memory() -> None:
    class Mnist(Augmented):
        data = torch.zeros(20, 28, 28, dtype=torch.uint8)
        targets = torch.zeros(20, dtype=torch.int64)
        transform: Any = None

    assert isinstance(in_memory(Mnist()), ImageTensors)
    transformed = Mnist()
    transformed.transform = torch.Tensor.float
    assert in_memory(transformed) is transformed


def test_subset_keeps_images_in_memory() -> None:
    images = ImageTensors(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1), ["a", "b", "c", "d"])
    part = subset(images, np.array([3, 1]))
    assert isinstance(part, ImageTensors)
    assert part.targets.tolist() == ["d", "b"]
    assert [int(part[place][0]) for place in range(2)] == [3, 1]


def test_items_of_many_kinds() -> None:
    from PIL import Image

    preprocessing = Preprocessing(image_size=(4, 4), channels=1)
    grey = np.full((8, 8), 9, np.uint8)
    items = [
        (torch.full((1, 4, 4), 9, dtype=torch.uint8), 0),
        (Image.fromarray(grey), 0),
        grey,
        torch.full((4, 4), 9, dtype=torch.uint8),
    ]
    batch = fetch_images(items, np.array([0, 1, 2, 3, 1]), preprocessing)
    assert batch.shape == (5, 1, 4, 4)
    assert bool((batch == 9).all())


def test_bad_items() -> None:
    with pytest.raises(DataError, match=r"Expected item 0 to be \(image, label\).*got str"):
        fetch_images([("picture", 1)], np.array([0]))
    with pytest.raises(DataError, match=r"Expected image 0 to have shape \[C, H, W\], got \[1, 1, 4, 4\]"):
        fetch_images([(torch.zeros(1, 1, 4, 4), 1)], np.array([0]))
    with pytest.raises(DataError, match="found NaN or infinite values in image 1"):
        fetch_images([(torch.zeros(1, 2, 2), 0), (torch.full((1, 2, 2), torch.inf), 0)], np.array([0, 1]))
    with pytest.raises(DataError, match=r"got \[2, 2\]"):
        ImageTensors(torch.zeros(2, 2), [0, 1])
    with pytest.raises(DataError, match=r"got torch.int64. Use images.to\(torch.uint8\)"):
        ImageTensors(torch.zeros(2, 1, 2, 2, dtype=torch.int64), [0, 1])
