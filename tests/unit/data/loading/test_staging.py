"""The ring of staging buffers, on a lane that copies as late as it may."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pairsim.data.loading.staging import CudaLane, Event, StagingRing


class LateCopy:
    """Copies only when somebody waits for it, so that a buffer that is written too early shows."""

    def __init__(self, staged: list[Tensor], sent: list[Tensor]) -> None:
        self._pairs: list[tuple[Tensor, Tensor]] = list(zip(staged, sent, strict=True))

    def synchronize(self) -> None:
        for staged, sent in self._pairs:
            sent.copy_(staged)
        self._pairs = []


class LateLane(CudaLane):
    """Needs no device."""

    def __init__(self) -> None:
        self.buffers = 0
        self.log: list[str] = []

    def host_buffer(self, num_bytes: int) -> Tensor:
        self.buffers += 1
        return torch.zeros(num_bytes, dtype=torch.uint8)

    def send(self, tensors: list[Tensor]) -> tuple[list[Tensor], Event]:
        self.log.append("send")
        sent = [torch.empty_like(tensor) for tensor in tensors]
        return sent, LateCopy(tensors, sent)

    def receive(self, tensors: list[Tensor], arrival: Event) -> None:
        self.log.append("receive")
        arrival.synchronize()


def batches(sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    return [
        (torch.full((size, 1, 2, 2), number, dtype=torch.uint8), torch.full((size,), number, dtype=torch.int64))
        for number, size in enumerate(sizes)
    ]


def test_batches_arrive_whole_and_in_order() -> None:
    given = batches([4, 4, 4, 4, 4, 4, 3])
    found = list(StagingRing(LateLane())(given))
    assert len(found) == len(given)
    for (images, targets), (expected, expected_targets) in zip(found, given, strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(targets, expected_targets)


def test_the_next_batch_is_on_its_way_before_one_is_handed_out() -> None:
    lane = LateLane()
    for _ in StagingRing(lane)(batches([2, 2, 2])):
        lane.log.append("compute")
    assert lane.log == ["send", "send", "receive", "compute", "send", "receive", "compute", "receive", "compute"]


def test_buffers_are_allocated_once() -> None:
    lane = LateLane()
    ring = StagingRing(lane, num_slots=3)
    for _ in range(4):
        assert len(list(ring(batches([5] * 10 + [2])))) == 11
    assert lane.buffers == 3 * 2


def test_a_larger_batch_gets_a_larger_buffer() -> None:
    given = batches([2, 2, 2, 3, 3, 3])
    lane = LateLane()
    found = [images for images, _ in StagingRing(lane)(given)]
    assert all(torch.equal(images, expected) for images, (expected, _) in zip(found, given, strict=True))
    assert lane.buffers == 3 * 2 * 2


def test_two_streams_of_batches_may_share_a_ring() -> None:
    ring = StagingRing(LateLane())
    one, two = batches([3] * 5), [(images + 100, targets) for images, targets in batches([3] * 5)]
    for (a, _), (b, _), (expected_a, _), (expected_b, _) in zip(ring(one), ring(two), one, two, strict=True):
        assert torch.equal(a, expected_a)
        assert torch.equal(b, expected_b)


def test_nothing_and_one() -> None:
    ring = StagingRing(LateLane())
    assert list(ring([])) == []
    assert len(list(ring(batches([1])))) == 1


def test_a_failure_comes_through() -> None:
    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield from batches([1, 1])
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(StagingRing(LateLane())(failing()))


@pytest.mark.gpu
def test_cuda_lane() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    given = [(torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.arange(64)) for _ in range(20)]
    for (images, targets), (expected, expected_targets) in zip(
        StagingRing(CudaLane(device))(given), given, strict=True
    ):
        assert images.device == device
        assert torch.equal(images.cpu(), expected)
        assert torch.equal(targets.cpu(), expected_targets)
