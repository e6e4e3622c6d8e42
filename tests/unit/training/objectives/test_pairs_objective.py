from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pair_losses import batch_of, projection_model

from pairsim import PairDataset, TrainConfig
from pairsim.data import ImageTensors, LabelledImages
from pairsim.training.objectives.objective import Objective
from pairsim.training.objectives.objective_registry import objective_for
from pairsim.training.objectives.pairs_objective import PairsObjective


def objective_of(**settings: Any) -> Objective:
    return objective_for(TrainConfig(objective="pairs", **settings).resolved())


def test_loss_is_the_mean_cross_entropy() -> None:
    embeddings, _ = batch_of(12, 2)
    targets = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    model = projection_model(dtype=torch.float32)
    probabilities = torch.sigmoid(model.logits((embeddings[:6] * embeddings[6:]).sum(dim=1))).double()
    expected = -(targets * probabilities.log() + (1 - targets) * (1 - probabilities).log()).mean()
    assert objective_of().loss(model, embeddings, targets).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("num_pairs", "expected"), [(None, 60), (7, 7)])
def test_pairs_are_drawn_with_the_options(num_pairs: int | None, expected: int) -> None:
    labels = np.arange(60) % 3
    images = ImageTensors(torch.zeros(60, 1, 4, 4), labels)
    options: dict[str, Any] = {"positive_fraction": 0.25, "negatives": "instance", "seed": 5}
    objective = objective_of(num_pairs=num_pairs, batch_size=4, **options)
    plan = objective.batches(LabelledImages.of(images), note=lambda _: None)
    wanted = PairDataset(images, expected, **options)
    assert (plan.num_images, plan.num_batches) == (2 * expected, -(-expected // 4))
    indices, targets = plan.batch(3, 1)
    pairs = wanted.pairs_at(np.arange(4, min(8, expected)), epoch=3)
    assert indices.tolist() == [*pairs.first.tolist(), *pairs.second.tolist()]
    assert targets.tolist() == pairs.target.tolist()


def test_at_most_20_000_pairs_by_default() -> None:
    images = ImageTensors(torch.zeros(20_002, 1, 1, 1, dtype=torch.uint8), np.arange(20_002) % 2)
    plan = objective_of().batches(LabelledImages.of(images), note=lambda _: None)
    assert plan.num_images == 2 * 20_000


def test_given_pairs_are_taken_as_they_are() -> None:
    images = ImageTensors(torch.zeros(4, 1, 4, 4), [0, 0, 1, 1])
    pairs = PairDataset.from_pairs(images, [0, 1, 2], [1, 2, 3], [1, 0, 1])
    indices, targets = objective_of(batch_size=3).pair_batches(pairs).batch(0, 0)
    assert sorted(zip(*np.split(indices, 2), targets.tolist(), strict=True)) == [(0, 1, 1.0), (1, 2, 0.0), (2, 3, 1.0)]


def test_a_target_belongs_to_two_images() -> None:
    assert PairsObjective.images_per_target == 2
    assert PairsObjective.trains_projection
