"""Batches do not depend on where images are kept, on who reads them, or on where an epoch was begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pairsim import PairDataset
from pairsim.data import ClassBalancedBatches, ClassIndex, ImageFiles, ImageTensors, RandomAffine, make_resident
from pairsim.data.augment import Augmentation
from pairsim.data.image_sets import gather
from pairsim.data.loading.batches import BatchPlan, PairBatches
from pairsim.data.loading.loader import BatchLoader
from pairsim.data.loading.pixel_cache import cached_images

CPU = torch.device("cpu")
NUM = 30
Batches = list[tuple[Tensor, Tensor]]


class OneByOne(Dataset[Any]):
    """Images that only a `DataLoader` can read."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], index % 3


PIXELS = torch.randint(0, 256, (NUM, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
LABELS = np.arange(NUM) % 3


def plans(seed: int) -> list[BatchPlan]:
    pairs = PairDataset(OneByOne(PIXELS), 25, seed=seed, labels=LABELS)
    return [ClassBalancedBatches(ClassIndex.from_labels(LABELS), 8, seed=seed), PairBatches(pairs, 6)]


def batches(dataset: Any, plan: BatchPlan, epoch: int, start: int = 0, **settings: Any) -> Batches:
    settings = {"device": CPU, "channels_last": True, "seed": 5, **settings}
    return list(BatchLoader(dataset, plan, **settings).epoch(epoch, start=start))


def assert_same(found: Batches, expected: Batches) -> None:
    assert len(found) == len(expected)
    for (images, targets), (expected_images, expected_targets) in zip(found, expected, strict=True):
        assert torch.equal(images, expected_images)
        assert images.stride() == expected_images.stride()  # kernels differ by layout
        assert torch.equal(targets, expected_targets)


@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 4), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_resident_or_read_or_from_the_middle(
    seed: int, epoch: int, start: int, augmented: bool, channels_last: bool
) -> None:
    augment = Augmentation(RandomAffine(), seed) if augmented else None
    chosen: dict[str, Any] = {"augment": augment, "channels_last": channels_last}
    for plan in plans(seed):
        expected = batches(ImageTensors(PIXELS, LABELS), plan, epoch, **chosen)
        laid_out = ImageTensors(PIXELS.contiguous(memory_format=torch.channels_last), LABELS)
        same_layout = laid_out if channels_last else ImageTensors(PIXELS, LABELS)
        assert_same(batches(same_layout, plan, epoch, start, **chosen), expected[start:])
        assert_same(batches(OneByOne(PIXELS), plan, epoch, start, **chosen), expected[start:])


@pytest.mark.parametrize(("workers", "start"), [(1, 2), (4, 0)])
def test_any_number_of_workers(tmp_path: Path, workers: int, start: int) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(NUM)]
    for path, pixels in zip(paths, PIXELS, strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    files = ImageFiles(paths, LABELS, image_size=(6, 6))
    mapped, _ = cached_images(files, tmp_path / "cache")
    augment = Augmentation(RandomAffine(), 2)
    for plan in plans(3):
        expected = batches(ImageTensors(PIXELS, LABELS), plan, 7, augment=augment)
        for dataset in (files, mapped, make_resident(files, channels_last=True, workers=workers)):
            found = batches(dataset, plan, 7, start, num_workers=workers, augment=augment)
            assert_same(found, expected[start:])


@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 5))
@settings(max_examples=20)
def test_an_epoch_sent_to_the_device_at_once_is_the_same(seed: int, epoch: int, start: int) -> None:
    for plan in plans(seed):
        loader = BatchLoader(ImageTensors(PIXELS, LABELS), plan, device=CPU)
        expected = list(loader.epoch(epoch, start=start))
        assert_same(list(loader._picked_on_device(epoch, start)), expected)


@given(st.lists(st.integers(0, NUM - 1), max_size=50), st.sampled_from([1, 2, 3]), st.booleans())
def test_gather_is_indexing_in_the_layout_of_the_images(numbers: list[int], channels: int, last: bool) -> None:
    images = PIXELS[:, :channels].contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    index = torch.tensor(numbers, dtype=torch.int64)
    found = gather(images, index)
    assert torch.equal(found, images[index])
    if numbers:
        assert found.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@pytest.mark.gpu
@pytest.mark.parametrize("augmented", [False, True])
def test_on_a_gpu(augmented: bool) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    augment = Augmentation(RandomAffine(), 2) if augmented else None
    for plan in plans(1):
        expected = batches(ImageTensors(PIXELS, LABELS), plan, 3, augment=augment)
        resident = make_resident(ImageTensors(PIXELS, LABELS), device=device, channels_last=True)
        for dataset, pin in ((resident, False), (ImageTensors(PIXELS, LABELS), True), (OneByOne(PIXELS), True)):
            found = batches(dataset, plan, 3, 1, device=device, augment=augment, pin_memory=pin, num_workers=0)
            for (images, targets), (expected_images, expected_targets) in zip(found, expected[1:], strict=True):
                assert images.device == device
                # what is drawn is the same; the last bit of what is computed from it may not be
                assert int((images.cpu().int() - expected_images.int()).abs().max()) <= (1 if augmented else 0)
                assert torch.equal(targets.cpu(), expected_targets)
