"""The training step: accumulation, memory that runs out, the state of the objective, CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from states import assert_same
from torch import Tensor, nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig
from pairsim._common.precision import Precision
from pairsim.errors import TrainingError
from pairsim.training.distributed.world import World
from pairsim.training.objectives.objective_registry import objective_for
from pairsim.training.optimize.step import TrainingStep

FP32 = Precision("fp32", "cpu")


class Limited(nn.Module):
    """A net that runs out of memory above a number of images."""

    embedding_dim = 3

    def __init__(self, limit: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.limit, self.error = limit, error
        self.tried: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.tried.append(len(images))
        if len(images) > self.limit:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        embeddings: Tensor = self.linear(images.flatten(1))
        return embeddings


def step_of(net: nn.Module, **settings: Any) -> tuple[TrainingStep, list[str]]:
    notes: list[str] = []
    config = TrainConfig(**settings).resolved()
    step = TrainingStep(SimilarityModel(net), objective_for(config), config, FP32, note=notes.append, world=World())
    return step, notes


def batch(num: int = 16) -> tuple[Tensor, Tensor]:
    return torch.rand(num, 1, 2, 2, generator=torch.Generator().manual_seed(1)), torch.arange(num) % 3


def test_the_scale_of_fp16_is_read_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it waits for the device."""
    reads, own = list[float](), torch.amp.GradScaler.get_scale

    def get_scale(scaler: torch.amp.GradScaler) -> float:
        reads.append(own(scaler))
        return reads[-1]

    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", get_scale)
    net = Limited(99)
    config = TrainConfig().resolved()
    step = TrainingStep(
        SimilarityModel(net), objective_for(config), config, Precision("fp16", "cpu"), note=print, world=World()
    )
    skipped = []
    for number in range(5):
        images, targets = batch()
        step(images * (torch.inf if number in (1, 2) else 1), targets, update=True)
        skipped.append(step.skipped)
    assert skipped == [False, True, True, False, False]
    assert len(reads) == 6  # also before the first
    step.load_state_dict(step.state_dict())
    reads.clear()
    step(*batch(), update=True)
    assert len(reads) == 2


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_names_a_batch_size_that_fits(error: type[RuntimeError]) -> None:
    net = Limited(5, error)
    step, _ = step_of(net)
    with pytest.raises(TrainingError, match=r"for a batch of 16 on cpu, there is not enough; batch_size=4 fits\."):
        step(*batch(), update=True)
    assert net.tried == [16, 8, 4]
    assert net.linear.weight.grad is None


def test_out_of_memory_with_pairs_counts_pairs() -> None:
    step, _ = step_of(Limited(9), objective="pairs")
    images, _ = batch(32)
    with pytest.raises(TrainingError, match="for a batch of 16 on cpu, there is not enough; batch_size=4 fits"):
        step(images, torch.ones(16), update=True)


def test_out_of_memory_with_any_batch() -> None:
    step, _ = step_of(Limited(0))
    with pytest.raises(TrainingError, match="not even 2 fit: use smaller images or another net"):
        step(*batch(), update=True)


def test_other_errors_are_raised_unchanged() -> None:
    step, _ = step_of(EmbeddingNet(nn.Flatten(), image_size=2))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        step(torch.rand(4, 1, 3, 3), torch.arange(4), update=True)


def test_gradients_are_accumulated_until_the_update() -> None:
    step, _ = step_of(EmbeddingNet(nn.Flatten(), image_size=2), grad_accumulation=2)
    before = {name: value.clone() for name, value in step.model.named_parameters()}
    step(*batch(), update=False)
    assert all(torch.equal(value, before[name]) for name, value in step.model.named_parameters())
    step(*batch(), update=True)
    assert not all(torch.equal(value, before[name]) for name, value in step.model.named_parameters())
    assert all(value.grad is None for value in step.model.parameters())


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def after_a_step(net: nn.Module, **settings: Any) -> dict[str, Tensor]:
    step, _ = step_of(net, optimizer=sgd, objective="supervised-contrastive", **settings)
    step(*batch(), update=True)
    assert all(value.grad is None for value in step.model.parameters())
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def test_the_gradient_of_sam_is_that_of_weights_uphill() -> None:
    torch.manual_seed(0)
    net, rho = EmbeddingNet(nn.Flatten(), image_size=2, embedding_dim=3).double(), 0.3
    images, labels = batch()

    def gradient(values: dict[str, Tensor]) -> dict[str, Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        vectors = nn.functional.normalize(torch.func.functional_call(net, leaves, (images.double(),)), dim=1)
        shares = torch.exp(vectors @ vectors.T / 0.05) * (1 - torch.eye(16))
        same = (labels[:, None] == labels) & ~torch.eye(16, dtype=torch.bool)
        logs = (shares / shares.sum(dim=1, keepdim=True) + torch.eye(16)).log()
        loss = -((logs * same).sum(dim=1) / same.sum(dim=1)).mean()
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    start = {name: value.detach().clone() for name, value in net.named_parameters()}
    flat = gradient(start)
    length = torch.cat([value.flatten() for value in flat.values()]).norm()
    uphill = gradient({name: value + rho / length * flat[name] for name, value in start.items()})
    found = after_a_step(net, sam_rho=rho)
    for name, value in start.items():
        torch.testing.assert_close(found[name], value - 0.1 * uphill[name], rtol=1e-4, atol=1e-6)
        assert not torch.allclose(found[name], value - 0.1 * flat[name], rtol=1e-4, atol=1e-6)


def test_batch_norm_counts_a_batch_of_sam_once() -> None:
    def with_batch_norm() -> nn.Module:
        torch.manual_seed(0)
        return EmbeddingNet(nn.Sequential(nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4)), in_channels=1, image_size=2)

    plain, found = after_a_step(with_batch_norm()), after_a_step(with_batch_norm(), sam_rho=0.5)
    statistics = [name for name in plain if "running" in name or "num_batches" in name]
    assert len(statistics) == 3
    assert all(torch.equal(plain[name], found[name]) for name in statistics)
    assert not torch.equal(plain["backbone.0.weight"], found["backbone.0.weight"])


def test_the_memory_of_the_objective_is_used_saved_and_restored() -> None:
    def losses(memory_size: int) -> tuple[TrainingStep, list[float]]:
        torch.manual_seed(0)
        step, _ = step_of(EmbeddingNet(nn.Flatten(), image_size=2), memory_size=memory_size, learning_rate=1e-9)
        return step, [step(*batch(num), update=True).item() for num in (12, 16)]

    (plain, without), (step, remembered) = losses(0), losses(64)
    assert without[0] == remembered[0]  # the memory is empty
    assert without[1] != remembered[1]
    assert plain.state_dict()["memory"] is None
    saved = step.state_dict()
    assert int((saved["memory"]["labels"] >= 0).sum()) == 28
    restored, _ = step_of(step.model.embedding_net, memory_size=64, learning_rate=1e-9)
    restored.load_state_dict(saved)
    assert_same(restored.state_dict(), saved)


def test_a_note_says_why_steps_are_not_a_graph() -> None:
    _, notes = step_of(EmbeddingNet(), cuda_graph=True)
    assert notes == ["Steps run one by one, not as a CUDA graph: the device is cpu."]
    assert step_of(EmbeddingNet())[1] == []
