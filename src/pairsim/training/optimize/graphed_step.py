"""Replay a training step as a CUDA graph.

A small net on a fast GPU spends most of its time on kernel launches: hundreds in a step. A CUDA graph records them once
and replays them with one call. It needs fixed addresses and shapes, so each batch is copied into a buffer of its shape.
It must not wait for the host, so the learning rate is a tensor and the loss stays on the device. The first steps of a
run are timed with and without a graph, and the faster way is used. If recording fails, steps run without a graph. A
note says which way is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import fmean
from typing import TypeAlias

import torch
from torch import Tensor

Step: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(images, targets) -> loss`; updates the weights."""
Recorder: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
"""Records a call. Returns a function that replays it, and the tensor that holds its result after a replay."""
_Shape: TypeAlias = tuple[torch.Size, torch.Size]

_WARM_UP = 3
"""Steps on a shape before it is recorded, in which libraries choose algorithms and the optimizer creates its state."""
_TIMED = 10
"""Steps that are timed each way."""


def record_cuda_graph(call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record a call as a CUDA graph, without running it.

    Raises:
        RuntimeError: If something in it cannot be recorded, such as waiting for a value on the host.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph.replay, result


class GraphedStep:
    """Runs training steps, as a graph where that is faster.

    Args:
        step: A complete step. It must not change shapes, wait for the device or depend on values of the host.
        before_recording: Called before a recording; drops gradients, so that the recording creates its own.
        note: Called with a line about the choice.
        always: Whether to use graphs without timing them.
        record: Records a step.
        synchronize: Waits for the device.
        clock: Returns the time in seconds.
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
        self._graphs: dict[_Shape, Step] = {}
        self._num_steps: dict[_Shape, int] = {}
        self._uses_graphs = True
        self._is_decided = always
        self._seconds: tuple[list[float], list[float]] = [], []  # of steps without and with a graph

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Run one step and return the loss, which the next step of the same shape overwrites."""
        shape = (images.shape, targets.shape)
        graph = self._graphs.get(shape)
        if self._uses_graphs and graph is None:
            num_steps = self._num_steps[shape] = self._num_steps.get(shape, 0) + 1
            if num_steps <= _WARM_UP:
                return self._step(images, targets)
            if self._is_decided or len(self._seconds[0]) >= _TIMED:
                graph = self._new_graph(shape, images, targets)
        run = graph or self._step
        if self._is_decided:
            return run(images, targets)
        self._synchronize()
        began = self._clock()
        loss = run(images, targets)
        self._synchronize()
        self._seconds[graph is not None].append(self._clock() - began)
        if len(self._seconds[1]) == _TIMED:
            self._decide()
        return loss

    def _new_graph(self, shape: _Shape, images: Tensor, targets: Tensor) -> Step | None:
        self._before_recording()
        try:
            self._graphs[shape] = _recorded(self._step, images, targets, self._record)
        except (RuntimeError, AssertionError) as error:
            self._uses_graphs, self._is_decided = False, True
            self._graphs.clear()
            self._before_recording()
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._note(f"Steps run one by one: they could not be recorded as a CUDA graph ({reason}).")
        return self._graphs.get(shape)

    def _decide(self) -> None:
        eager, graphed = (1000 * fmean(seconds) for seconds in self._seconds)
        self._is_decided, self._uses_graphs = True, graphed < eager
        chosen = "Steps are replayed as a CUDA graph" if self._uses_graphs else "Steps run one by one"
        self._note(f"{chosen}: {graphed:.2f} ms a step as a graph, {eager:.2f} ms without, over {_TIMED} steps each.")
        if not self._uses_graphs:
            self._graphs.clear()
            self._before_recording()


def _recorded(step: Step, images: Tensor, targets: Tensor, record: Recorder) -> Step:
    """Record a step with buffers for its inputs; the result copies inputs to the buffers and replays it."""
    image_buffer, target_buffer = images.clone(), targets.clone()  # clones keep the memory layout
    replay, loss = record(lambda: step(image_buffer, target_buffer))

    def run(images: Tensor, targets: Tensor) -> Tensor:
        image_buffer.copy_(images, non_blocking=True)
        target_buffer.copy_(targets, non_blocking=True)
        replay()
        return loss

    return run
