"""Replay a training step as a CUDA graph.

A small net on a fast GPU spends most of its time on kernel launches: hundreds in a step. A CUDA graph records them once
and replays them with one call. It needs fixed addresses and shapes, so each batch is copied into a buffer of its shape.
It must not wait for the host, so the learning rate is a tensor and the loss stays on the device. The first steps of a
run are timed with and without a graph, and the faster way is used. If recording fails, steps run without a graph. A
note says which way is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from statistics import fmean
from time import perf_counter
from typing import TypeAlias

import torch
from torch import Tensor

Step: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(images, targets) -> loss`; updates the weights."""
_Shape: TypeAlias = tuple[torch.Size, torch.Size]

_WARM_UP = 3
"""Steps on a shape before it is recorded, in which libraries choose algorithms and the optimizer creates its state."""
_TIMED = 10
"""Steps that are timed each way."""


def record_cuda_graph(call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Record a call as a CUDA graph, without running it.

    Returns:
        A function that replays it, and the tensor that holds its result after a replay.

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
    """

    def __init__(
        self,
        step: Step,
        *,
        before_recording: Callable[[], object],
        note: Callable[[str], object],
        always: bool = False,
    ) -> None:
        self._step = step
        self._before_recording = before_recording
        self._note = note
        self._graphs: dict[_Shape, Step] = {}
        self._num_steps: Counter[_Shape] = Counter()
        self._uses_graphs = True
        self._is_decided = always
        self._seconds: tuple[list[float], list[float]] = [], []  # of steps without and with a graph

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Run one step and return the loss, which the next step of the same shape overwrites."""
        shape = (images.shape, targets.shape)
        graph = self._graphs.get(shape)
        if self._uses_graphs and graph is None:
            self._num_steps[shape] += 1
            if self._num_steps[shape] <= _WARM_UP:
                return self._step(images, targets)
            if self._is_decided or len(self._seconds[0]) >= _TIMED:
                graph = self._new_graph(shape, images, targets)
        run = graph or self._step
        if self._is_decided:
            return run(images, targets)
        torch.cuda.synchronize()
        began = perf_counter()
        loss = run(images, targets)
        torch.cuda.synchronize()
        self._seconds[graph is not None].append(perf_counter() - began)
        if len(self._seconds[1]) == _TIMED:
            eager, graphed = (1000 * fmean(seconds) for seconds in self._seconds)
            reason = f"{graphed:.2f} ms a step as a graph, {eager:.2f} ms without, over {_TIMED} steps each"
            self._decide(graphed < eager, reason)
        return loss

    def _new_graph(self, shape: _Shape, images: Tensor, targets: Tensor) -> Step | None:
        """Record a step with buffers for its inputs; `None` if that fails."""
        self._before_recording()
        try:
            image_buffer, target_buffer = images.clone(), targets.clone()  # clones keep the memory layout
            replay, loss = record_cuda_graph(lambda: self._step(image_buffer, target_buffer))
        except (RuntimeError, AssertionError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._decide(False, f"they could not be recorded as a CUDA graph ({reason})")
            return None

        def run(images: Tensor, targets: Tensor) -> Tensor:
            image_buffer.copy_(images, non_blocking=True)
            target_buffer.copy_(targets, non_blocking=True)
            replay()
            return loss

        self._graphs[shape] = run
        return run

    def _decide(self, uses_graphs: bool, reason: str) -> None:
        self._is_decided, self._uses_graphs = True, uses_graphs
        chosen = "Steps are replayed as a CUDA graph" if uses_graphs else "Steps run one by one"
        self._note(f"{chosen}: {reason}.")
        if not uses_graphs:
            self._graphs.clear()
            self._before_recording()
