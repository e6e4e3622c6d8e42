from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pairsim.data import ClassBalancedBatches, ClassIndex
from pairsim.data.image_sets import ImageTensors
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader, TimedBatches, _sent_ahead, num_workers
from pairsim.errors import ImageReadError


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


def test_the_gpus_generators_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    # seeding them here would make a model's dropout depend on the number of workers
    def seeded(seed: int) -> None:
        raise AssertionError("CUDA was seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    images_of()


def test_random_transforms_do_not_depend_on_the_callers_state() -> None:
    expected = images_of()
    torch.manual_seed(123)
    random.seed(123)
    np.random.seed(123)  # noqa: NPY002
    assert torch.equal(images_of(), expected)


def test_generators_are_put_back_after_a_failure() -> None:
    before = torch.get_rng_state(), random.getstate()
    with pytest.raises(ImageReadError):
        list(BatchLoader(Failing(), SequentialBatches(np.arange(20), 4)).epoch(0))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_two_epochs_side_by_side_do_not_mix(digits: ImageTensors) -> None:
    plan = ClassBalancedBatches(ClassIndex.from_labels(digits.targets), 16)
    loader = BatchLoader(digits, plan)
    expected = torch.cat([images for images, _ in loader.epoch(0)])
    both = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    assert torch.equal(torch.cat([first[0] for first, _ in both]), expected)
    assert not torch.equal(torch.cat([second[0] for _, second in both]), expected)


def test_batches_carry_what_the_plan_says_of_them(digits: ImageTensors) -> None:
    plan = ClassBalancedBatches(ClassIndex.from_labels(digits.targets), 16)
    for images, codes in BatchLoader(digits, plan).epoch(4, start=3):
        assert (images[:, 0, 0, 0].long() % 10).tolist() == codes.tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_persistent_workers_give_each_epoch_its_own_batches(workers: int) -> None:
    numbers = [(torch.full((1, 1, 1), float(number)), number % 3) for number in range(24)]
    plan = ClassBalancedBatches(ClassIndex.from_labels(np.arange(24) % 3), 6)
    loader = BatchLoader(numbers, plan, num_workers=workers)
    for epoch in (0, 1, 0):
        found = torch.cat([images for images, _ in loader.epoch(epoch)]).flatten().long()
        assert found.tolist() == plan.epoch_order(epoch).tolist()


def test_a_whole_batch_is_fetched_at_once() -> None:
    class Batched(Augmented):
        asked: list[list[int]] = []  # noqa: RUF012

        def __getitems__(self, indices: list[int]) -> list[Any]:
            self.asked.append(indices)
            return [(torch.full((1, 1, 1), float(index)), 0) for index in indices]

    loader = BatchLoader(Batched(), SequentialBatches(np.arange(10), 4))
    assert torch.cat([images for images, _ in loader.epoch(0)]).flatten().tolist() == list(range(10))
    assert Batched.asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_augmentation_and_layout_come_last(digits: ImageTensors) -> None:
    from pairsim.data.augment import Augmentation

    plan = SequentialBatches(np.arange(20), 8)
    negative = Augmentation(lambda images, _: 255 - images, seed=0)
    loader = BatchLoader(digits, plan, augment=negative, channels_last=True)
    for number, (images, indices) in enumerate(loader.epoch(0, start=1), start=1):
        assert torch.equal(images, 255 - digits.images[indices])
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert indices[0] == number * 8


def test_waiting_is_measured_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pairsim.data.loading.loader.time.perf_counter", lambda: now[0])

    def slow() -> Iterator[tuple[int, int]]:
        for number in range(3):
            now[0] += 2.0
            yield number, number

    timed = TimedBatches(slow())
    for _ in timed:
        now[0] += 10.0  # the step
    assert timed.seconds == 6.0


class FakeStream:
    """Records what is sent and received."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.log: list[str] = []
        self.sent = 0

    def record_event(self) -> int:
        self.sent += 1
        self.log.append(f"send {self.sent}")
        return self.sent

    def wait_event(self, event: int) -> None:
        self.log.append(f"receive {event}")


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = FakeStream()
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: fake)
    monkeypatch.setattr(Tensor, "pin_memory", Tensor.clone)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, to: to.log.append("keep"))
    return fake


def batches(sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.full((size, 1, 2, 2), number, dtype=torch.uint8), torch.full((size,), number, dtype=torch.int64))
        for number, size in enumerate(sizes)
    ]


def test_batches_sent_ahead_arrive_whole_and_in_order(stream: Any) -> None:
    given = batches([4, 4, 4, 4, 4, 5, 3])
    found = list(_sent_ahead(given, stream))
    assert len(found) == len(given)
    for (images, targets), (expected, expected_targets) in zip(found, given, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(targets, expected_targets)


def test_the_next_batch_is_sent_before_one_is_returned(stream: Any) -> None:
    for _ in _sent_ahead(batches([2, 2, 2]), stream):
        stream.log.append("compute")
    received = [["receive 1"], ["send 3", "receive 2"], ["receive 3"]]
    expected = ["send 1", "send 2"]
    for part in received:
        expected += [*part, "keep", "keep", "compute"]
    assert stream.log == expected


def test_nothing_and_one_sent_ahead(stream: Any) -> None:
    assert list(_sent_ahead([], stream)) == []
    assert len(list(_sent_ahead(batches([1]), stream))) == 1


def test_errors_of_batches_sent_ahead_are_raised(stream: Any) -> None:
    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield from batches([1, 1])
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(_sent_ahead(failing(), stream))


@pytest.mark.gpu
def test_batches_sent_ahead_to_a_gpu() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    stream = torch.cuda.Stream(device)
    given = [(torch.randint(0, 256, (64 + k % 3, 3, 32, 32), dtype=torch.uint8), torch.arange(64)) for k in range(200)]
    for _ in range(2):
        for (images, targets), (expected, expected_targets) in zip(_sent_ahead(given, stream), given, strict=True):
            assert images.device == device
            assert torch.equal(images.cpu(), expected)
            assert torch.equal(targets.cpu(), expected_targets)
