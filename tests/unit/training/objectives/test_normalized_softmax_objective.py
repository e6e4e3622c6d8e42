"""Normalised softmax: loss and gradients against float64 by hand, exact resume, and a saved model without weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from small_runs import CutOff, CutOffError, last_state, random_images, reference_model
from states import assert_same
from torch import Tensor, nn

from pairsim import SimilarityModel, TrainConfig, Trainer
from pairsim.data import LabelledImages
from pairsim.training.objectives.normalized_softmax_objective import (
    ClassWeights,
    NormalizedSoftmaxObjective,
    normalized_softmax_loss,
)
from pairsim.training.objectives.objective_registry import objective_for

BATCH, DIM, CLASSES = 6, 5, 4


def inputs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = nn.functional.normalize(torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64))
    weight = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64) * 3
    return embeddings, torch.randint(0, CLASSES, (BATCH,), generator=generator), weight


def by_hand(embeddings: Tensor, labels: Tensor, weight: Tensor, scale: float, margin: float) -> float:
    losses = []
    for vector, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = []
        for number, row in enumerate(weight.tolist()):
            cosine = sum(a * b for a, b in zip(vector, row, strict=True)) / math.sqrt(sum(a * a for a in row))
            logits.append(scale * (cosine - margin * (number == label)))
        losses.append(math.log(sum(math.exp(logit) for logit in logits)) - logits[label])
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize(("scale", "margin"), [(1.0, 0.0), (16.0, 0.0), (7.5, 0.35)])
def test_loss_and_gradients_are_those_by_hand(scale: float, margin: float) -> None:
    embeddings, labels, weight = inputs()
    for value in (embeddings, weight):
        value.requires_grad_()
    loss = normalized_softmax_loss(embeddings, labels, weight, temperature=1 / scale, margin=margin)
    assert loss.item() == pytest.approx(by_hand(embeddings, labels, weight, scale, margin), rel=1e-12)
    loss.backward()
    step = 1e-6
    for value in (embeddings, weight):
        assert value.grad is not None
        for place in np.ndindex(*value.shape):
            found = []
            for change in (step, -step):
                with torch.no_grad():
                    value[place] += change
                    found.append(by_hand(embeddings, labels, weight, scale, margin))
                    value[place] -= change
            assert value.grad[place].item() == pytest.approx((found[0] - found[1]) / (2 * step), rel=1e-5, abs=1e-7)


def test_half_precision_is_computed_in_float32() -> None:
    embeddings, labels, weight = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = normalized_softmax_loss(embeddings.float(), labels, weight.float(), temperature=1 / 16, margin=0.2)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_hand(embeddings, labels, weight, 16, 0.2), rel=1e-5)


def objective(**settings: Any) -> NormalizedSoftmaxObjective:
    made = objective_for(TrainConfig(objective="normalized-softmax", **settings).resolved())
    assert isinstance(made, NormalizedSoftmaxObjective)
    return made


def test_weights_are_those_of_the_seed_and_of_all_classes() -> None:
    made, other = objective(seed=3), objective(seed=4)
    for each in (made, other):
        each.batches(LabelledImages(None, np.arange(8000) % 3856), note=lambda _: None)
    model = reference_model()
    weight = made.initial_state(model).weight.detach()
    assert weight.shape == (3856, 8)
    assert torch.equal(weight, made.initial_state(model).weight)
    assert not torch.equal(weight, other.initial_state(model).weight.detach())
    assert float(weight.square().sum(dim=1).mean()) == pytest.approx(1, abs=0.05)


def test_a_net_that_does_not_state_the_length_of_embeddings() -> None:
    with pytest.raises(
        TypeError, match=r'Expected Flatten to have .* embedding_dim.*for objective "normalized-softmax'
    ):
        objective().initial_state(SimilarityModel(nn.Flatten()))


def train(out: Path, cut: int | None = None, **settings: Any) -> Trainer:
    config = TrainConfig(
        objective="normalized-softmax", out=out, batch_size=8, epochs=3, checkpoint_steps=3, progress=False, **settings
    )
    callbacks = () if cut is None else (CutOff(cut),)
    trainer = Trainer(reference_model(), config, train=random_images(), callbacks=callbacks)
    trainer.fit()
    return trainer


@pytest.mark.parametrize("settings", [{"precision": "fp32"}, {"precision": "bf16", "optimizer": "sgd"}], ids=str)
def test_weights_are_trained_resumed_exactly_and_not_saved(tmp_path: Path, settings: dict[str, Any]) -> None:
    trainer = train(tmp_path / "whole", **settings)
    with pytest.raises(CutOffError):
        train(tmp_path / "parted", cut=11, **settings)
    train(tmp_path / "parted", **settings)
    state = last_state(tmp_path / "whole")
    assert_same(state, last_state(tmp_path / "parted"))
    weight = state["training_step"]["memory"]["weight"]
    assert weight.shape == (3, 8)
    assert float((weight - ClassWeights(3, 8, 0).weight.detach()).abs().max()) > 0.01
    held = len(state["training_step"]["optimizer"]["state"])
    assert held == len(list(trainer.model.parameters())) - 2 + 1  # not the projection, which has no gradient
    saved = safetensors.torch.load_file(tmp_path / "whole" / "model" / "model.safetensors")
    assert saved.keys() == {name for name in trainer.model.state_dict() if not name.endswith("_extra_state")}
    assert (tmp_path / "whole" / "log.jsonl").read_bytes() == (tmp_path / "parted" / "log.jsonl").read_bytes()


def test_weights_count_in_the_norm_that_is_clipped(tmp_path: Path) -> None:
    trainer = train(tmp_path, grad_clip=1e-9, optimizer="sgd", learning_rate=1.0, weight_decay=0.0, momentum=0.0)
    state = trainer._state.training_step.objective.state
    assert isinstance(state, ClassWeights)
    moved = (state.weight - ClassWeights(3, 8, 0).weight).detach()
    assert float(moved.abs().max()) < 1e-6
