"""The logic around a CUDA graph, with a recorder that keeps the call itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pairsim.training.optimize import graphed_step
from pairsim.training.optimize.graphed_step import GraphedStep


class FakeGraphs:
    """Records like a CUDA graph: nothing is carried out while recording; a replay reads the recorded buffers."""

    def __init__(self, fails: str | None = None) -> None:
        self.fails = fails
        self.recorded = 0
        self.replayed = 0

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
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

    steps = graphed_step.GraphedStep(
        step,
        before_recording=lambda: None,
        note=notes.append,
        always=always,
    )
    monkeypatch.setattr(graphed_step, "record_cuda_graph", graphs)
    monkeypatch.setattr(graphed_step, "perf_counter", Clock(eager, graphed, graphs))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
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


def test_what_cannot_be_recorded_runs_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, notes = FakeGraphs(fails="operation not permitted when stream is capturing\nand more"), list[str]()
    step, weight = make(monkeypatch, graphs, notes, always=True)
    expected = torch.zeros(3)
    for images, extra in batches(8):
        step(images, extra)
        expected += images.sum(dim=0) * extra.sum()
    assert torch.equal(weight, expected)
    assert notes == [
        "Steps run one by one: they could not be recorded as a CUDA graph "
        "(operation not permitted when stream is capturing)."
    ]
