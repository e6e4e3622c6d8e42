from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from pairsim.training.optimize.muon import MUON_RATE, MuonAndAdamW

RATE, DECAY = 0.01, 0.1


def net() -> nn.Sequential:
    """Two matrices, one of a convolution, and what is none: biases, batch norm, a single row."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 4), nn.Linear(4, 1)
    )


def optimizer_of(model: nn.Module, **settings: Any) -> MuonAndAdamW:
    return MuonAndAdamW([{"params": list(model.parameters()), "lr": RATE}], weight_decay=DECAY, **settings)


def trained(model: nn.Module, step: Callable[[], object], count: int = 4, *, seed: int = 1) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        model.zero_grad()
        model(torch.randn(8, 2, 5, 5, generator=generator)).square().sum().backward()
        step()
    return model


def weights(model: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def test_matrices_are_updated_by_muon_and_the_rest_by_adamw() -> None:
    own, other = net(), net()
    trained(own, optimizer_of(own).step)
    matrices = [weight for weight in other.parameters() if weight.ndim > 1 and len(weight) > 1]
    rest = [weight for weight in other.parameters() if weight.ndim == 1 or len(weight) == 1]
    flat = [weight.detach().flatten(1) for weight in matrices]  # which share the memory of the weights
    settings: dict[str, Any] = {
        "momentum": 0.8,
        "weight_decay": DECAY,
        "ns_steps": 3,
        "adjust_lr_fn": "match_rms_adamw",
    }
    muon, adamw = Muon(flat, lr=MUON_RATE * RATE, **settings), AdamW(rest, lr=RATE, weight_decay=DECAY)

    def step() -> None:
        for matrix, weight in zip(flat, matrices, strict=True):
            assert weight.grad is not None
            matrix.grad = weight.grad.flatten(1)
        muon.step()
        adamw.step()

    trained(other, step)
    assert [tuple(weight.shape) for weight in matrices] == [(6, 2, 3, 3), (4, 54)]
    assert all(torch.equal(a, b) for a, b in zip(weights(own), weights(other), strict=True))


def test_updates_are_orthogonal() -> None:
    model = nn.Linear(40, 10, bias=False)
    before = model.weight.detach().clone()
    optimizer = MuonAndAdamW([{"params": [model.weight], "lr": RATE}], weight_decay=0.0)
    model.weight.grad = torch.randn(10, 40, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    scale = MUON_RATE * RATE * 0.2 * 40**0.5
    singular = torch.linalg.svdvals(before - model.weight.detach()) / scale
    assert 0.5 < float(singular.min()) <= float(singular.max()) < 1.4


def test_weights_with_channels_last_get_the_same_updates() -> None:
    plain = nn.Conv2d(4, 6, 3, bias=False)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    assert not last.weight.is_contiguous()
    optimizers = [optimizer_of(plain), optimizer_of(last)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        gradient = torch.randn(plain.weight.shape, generator=generator)
        plain.weight.grad = gradient
        last.weight.grad = gradient.to(memory_format=torch.channels_last)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(plain.weight, last.weight)
    assert not last.weight.is_contiguous()


def test_embeddings_are_left_to_adamw() -> None:
    model = nn.Linear(5, 7, bias=False)
    other = copy.deepcopy(model)
    group = {"params": [model.weight], "lr": RATE}
    optimizer = MuonAndAdamW([group], weight_decay=DECAY, embeddings=[model.weight])
    reference = AdamW([other.weight], lr=RATE, weight_decay=DECAY)
    gradient = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        model.weight.grad, other.weight.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    assert torch.equal(model.weight, other.weight)


def test_a_loaded_state_continues_with_the_same_bits() -> None:
    whole = net()
    optimizer = optimizer_of(whole)
    trained(whole, optimizer.step)
    first, state = copy.deepcopy(whole), copy.deepcopy(optimizer.state_dict())
    again = optimizer_of(first)
    again.load_state_dict(state)
    trained(whole, optimizer.step, seed=2)
    trained(first, again.step, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(first), strict=True))


def test_schedules_reach_every_group() -> None:
    model = net()
    optimizer = optimizer_of(model)
    before = weights(model)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    trained(model, optimizer.step, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_a_closure_computes_the_loss() -> None:
    model = net()
    optimizer = optimizer_of(model)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = model(torch.ones(2, 2, 5, 5)).square().sum()
        loss.backward()
        return loss

    before = weights(model)
    assert optimizer.step(closure).item() > 0
    assert not torch.equal(before[0], weights(model)[0])


@pytest.mark.parametrize("number", [0, 4])
def test_weights_without_gradient_stay(number: int) -> None:
    model = net()
    frozen = list(model.parameters())[number].requires_grad_(False)
    before = frozen.detach().clone()
    trained(model, optimizer_of(model).step, 2)
    assert torch.equal(before, frozen)
