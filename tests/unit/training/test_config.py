from __future__ import annotations

import pytest

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
