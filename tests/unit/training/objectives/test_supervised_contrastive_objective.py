"""The supervised contrastive loss against its formula in float64, one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pair_losses import batch_of
from small_runs import fit, random_images
from torch import Tensor, nn

from pairsim import TrainConfig
from pairsim.training.objectives.objective_registry import objective_for
from pairsim.training.objectives.supervised_contrastive_objective import (
    SupervisedContrastiveObjective,
    supervised_contrastive_loss,
)


def by_hand(embeddings: Tensor, labels: list[int], temperature: float) -> float:
    rows = embeddings.tolist()
    losses = []
    for i, label in enumerate(labels):
        logits = {j: sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) / temperature for j in range(len(rows))}
        del logits[i]
        positive = [j for j in logits if labels[j] == label]
        if positive:
            total = math.log(sum(math.exp(logit) for logit in logits.values()))
            losses.append(sum(total - logits[j] for j in positive) / len(positive))
    return math.fsum(losses) / len(losses) if losses else 0.0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.floats(0.05, 2), st.integers(0, 99))
def test_is_the_formula(labels: list[int], temperature: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings = nn.functional.normalize(torch.randn(len(labels), 4, generator=generator, dtype=torch.float64))
    found = supervised_contrastive_loss(embeddings, torch.tensor(labels), temperature=temperature)
    assert found.item() == pytest.approx(by_hand(embeddings, labels, temperature), rel=1e-9, abs=1e-12)


def test_gradients_are_those_by_hand() -> None:
    labels = [0, 1, 0, 2, 1, 0]
    embeddings = nn.functional.normalize(
        torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).requires_grad_()
    supervised_contrastive_loss(embeddings, torch.tensor(labels), temperature=0.3).backward()
    assert embeddings.grad is not None
    for place in np.ndindex(6, 3):
        found = []
        for change in (1e-6, -1e-6):
            moved = embeddings.detach().clone()
            moved[place] += change
            found.append(by_hand(moved, labels, 0.3))
        assert embeddings.grad[place].item() == pytest.approx((found[0] - found[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_without_positive_pairs_there_is_nothing_to_learn() -> None:
    embeddings = torch.eye(3).requires_grad_()
    loss = supervised_contrastive_loss(embeddings, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None
    assert torch.equal(embeddings.grad, torch.zeros(3, 3))


def test_half_precision_is_computed_in_float32() -> None:
    embeddings, labels = batch_of(8, 2)
    embeddings = embeddings.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supervised_contrastive_loss(embeddings, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, supervised_contrastive_loss(embeddings, labels))


def test_it_is_trained_by_its_name() -> None:
    made = objective_for(TrainConfig(objective="supervised-contrastive", temperature=0.2).resolved())
    assert isinstance(made, SupervisedContrastiveObjective)
    assert (made.temperature, made.trains_projection) == (0.2, False)
    trainer = fit(random_images(), objective="supervised-contrastive", epochs=6)
    losses = [record.train_loss for record in trainer.history]
    assert losses[-1] < losses[0]
