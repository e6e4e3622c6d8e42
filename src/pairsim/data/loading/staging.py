"""Batches copied to a GPU while it computes: page-locked buffers, used in turn, and a stream for copies alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Event(Protocol):
    """A moment in a stream that can be waited for."""

    def synchronize(self) -> None:
        """Return when it has come."""
        ...


class Lane(Protocol):
    """A way for copies to a device that goes beside its computing. Tests put a slow one of their own here."""

    def host_buffer(self, num_bytes: int) -> Tensor:
        """uint8 `[num_bytes]` in memory that the device can read by itself."""
        ...

    def send(self, tensors: list[Tensor]) -> tuple[list[Tensor], Event]:
        """Begin to copy; gives the tensors on the device, and the event of their arrival."""
        ...

    def receive(self, tensors: list[Tensor], arrival: Event) -> None:
        """Let what the device computes from here on wait for the arrival."""
        ...


class CudaLane:
    """A copy stream of a CUDA device.

    Args:
        device: Which.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream = torch.cuda.Stream(device)

    def host_buffer(self, num_bytes: int) -> Tensor:
        """Page-locked memory."""
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)

    def send(self, tensors: list[Tensor]) -> tuple[list[Tensor], Event]:
        """Begin to copy on the side stream."""
        with torch.cuda.stream(self.stream):
            sent = [tensor.to(self.device, non_blocking=True) for tensor in tensors]
            arrival = torch.cuda.Event()
            arrival.record(self.stream)
        return sent, arrival

    def receive(self, tensors: list[Tensor], arrival: Event) -> None:
        """Let the current stream wait."""
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
    """Sends batch n + 1 on its way before it hands out batch n.

    Each slot of the ring has buffers that are allocated once (and again only for a larger batch) and are written anew
    when the copy out of them has arrived. With three slots one is written, one is on its way, one has a spare turn.

    Args:
        lane: How copies get to the device.
        num_slots: Batches that can be under way, at least 2.
    """

    def __init__(self, lane: Lane, num_slots: int = 3) -> None:
        self.lane = lane
        self._slots = [_Slot() for _ in range(num_slots)]
        self._turn = 0

    def __call__(self, batches: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        """The same batches, on the device.

        Args:
            batches: Tuples of tensors in host memory.
        """
        ready: tuple[list[Tensor], Event] | None = None
        for batch in batches:
            following = self._send(batch)
            if ready is not None:
                yield self._receive(*ready)
            ready = following
        if ready is not None:
            yield self._receive(*ready)

    def _send(self, batch: tuple[Tensor, ...]) -> tuple[list[Tensor], Event]:
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % len(self._slots)
        if slot.arrival is not None:
            slot.arrival.synchronize()
        staged = [self._stage(slot, place, tensor) for place, tensor in enumerate(batch)]
        sent, slot.arrival = self.lane.send(staged)
        return sent, slot.arrival

    def _stage(self, slot: _Slot, place: int, tensor: Tensor) -> Tensor:
        size = tensor.numel() * tensor.element_size()
        if place == len(slot.buffers):
            slot.buffers.append(self.lane.host_buffer(size))
        elif len(slot.buffers[place]) < size:
            slot.buffers[place] = self.lane.host_buffer(size)
        return slot.buffers[place][:size].view(tensor.dtype).view(tensor.shape).copy_(tensor)

    def _receive(self, tensors: list[Tensor], arrival: Event) -> tuple[Tensor, ...]:
        self.lane.receive(tensors, arrival)
        return tuple(tensors)
