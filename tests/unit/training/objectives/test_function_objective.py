from __future__ import annotations

from typing import Any

import pytest
from pair_losses import batch_of, projection_model
from torch import Tensor

from pairsim import PairDataset, SimilarityModel, TrainConfig
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


def test_it_needs_labels_and_trains_no_projection() -> None:
    objective = objective_of(lambda embeddings, _: embeddings.sum())
    assert isinstance(objective, FunctionObjective)
    assert not objective.trains_projection
    with pytest.raises(TypeError, match="Expected a labelled dataset for objective <function"):
        objective.pair_batches(PairDataset([(0, 0), (1, 0), (2, 1)]))
