from __future__ import annotations

from typing import Any

import pytest
import torch

from pairsim import TrainConfig


@pytest.mark.parametrize(
    ("num_images", "epochs"),
    [(60_000, 2), (1_000_000, 2), (10_240, 10), (10_241, 10), (9_000, 12), (1437, 30), (5, 30)],
)
def test_passes_make_about_800_steps(num_images: int, epochs: int) -> None:
    config = TrainConfig().resolved(num_images)
    assert (config.epochs, config.batch_size, config.scheduler) == (epochs, 128, "onecycle")


def test_what_is_given_stays() -> None:
    config = TrainConfig(epochs=7, batch_size=32, scheduler="none").resolved(60_000)
    assert (config.epochs, config.batch_size, config.scheduler) == (7, 32, "none")
    assert TrainConfig(batch_size=32).resolved(2560).epochs == 10


def test_recipe_of_pairs_is_the_notebooks() -> None:
    config = TrainConfig(objective="pairs").resolved(60_000)
    assert (config.epochs, config.batch_size, config.scheduler, config.learning_rate) == (30, 256, "plateau", 1e-2)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("prior", 0.0, r"Expected prior to be in \(0, 1\), got 0.0"),
        ("prior", 1.0, r"Expected prior to be in \(0, 1\), got 1.0"),
        ("hard_pairs", -1.0, "Expected hard_pairs to be at least 0, got -1.0"),
        ("hard_pairs", float("nan"), "Expected hard_pairs to be at least 0, got nan"),
        ("memory_size", -1, "Expected memory_size to be at least 0, got -1"),
        ("batch_norm_batches", -1, "Expected batch_norm_batches to be at least 0, got -1"),
    ],
)
def test_values_out_of_range_are_named(field: str, value: float, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TrainConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"backbone_learning_rate": 0.0}, "Expected backbone_learning_rate to be positive, got 0.0"),
        ({"learning_rate": -1.0}, "Expected learning_rate to be positive, got -1.0"),
        ({"freeze": ""}, 'Expected freeze to be "none", "backbone" or names'),
        ({"freeze": "conv1,,bn1"}, 'Expected freeze to be "none", "backbone" or names'),
        ({"freeze": "backbone", "backbone_learning_rate": 1e-3}, "Expected no backbone_learning_rate with freeze="),
        (
            {"backbone_learning_rate": 1e-3, "optimizer": lambda p: torch.optim.SGD(p, lr=1.0)},
            "Expected no backbone_learning_rate with an optimizer of your own",
        ),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "backbone", "expected"),
    [
        ({}, None, ("adam", 1e-2, None)),
        ({"optimizer": "sgd"}, "random", ("sgd", 1e-2, None)),
        ({}, "random", ("adamw", 1e-3, None)),
        ({}, "pretrained", ("adamw", 1e-3, 1e-4)),
        ({"optimizer": "adam"}, "pretrained", ("adam", 1e-3, 1e-4)),
        ({"learning_rate": 1e-2}, "pretrained", ("adamw", 1e-2, 1e-3)),
        ({"backbone_learning_rate": 5e-4}, "pretrained", ("adamw", 1e-3, 5e-4)),
        ({"freeze": "backbone"}, "pretrained", ("adamw", 1e-3, None)),
    ],
)
def test_recipes_for_backbones(settings: dict[str, Any], backbone: Any, expected: tuple[Any, ...]) -> None:
    config = TrainConfig(**settings).resolved(1000, backbone=backbone)
    assert (config.optimizer, config.learning_rate, config.backbone_learning_rate) == pytest.approx(expected)
