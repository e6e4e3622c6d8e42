"""Copy batches to a GPU while it computes: page-locked buffers, used in turn, and a stream for copies alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

Batch: TypeAlias = tuple[Tensor, Tensor]  # images and targets


class Event(Protocol):
    """A point in a stream that can be waited for."""

    def synchronize(self) -> None:
        """Wait until the stream has reached it."""
        ...


class CudaLane:
    """A stream for copies to a CUDA device, which run beside its computations.

    Args:
        device: The CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)

    def host_buffer(self, num_bytes: int) -> Tensor:
        """Allocate uint8 `[num_bytes]` in page-locked memory, which the device can read by itself."""
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)

    def send(self, tensors: list[Tensor]) -> tuple[list[Tensor], Event]:
        """Start to copy; return the tensors on the device and the event of their arrival."""
        with torch.cuda.stream(self.stream):
            sent = [tensor.to(self.device, non_blocking=True) for tensor in tensors]
            arrival = torch.cuda.Event()
            arrival.record(self.stream)
        return sent, arrival

    def receive(self, tensors: list[Tensor], arrival: Event) -> None:
        """Let all further computations of the current stream wait for the arrival."""
        assert isinstance(arrival, torch.cuda.Event)
        current = torch.cuda.current_stream(self.device)
        current.wait_event(arrival)
        for tensor in tensors:
            tensor.record_stream(current)  # its memory belongs to the side stream, which would reuse it too early


@dataclass
class _Slot:
    buffers: list[Tensor] = field(default_factory=list)
    arrival: Event | None = None


class StagingRing:
    """Start the copy of batch n + 1 before batch n is returned.

    Each slot of the ring has buffers that are allocated once (and again only for a larger batch) and are overwritten
    when the copy from them has arrived. Of three slots one is written, one is being copied, and one is spare.

    Args:
        lane: Copies tensors to the device.
        num_slots: Batches that can be under way, at least 2.
    """

    def __init__(self, lane: CudaLane, num_slots: int = 3) -> None:
        self.lane = lane
        self._slots = [_Slot() for _ in range(num_slots)]
        self._next = 0

    def __call__(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the same batches, on the device.

        Args:
            batches: Tensors in host memory.
        """
        sent = map(self._send, batches)
        current = next(sent, None)
        while current is not None:
            following = next(sent, None)
            self.lane.receive(*current)
            (images, targets), _ = current
            yield images, targets
            current = following

    def _send(self, batch: Batch) -> tuple[list[Tensor], Event]:
        slot = self._slots[self._next]
        self._next = (self._next + 1) % len(self._slots)
        if slot.arrival is not None:
            slot.arrival.synchronize()
        sent, slot.arrival = self.lane.send([self._stage(slot, number, tensor) for number, tensor in enumerate(batch)])
        return sent, slot.arrival

    def _stage(self, slot: _Slot, number: int, tensor: Tensor) -> Tensor:
        size = tensor.numel() * tensor.element_size()
        if number == len(slot.buffers):
            slot.buffers.append(self.lane.host_buffer(size))
        elif len(slot.buffers[number]) < size:
            slot.buffers[number] = self.lane.host_buffer(size)
        return slot.buffers[number][:size].view(tensor.dtype).view(tensor.shape).copy_(tensor)
