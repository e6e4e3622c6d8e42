"""The logic around a CUDA graph, with a recorder that keeps the call itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from pairsim.training.optimize import graphed_step
from pairsim.training.optimize.graphed_step import GraphedStep, GraphRecorder


class FakeGraphs(GraphRecorder):
    """Records like a CUDA graph: nothing is carried out while recording; a replay reads the recorded buffers."""

    def __init__(self, fails: str | None = None, waits: str | None = None) -> None:
        super().__init__(torch.device("cpu"))
        self.fails = fails
        self.waits = waits
        self.recorded = 0
        self.replayed = 0

    @contextmanager
    def watch(self) -> Iterator[list[str]]:
        found: list[str] = []
        yield found
        found += [self.waits] if self.waits else []

    def record(self, call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        if self.fails is not None:
            raise RuntimeError(self.fails)
        self.recorded += 1
        result = torch.zeros(())

        def replay() -> None:
            self.replayed += 1
            result.copy_(call())

        return replay, result


class Clock:
    """Each reading is later by what the next step is said to take."""

    def __init__(self, eager: float, graphed: float, graphs: FakeGraphs) -> None:
        self.now, self.eager, self.graphed, self.graphs = 0.0, eager, graphed, graphs
        self.before: int | None = None

    def __call__(self) -> float:
        if self.before is None:
            self.before = self.graphs.replayed
        else:
            self.now += self.eager if self.graphs.replayed == self.before else self.graphed
            self.before = None
        return self.now


def make(
    monkeypatch: pytest.MonkeyPatch,
    graphs: FakeGraphs,
    notes: list[str],
    *,
    always: bool = False,
    eager: float = 2e-3,
    graphed: float = 1e-3,
) -> tuple[GraphedStep, Tensor]:
    weight = torch.zeros(3)

    def step(images: Tensor, extra: Tensor) -> Tensor:
        weight.add_(images.sum(dim=0) * extra.sum())
        return weight.sum()

    steps = GraphedStep(
        step,
        graphs,
        before_recording=lambda: None,
        note=notes.append,
        always=always,
    )
    monkeypatch.setattr(graphed_step, "perf_counter", Clock(eager, graphed, graphs))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    return steps, weight


def batches(num: int, rows: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(rows, 3, generator=generator), torch.rand(rows, generator=generator)) for _ in range(num)]


@pytest.mark.parametrize("always", [True, False])
def test_same_weights_as_without_a_graph(monkeypatch: pytest.MonkeyPatch, always: bool) -> None:
    graphs, notes = FakeGraphs(), list[str]()
    step, weight = make(monkeypatch, graphs, notes, always=always)
    plain = torch.zeros(3)
    for images, extra in [*batches(20), *batches(9, rows=3), *batches(20)]:
        loss = step(images, extra)
        plain += images.sum(dim=0) * extra.sum()
        assert torch.equal(weight, plain)
        assert loss.item() == plain.sum().item()
    assert graphs.recorded == 2  # one for each shape
    assert graphs.replayed > 10


def test_a_faster_graph_is_kept_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, notes = FakeGraphs(), list[str]()
    step, _ = make(monkeypatch, graphs, notes)
    for images, extra in batches(40):
        step(images, extra)
    assert notes == [
        "Steps are replayed as a CUDA graph: 1.00 ms a step as a graph, 2.00 ms without, over 10 steps each."
    ]
    assert graphs.replayed == 40 - 3 - 10


def test_a_slower_graph_is_dropped_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, notes = FakeGraphs(), list[str]()
    step, _ = make(monkeypatch, graphs, notes, eager=1e-3, graphed=3e-3)
    for images, extra in batches(40):
        step(images, extra)
    assert notes == ["Steps run one by one: 3.00 ms a step as a graph, 1.00 ms without, over 10 steps each."]
    assert graphs.replayed == 10


@pytest.mark.parametrize(
    ("graphs", "reason"),
    [
        (
            FakeGraphs(fails="operation not permitted when stream is capturing\nand more"),
            "they could not be recorded as a CUDA graph (operation not permitted when stream is capturing)",
        ),
        (
            FakeGraphs(waits="loss.py:12"),
            "they wait for the device, which cannot be recorded as a CUDA graph (loss.py:12)",
        ),
    ],
)
def test_what_cannot_be_recorded_runs_one_by_one(
    graphs: FakeGraphs, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = list[str]()
    step, weight = make(monkeypatch, graphs, notes, always=True)
    expected = torch.zeros(3)
    for images, extra in batches(8):
        step(images, extra)
        expected += images.sum(dim=0) * extra.sum()
    assert torch.equal(weight, expected)
    assert graphs.recorded == 0
    assert notes == [f"Steps run one by one: {reason}."]


def test_recordings_are_dropped_with_the_state_that_they_belong_to(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, notes = FakeGraphs(), list[str]()
    step, _ = make(monkeypatch, graphs, notes, always=True)
    for images, extra in batches(5):
        step(images, extra)
    assert (graphs.recorded, graphs.replayed) == (1, 2)
    step.reset()
    for images, extra in batches(5):
        step(images, extra)
    assert (graphs.recorded, graphs.replayed) == (2, 4)  # after new steps without a graph


class FakeCuda:
    """Stands for torch.cuda in the recorder: notes what happens, and fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.log: list[str] = []
        self.stream_now = "main"

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.log.append(name)

    def current_device(self) -> int:
        return 1

    def current_stream(self) -> FakeCuda:
        return self

    def Stream(self) -> FakeCuda:
        return self

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        self.log.append(str(device))
        yield

    @contextmanager
    def stream(self, _: object) -> Iterator[None]:
        self.stream_now = "side"
        try:
            yield
        finally:
            self.stream_now = "main"

    def CUDAGraph(self) -> FakeCuda:
        return self

    def capture_begin(self, *, pool: object, capture_error_mode: str) -> None:
        self.log.append(f"begin {capture_error_mode}")

    def capture_end(self) -> None:
        self.log.append("end")
        if self.fails == "end":
            raise RuntimeError("the capture was invalidated")
        if self.fails == "empty":
            warnings.warn("The CUDA Graph is empty.", stacklevel=2)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    calls: list[tuple[str, int]] = []
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.setattr(torch._C, name, lambda device, _, name=name: calls.append((name, device)), raising=False)
    return calls


@pytest.mark.parametrize("fails", ["call", "end"])
def test_a_failed_recording_leaves_stream_and_allocator_as_they_were(
    fails: str, monkeypatch: pytest.MonkeyPatch, ended: list[tuple[str, int]]
) -> None:
    cuda = FakeCuda(fails)
    monkeypatch.setattr(torch, "cuda", cuda)

    def call() -> Tensor:
        assert cuda.stream_now == "side"
        if fails == "call":
            raise RuntimeError("operation not permitted when stream is capturing")
        return torch.zeros(())

    with pytest.raises(RuntimeError, match="not permitted" if fails == "call" else "invalidated"):
        GraphRecorder(torch.device("cuda", 1)).record(call)
    assert cuda.stream_now == "main"
    assert "cuda:1" in cuda.log
    assert "begin thread_local" in cuda.log
    assert "end" in cuda.log
    assert ended == [("_cuda_endAllocateToPool", 1), ("_cuda_releasePool", 1)]


def test_a_recording_that_launches_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, ended: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(torch, "cuda", FakeCuda("empty"))
    with pytest.raises(RuntimeError, match="the step launched nothing on cuda:1"):
        GraphRecorder(torch.device("cuda", 1)).record(lambda: torch.zeros(()))
    assert ended == []


@pytest.mark.gpu
def test_a_step_that_waits_is_found_and_a_failed_recording_is_survived() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    recorder, value = GraphRecorder(device), torch.ones(3, device=device)
    with recorder.watch() as found:
        value.sum().item()
    assert len(found) == 1
    with pytest.raises(RuntimeError):
        recorder.record(lambda: value * float(value.sum()))
    torch.cuda.empty_cache()
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    replay, result = recorder.record(lambda: value * 2)
    value.fill_(4)
    replay()
    assert result.tolist() == [8, 8, 8]
