from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pairsim import TrainConfig
from pairsim.data import RandomAffine
from pairsim.training.config_options import options_of
from pairsim.training.objectives.objective_registry import objective_choices


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
        ({"epochs": 0}, "Expected epochs to be at least 1, got 0."),
        ({"batch_size": 1}, "Expected batch_size to be at least 2, got 1."),
        ({"num_workers": 1.5}, "Expected num_workers to be at least 0, got 1.5."),
        ({"learning_rate": 0.0}, "Expected learning_rate to be positive, got 0.0."),
        ({"momentum": 1.0}, "Expected momentum to be in [0, 1), got 1.0."),
        ({"positive_fraction": 1.1}, "Expected positive_fraction to be in [0, 1], got 1.1."),
        (
            {"objective": "triplet"},
            "Expected objective to be one of auto, pairs, all-pairs, supervised-contrastive, normalized-softmax, "
            "got 'triplet'.",
        ),
        ({"scheduler": None}, "Expected scheduler to be one of auto, plateau, onecycle, cosine, none, got None."),
        ({"freeze": "conv1,"}, 'Expected freeze to be "none", "backbone" or names, got \'conv1,\'.'),
    ],
)
def test_messages(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        TrainConfig(**settings)
    assert str(caught.value) == expected


@pytest.mark.parametrize("settings", [{"freeze": "backbone"}, {"optimizer": lambda parameters: None}])
def test_a_backbone_rate_that_would_have_no_effect(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected no backbone_learning_rate with"):
        TrainConfig(backbone_learning_rate=1e-4, **settings)


@pytest.mark.parametrize("settings", [{"grad_accumulation": 2}, {"memory_size": 4}])
def test_sam_uses_each_batch_twice(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected sam_rho with grad_accumulation=1 and memory_size=0, as each batch"):
        TrainConfig(sam_rho=0.1, **settings)
    TrainConfig(sam_rho=0.0, **settings)


def test_values_at_the_ends_of_the_ranges() -> None:
    TrainConfig(epochs=1, batch_size=2, positive_fraction=0.0, momentum=0.0, hard_pairs=0.0, memory_size=0)
    TrainConfig(positive_fraction=1, epochs=None, learning_rate=None, ema_decay=None)


def test_every_field_is_an_option_of_the_docstring() -> None:
    assert TrainConfig.__doc__ is not None
    assert list(options_of(TrainConfig)) == list(inspect.signature(TrainConfig).parameters)
    for name, option in options_of(TrainConfig).items():
        assert f"\n    {name}: {option.help.split()[0]}" in TrainConfig.__doc__
    assert (
        options_of(TrainConfig)["objective"].names
        == objective_choices()
        == ("auto", "pairs", "all-pairs", "supervised-contrastive", "normalized-softmax")
    )


def _loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    return embeddings.sum() * 0


@pytest.mark.parametrize(
    ("field", "value", "plain"),
    [
        ("out", Path("runs/a"), "runs/a"),
        ("objective", _loss, "builtins._loss"),
        ("objective", "pairs", "pairs"),
        ("augment", RandomAffine(degrees=5), repr(RandomAffine(degrees=5))),
        ("augment", nn.Identity(), "Identity()"),
    ],
)
def test_to_dict_has_json_values(field: str, value: str | Path | Callable[..., Any], plain: str) -> None:
    found = TrainConfig(**{field: value}).to_dict()  # type: ignore[arg-type]
    assert json.loads(json.dumps(found)) == found
    assert found[field] == plain
    assert list(found) == list(options_of(TrainConfig))


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


def test_paths_may_be_text() -> None:
    paths: dict[str, Any] = {"out": "runs/a", "cache_dir": "cache"}
    config = TrainConfig(**paths)
    assert (config.out, config.cache_dir) == (Path("runs/a"), Path("cache"))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrainConfig)])
@pytest.mark.parametrize("value", ["3 apples", [1], -1.5, None, float("nan"), Ellipsis], ids=str)
def test_values_of_another_type_get_one_line(field: str, value: Any) -> None:
    with contextlib.suppress(ValueError):
        TrainConfig(**{field: value})
        return
    with pytest.raises(ValueError, match=f"^Expected {field} to be .+, got .+"):
        TrainConfig(**{field: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": "32"}, "Expected batch_size to be at least 2, got '32'."),
        ({"val_fraction": "0.1"}, r"Expected val_fraction to be in \(0, 1\), got '0.1'."),
        ({"epochs": True}, "Expected epochs to be at least 1, got True."),
        ({"deterministic": "no"}, "Expected deterministic to be True or False, got 'no'."),
        ({"resident": "yes"}, "Expected resident to be True or False, got 'yes'."),
        ({"seed": "a"}, "Expected seed to be a whole number, got 'a'."),
        ({"learning_rate": True}, "Expected learning_rate to be a number, got True."),
        ({"weight_decay": 10**400}, "Expected weight_decay to be a number, got 1000"),
        ({"out": 0}, "Expected out to be a path, got 0."),
        ({"cache_dir": b"x"}, "Expected cache_dir to be a path, got b'x'."),
        ({"device": "foo"}, 'Expected device to be "auto", "cpu", "cuda", "cuda:N" or "mps", got \'foo\'.'),
        ({"device": None}, "Expected device to be .+, got None."),
        ({"freeze": None}, 'Expected freeze to be "none", "backbone" or names, got None.'),
        ({"learning_rate": float("nan")}, "Expected learning_rate to be positive, got nan."),
    ],
)
def test_text_and_truth_in_place_of_numbers(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainConfig(**options)


def test_numbers_of_other_libraries_become_plain() -> None:
    given: dict[str, Any] = {"epochs": np.int64(2), "batch_size": torch.tensor(16), "learning_rate": np.float32(0.5)}
    config = TrainConfig(**given)
    assert (config.epochs, config.batch_size, config.learning_rate) == (2, 16, 0.5)
    assert {type(config.epochs), type(config.batch_size), type(config.learning_rate)} == {int, float}
