"""Replay a training step as a CUDA graph.

A small net on a fast GPU spends most of its time on kernel launches: hundreds in a step. A CUDA graph records them once
and replays them with one call. It needs fixed addresses and shapes, so each batch is copied into a buffer of its shape.
It must not wait for the host, so the learning rate is a tensor and the loss stays on the device; a step is checked for
this before it is recorded. The first steps of a run are timed with and without a graph, and the faster way is used. If
a step waits for the device or cannot be recorded, steps run without a graph. A note says which way is used and why.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import fmean
from time import perf_counter
from typing import Any, TypeAlias

import torch
from torch import Tensor

Step: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`(images, targets) -> loss`; updates the weights."""
_Shape: TypeAlias = tuple[torch.Size, torch.Size]

_WARM_UP = 3
"""Steps on a shape before it is recorded, in which libraries choose algorithms and the optimizer creates its state."""
_TIMED = 10
"""Steps that are timed each way."""


class GraphRecorder:
    """Records calls as CUDA graphs. They share one memory pool, as only one of them runs at a time.

    It does what `torch.cuda.graph` does, and also leaves the process as it was if a recording fails: PyTorch then keeps
    the stream of the recording as the current one, and the allocator goes on as if the recording had not ended.

    Args:
        device: Of all tensors in the calls.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None

    def record(self, call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Record a call as a CUDA graph, without running it.

        Returns:
            A function that replays it, and the tensor that holds its result after a replay.

        Raises:
            RuntimeError: If something in it cannot be recorded, or it launches nothing on the device.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        with torch.cuda.device(self.device), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.synchronize()
            gc.collect()
            torch.cuda.empty_cache()
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream), contextlib.ExitStack() as on_failure:
                graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
                on_failure.callback(self._abandon, graph)
                result = call()
                graph.capture_end()
                on_failure.pop_all()
            torch.cuda.current_stream().wait_stream(stream)
        if any("Graph is empty" in str(warning.message) for warning in caught):
            raise RuntimeError(f"the step launched nothing on {self.device}")
        return graph.replay, result

    def _abandon(self, graph: torch.cuda.CUDAGraph) -> None:
        """End a failed recording; where `capture_end` raises, it has not told the allocator."""
        with contextlib.suppress(RuntimeError):
            graph.capture_end()
        for end in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with contextlib.suppress(RuntimeError):
                end(torch.cuda.current_device(), self._pool)
        self._pool = None  # what is left in it is never used again

    @contextlib.contextmanager
    def watch(self) -> Iterator[list[str]]:
        """Collect the operations in the block that wait for the device, one line each, with their place."""
        found: list[str] = []
        with torch.cuda.device(self.device), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            before = torch.cuda.get_sync_debug_mode()
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield found
            finally:
                torch.cuda.set_sync_debug_mode(before)
        for warning in caught:
            if "synchronizing CUDA operation" in str(warning.message):
                found.append(f"{warning.filename}:{warning.lineno}")
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


class GraphedStep:
    """Runs training steps, as a graph where that is faster.

    Args:
        step: A complete step. It must not change shapes, wait for the device or depend on values of the host.
        recorder: Records calls, and finds what waits for the device.
        before_recording: Called before a recording; drops gradients, so that the recording creates its own.
        note: Called with a line about the choice.
        always: Whether to use graphs without timing them.
    """

    def __init__(
        self,
        step: Step,
        recorder: GraphRecorder,
        *,
        before_recording: Callable[[], object],
        note: Callable[[str], object],
        always: bool = False,
    ) -> None:
        self._step = step
        self._recorder = recorder
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
            if self._num_steps[shape] == _WARM_UP:
                return self._watched_step(images, targets)
            if self._num_steps[shape] < _WARM_UP:
                return self._step(images, targets)
            if self._is_decided or len(self._seconds[0]) >= _TIMED:
                graph = self._new_graph(shape, images, targets)
        run = graph or self._step
        if self._is_decided:
            return run(images, targets)
        torch.cuda.synchronize(images.device)
        began = perf_counter()
        loss = run(images, targets)
        torch.cuda.synchronize(images.device)
        self._seconds[graph is not None].append(perf_counter() - began)
        if len(self._seconds[1]) == _TIMED:
            eager, graphed = (1000 * fmean(seconds) for seconds in self._seconds)
            reason = f"{graphed:.2f} ms a step as a graph, {eager:.2f} ms without, over {_TIMED} steps each"
            self._decide(graphed < eager, reason)
        return loss

    def reset(self) -> None:
        """Forget all recordings, which read and write tensors that a restored state replaces, and free their memory."""
        self._graphs.clear()
        self._num_steps.clear()

    def _watched_step(self, images: Tensor, targets: Tensor) -> Tensor:
        """Run one step without a graph, and decide against graphs if it waits for the device."""
        with self._recorder.watch() as found:
            loss = self._step(images, targets)
        if found:
            self._decide(False, f"they wait for the device, which cannot be recorded as a CUDA graph ({found[0]})")
        return loss

    def _new_graph(self, shape: _Shape, images: Tensor, targets: Tensor) -> Step | None:
        """Record a step with buffers for its inputs; `None` if that fails."""
        self._before_recording()
        try:
            image_buffer, target_buffer = images.clone(), targets.clone()  # clones keep the memory layout
            replay, loss = self._recorder.record(lambda: self._step(image_buffer, target_buffer))
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
