"""A whole training step replayed as one CUDA graph.

A small net on a fast GPU spends most of its time being told what to do: hundreds of kernel launches a step. A CUDA
graph records them once and replays them by one call. It needs fixed addresses and shapes, so each batch is copied
into a buffer of its shape, and no waiting for the host, so the learning rate is a tensor and the loss stays on the
device. Whether it pays is measured on the run's own first steps; where recording fails, steps go on one by one. Either
way the run is told in one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Step: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Images and what the objective needs to know of them in, the loss out; updates the weights."""
Recorder: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
"""Records a call and gives what replays it and the tensor that then holds its result."""

_WARM_UP = 3
"""Steps on a shape before it is recorded: libraries choose algorithms and the optimizer makes its state in them."""
_TIMED = 10
"""Steps that are timed each way before one way is chosen."""


def record_cuda_graph(call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record a call as a CUDA graph; it is not carried out by this.

    Raises:
        RuntimeError: If something in it cannot be recorded, such as waiting for a value on the host.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph.replay, result


class GraphedStep:
    """Carries out training steps, from a recording where that is faster.

    Args:
        step: One whole step. It must not change shapes, wait for the device or depend on values of the host.
        before_recording: Called before a recording; drops gradients, so that the recording makes its own.
        note: Told what was chosen, in one line.
        always: Whether a recording is used without measuring that it pays.
        record: Makes a recording.
        synchronize: Waits for the device.
        clock: Gives seconds.
    """

    def __init__(
        self,
        step: Step,
        *,
        before_recording: Callable[[], object],
        note: Callable[[str], object],
        always: bool = False,
        record: Recorder = record_cuda_graph,
        synchronize: Callable[[], object] = torch.cuda.synchronize,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._step = step
        self._before_recording = before_recording
        self._note = note
        self._record = record
        self._synchronize = synchronize
        self._clock = clock
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        self._steps_of_shape: dict[tuple[torch.Size, ...], int] = {}
        self._wanted = True
        self._decided = always
        self._eager = _Stretch()
        self._graphed = _Stretch()

    def __call__(self, images: Tensor, extra: Tensor) -> Tensor:
        """Carry out one step; the loss, which the next step of the same shape overwrites."""
        shape = (images.shape, extra.shape)
        recording = self._recordings.get(shape) if self._wanted else None
        if recording is None and self._wanted and self._ready_to_record(shape):
            recording = self._new_recording(shape, images, extra)
        if self._decided:
            return self._step(images, extra) if recording is None else recording(images, extra)
        if recording is None:
            stretch, run = self._eager, self._step
            if self._steps_of_shape[shape] <= _WARM_UP:
                return run(images, extra)
        else:
            stretch, run = self._graphed, recording
        self._synchronize()
        began = self._clock()
        loss = run(images, extra)
        self._synchronize()
        stretch.add(self._clock() - began)
        if self._graphed.count == _TIMED:
            self._decide()
        return loss

    def _ready_to_record(self, shape: tuple[torch.Size, ...]) -> bool:
        """Whether a shape has been warmed up and, before the choice, timed without a recording."""
        done = self._steps_of_shape.get(shape, 0)
        self._steps_of_shape[shape] = done + 1
        return done >= _WARM_UP and (self._decided or self._eager.count >= _TIMED)

    def _new_recording(self, shape: tuple[torch.Size, ...], images: Tensor, extra: Tensor) -> _Recording | None:
        try:
            self._before_recording()
            recording = _Recording(self._step, images, extra, self._record)
        except (RuntimeError, AssertionError) as error:
            self._wanted, self._decided = False, True
            self._before_recording()
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self._note(f"Steps run one by one: they could not be recorded as a CUDA graph ({reason}).")
            return None
        self._recordings[shape] = recording
        return recording

    def _decide(self) -> None:
        self._decided = True
        eager, graphed = self._eager.mean_ms, self._graphed.mean_ms
        self._wanted = graphed < eager
        chosen = "Steps are replayed as a CUDA graph" if self._wanted else "Steps run one by one"
        self._note(f"{chosen}: {graphed:.2f} ms a step as a graph, {eager:.2f} ms without, over {_TIMED} steps each.")
        if not self._wanted:
            self._recordings.clear()
            self._before_recording()


class _Recording:
    """A recorded step with the buffers that it reads."""

    def __init__(self, step: Step, images: Tensor, extra: Tensor, record: Recorder) -> None:
        self._images = images.clone()  # keeps the memory layout
        self._extra = extra.clone()
        self._replay, self._loss = record(lambda: step(self._images, self._extra))

    def __call__(self, images: Tensor, extra: Tensor) -> Tensor:
        self._images.copy_(images, non_blocking=True)
        self._extra.copy_(extra, non_blocking=True)
        self._replay()
        return self._loss


class _Stretch:
    """Seconds of some steps."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    @property
    def mean_ms(self) -> float:
        return 1000 * self.seconds / self.count
