from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pair_losses import batch_of, projection_model
from small_runs import CutOff, CutOffError, last_state, random_images, reference_model
from states import assert_same
from torch import Tensor, nn

from pairsim import PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.errors import TrainingError
from pairsim.training.objectives.function_objective import FunctionObjective
from pairsim.training.objectives.objective import Objective
from pairsim.training.objectives.objective_registry import objective_for


def objective_of(function: Any) -> Objective:
    return objective_for(TrainConfig(objective=function).resolved())


def test_the_function_gets_embeddings_and_labels() -> None:
    embeddings, labels = batch_of(4, 2)
    seen: list[tuple[Tensor, Tensor]] = []

    def total(*arguments: Tensor) -> Tensor:
        seen.append((arguments[0], arguments[1]))
        return arguments[0].sum()[None]

    loss = objective_of(total).loss(SimilarityModel(), embeddings, labels)
    assert loss.shape == ()
    assert loss == embeddings.sum()
    assert seen == [(embeddings, labels)]


def test_the_function_must_return_one_number() -> None:
    model, batch = projection_model(), batch_of(4, 2)
    with pytest.raises(TrainingError, match="Expected the objective to return a scalar tensor, got float"):
        objective_of(lambda *_: 1.0).loss(model, *batch)
    with pytest.raises(TrainingError, match=r"Expected the objective to return a scalar tensor, got \[4\]"):
        objective_of(lambda embeddings, _: embeddings.sum(dim=1)).loss(model, *batch)


def test_a_loss_without_a_gradient_is_named() -> None:
    embeddings = torch.rand(4, 2, requires_grad=True)
    with pytest.raises(TrainingError, match="Expected a loss with a gradient from the objective, got one without"):
        objective_of(lambda given, labels: given.detach().sum()).loss(reference_model(), embeddings, torch.arange(4))


def test_it_needs_labels_and_trains_no_projection() -> None:
    objective = objective_of(lambda embeddings, _: embeddings.sum())
    assert isinstance(objective, FunctionObjective)
    assert not objective.trains_projection
    with pytest.raises(TypeError, match="Expected a labelled dataset for objective <function"):
        objective.pair_batches(PairDataset([(0, 0), (1, 0), (2, 1)]))


class Proxies(nn.Module):
    """A loss with a trained vector for each class, as losses of other libraries have."""

    def __init__(self) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.eye(3, 8))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return (embeddings - self.proxies[labels]).square().sum(dim=1).mean()


def test_parameters_of_a_loss_are_trained_and_resumed(tmp_path: Path) -> None:
    def run(name: str, cut: int | None = None) -> Proxies:
        loss = Proxies()
        settings: dict[str, Any] = {"precision": "fp32", "checkpoint_steps": 2, "epochs": 2, "batch_size": 16}
        config = TrainConfig(objective=loss, out=tmp_path / name, **settings)
        callbacks = () if cut is None else (CutOff(cut),)
        Trainer(reference_model(), config, train=random_images(), callbacks=callbacks).fit()
        return loss

    whole = run("whole")
    assert float((whole.proxies.detach() - torch.eye(3, 8)).abs().max()) > 0.01
    with pytest.raises(CutOffError):
        run("parted", cut=3)
    assert torch.equal(run("parted").proxies, whole.proxies)
    assert_same(last_state(tmp_path / "whole"), last_state(tmp_path / "parted"))


def test_functions_and_modules_without_parameters_have_no_state() -> None:
    assert objective_of(lambda embeddings, _: embeddings.sum()).initial_state(SimilarityModel()) is None
    assert objective_of(nn.CosineEmbeddingLoss()).initial_state(SimilarityModel()) is None
