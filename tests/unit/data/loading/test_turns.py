"""Quarter turns as classes: right turns, right labels, and the same batches wherever the images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import CutOff, CutOffError, dropout_model, fit, last_state, random_images
from states import assert_same
from torch.utils.data import Dataset

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors, LabelledImages
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader
from pairsim.data.loading.turns import quarter_turned, turned_labels
from pairsim.errors import DataError


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 3), st.integers(1, 6))
def test_turns_are_those_of_rot90(turns: list[int], channels: int, size: int) -> None:
    images = torch.arange(len(turns) * channels * size**2).view(len(turns), channels, size, size)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = quarter_turned(images.contiguous(memory_format=layout), torch.tensor(turns))
        for image, turn, turned in zip(images, turns, found, strict=True):
            assert torch.equal(turned, torch.rot90(image, turn, (1, 2)))


def test_every_class_becomes_four() -> None:
    turned = turned_labels(LabelledImages.of([("a", "x"), ("b", "y"), ("c", "x")]))
    assert turned.targets.tolist() == [0, 4, 0, 1, 5, 1, 2, 6, 2, 3, 7, 3]
    assert turned.index.counts.tolist() == [2, 2, 2, 2, 1, 1, 1, 1]


def test_groups_are_turned_with_their_classes() -> None:
    images = LabelledImages(None, np.array(["a", "b", "c"]), groups=np.array(["one", "two", "one"]))
    turned = turned_labels(images)
    assert turned.groups is not None
    assert turned.groups.tolist() == [0, 4, 0, 1, 5, 1, 2, 6, 2, 3, 7, 3]


class OneByOne(Dataset[Any]):
    def __init__(self, images: ImageTensors) -> None:
        self.images = images
        self.targets = images.targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


@pytest.mark.parametrize("kind", ["resident", "items", "workers"])
def test_a_loader_turns_the_images_of_a_plan(kind: str) -> None:
    images = random_images(10)
    plan = SequentialBatches(np.arange(40), 7)
    dataset = images if kind == "resident" else OneByOne(images)
    loader = BatchLoader(dataset, plan, turns=True, num_workers=2 if kind == "workers" else 0)
    found = torch.cat([batch for batch, _ in loader.epoch(0)])
    expected = torch.cat([torch.rot90(images.images, turn, (2, 3)) for turn in range(4)])
    assert torch.equal(found, expected)


@pytest.mark.parametrize("objective", ["all-pairs", "pairs", "normalized-softmax"])
def test_training_has_four_times_the_classes_and_validation_has_not(objective: str) -> None:
    trainer = fit(random_images(), objective=objective, turns=True, epochs=1)
    data = trainer.data
    assert data.validation is not None
    assert data.validation.num_images == 6
    assert data.validation.images is not None
    found = torch.cat([images for images, _ in data.validation.loader.epoch(0)])
    assert torch.equal(found, data.validation.images.dataset.images)
    assert any("4 times as many classes, 12" in note for note in trainer.history.notes)
    if objective != "pairs":
        assert data.loader.plan.num_images == 4 * 54
        targets = torch.cat([targets for _, targets in data.loader.epoch(0)])
        assert targets.bincount().tolist() == [18] * 12
    else:
        assert data.loader.plan.batch(0, 0)[0].max() >= 54
    assert len(data.loader.dataset.images) == 54


def test_epochs_of_the_recipe_count_turned_images() -> None:
    assert (TrainConfig(turns=True).resolved(10_240).epochs, TrainConfig().resolved(40_960).epochs) == (3, 3)


def test_a_resumed_run_has_the_same_turns(tmp_path: Path) -> None:
    def run(name: str, cut: int | None = None) -> None:
        settings: dict[str, Any] = {"turns": True, "augment": "affine", "precision": "fp32", "checkpoint_steps": 2}
        config = TrainConfig(out=tmp_path / name, batch_size=32, epochs=2, **settings)
        fit_with = () if cut is None else (CutOff(cut),)
        Trainer(dropout_model(), config, train=random_images(), callbacks=fit_with).fit()

    run("whole")
    with pytest.raises(CutOffError):
        run("parted", cut=5)
    run("parted")
    assert_same(last_state(tmp_path / "whole"), last_state(tmp_path / "parted"))


def test_what_cannot_be_turned() -> None:
    wide = ImageTensors(torch.zeros(20, 1, 8, 10, dtype=torch.uint8), [0, 1] * 10)
    model = SimilarityModel(EmbeddingNet(image_size=(8, 10)))
    with pytest.raises(
        DataError, match=r"Expected square images for turns, found 8 x 10\. Set image_size to one number"
    ):
        Trainer(model, TrainConfig(turns=True), train=wide)
    with pytest.raises(TypeError, match="Expected a labelled dataset for turns, got a PairDataset"):
        fit(PairDataset(random_images(), 10), objective="pairs", turns=True)
