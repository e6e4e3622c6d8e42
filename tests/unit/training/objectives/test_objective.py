"""What objectives share: recipes, options, and class-balanced batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from pairsim import SimilarityModel, TrainConfig
from pairsim.data import ClassBalancedBatches, ClassIndex, LabelledImages
from pairsim.errors import DataError
from pairsim.training.objectives.objective import ClassBalancedObjective, Objective, Recipe


@dataclass(kw_only=True)
class Margin(ClassBalancedObjective):
    prior: float
    margin: float = 0.2

    def loss(self, model: SimilarityModel, embeddings: Tensor, targets: Tensor) -> Tensor:
        return embeddings.sum()


def balanced(labels: Any, note: Any = lambda _: None, **settings: Any) -> ClassBalancedBatches:
    objective = Margin.from_config(TrainConfig(**settings).resolved())
    plan = objective.batches(LabelledImages(None, np.asarray(labels)), note=note)
    assert isinstance(plan, ClassBalancedBatches)
    return plan


@pytest.mark.parametrize(
    ("num_images", "batch_size", "epochs"),
    [
        (60_000, 128, 2),
        (10_240, 128, 10),
        (9_000, 128, 12),
        (5, 128, 30),
        (0, 128, 30),
        (None, 128, 30),
        (2560, 32, 10),
    ],
)
def test_a_recipe_without_epochs_makes_about_800_steps(num_images: int | None, batch_size: int, epochs: int) -> None:
    assert Recipe(batch_size=128, scheduler="onecycle").num_epochs(num_images, batch_size) == epochs


def test_groups_of_the_data_reach_the_batches() -> None:
    labels = np.arange(80) % 10
    index, groups = ClassIndex.from_labels(labels), np.array([f"group {label // 2}" for label in labels])
    objective = Margin.from_config(TrainConfig(batch_size=20, seed=4).resolved())
    plan = objective.batches(LabelledImages(None, labels, groups=groups), note=lambda _: None)
    wanted = ClassBalancedBatches(index, 20, images_per_class=4, groups=groups, seed=4)
    assert plan.batch(1, 2)[0].tolist() == wanted.batch(1, 2)[0].tolist()
    assert plan.batch(1, 2)[0].tolist() != ClassBalancedBatches(index, 20, seed=4).batch(1, 2)[0].tolist()


def test_a_recipe_with_epochs_has_them_for_any_data() -> None:
    recipe = Recipe(batch_size=256, scheduler="plateau", epochs=7)
    assert {recipe.num_epochs(num_images, 1) for num_images in (None, 1, 10**6)} == {7}


def test_options_come_from_the_config_and_own_options_keep_their_defaults() -> None:
    objective = Margin.from_config(TrainConfig(prior=0.3, batch_size=9, images_per_class=3, seed=5).resolved())
    assert (objective.prior, objective.batch_size, objective.images_per_class, objective.seed) == (0.3, 9, 3, 5)
    assert (objective.margin, objective.objective, objective.state) == (0.2, "all-pairs", None)


def test_defaults_of_the_interface() -> None:
    assert (Margin.images_per_target, Margin.trains_projection) == (1, True)
    assert Margin.from_config(TrainConfig().resolved()).initial_state(SimilarityModel()) is None
    with pytest.raises(TypeError, match="abstract"):
        Objective(objective="pairs", batch_size=2, seed=0)  # type: ignore[abstract]


@pytest.mark.parametrize(("batch_size", "expected"), [(54, 5), (48, 4), (16, 4), (6, 3), (2, 1)])
def test_few_classes_come_in_larger_groups(batch_size: int, expected: int) -> None:
    labels = np.arange(54) % 3
    wanted = ClassBalancedBatches(ClassIndex.from_labels(labels), batch_size, images_per_class=expected)
    assert np.array_equal(balanced(labels, batch_size=batch_size).epoch_order(3), wanted.epoch_order(3))


def test_many_classes_come_in_groups_of_four_and_given_groups_stay() -> None:
    labels, index = np.arange(400) % 50, ClassIndex.from_labels(np.arange(400) % 50)
    for settings, expected in (({}, 4), ({"images_per_class": 8}, 8)):
        wanted = ClassBalancedBatches(index, 128, images_per_class=expected, seed=2)
        assert np.array_equal(balanced(labels, seed=2, **settings).epoch_order(1), wanted.epoch_order(1))


def test_groups_that_classes_or_batches_cannot_fill() -> None:
    labels = np.arange(54) % 3
    with pytest.raises(DataError, match=r"Expected images_per_class of at most 18, the images of the largest class"):
        balanced(labels, images_per_class=19, batch_size=60)
    with pytest.raises(
        DataError, match=r"to hold two groups of images_per_class=10, got 16.*Use batch_size=20 or more"
    ):
        balanced(labels, images_per_class=10, batch_size=16)


def test_a_batch_larger_than_the_data_is_noted() -> None:
    notes: list[str] = []
    assert balanced(np.arange(54) % 3, notes.append, batch_size=55).num_batches == 1
    assert notes == ["batch_size 55 is more than the 54 images: one batch an epoch."]
    assert balanced(np.arange(54) % 3, notes.append, batch_size=54).num_batches == 1
    assert len(notes) == 1
