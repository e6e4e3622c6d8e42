"""Where a trainer keeps its images, what it says of it, and that nothing that is learned depends on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ClassBalancedBatches, ClassIndex, ImageFiles, ImageTensors
from pairsim.errors import DataError, ImageReadError


def model_of(channels: int = 1) -> SimilarityModel:
    torch.manual_seed(0)
    return SimilarityModel(EmbeddingNet(in_channels=channels, image_size=8, embedding_dim=8))


def trainer_of(train: Any, val: Any = None, channels: int = 1, **settings: Any) -> Trainer:
    settings = {"epochs": 2, "batch_size": 16, "precision": "fp32", "progress": False, **settings}
    return Trainer(model_of(channels), TrainConfig(**settings), train=train, val=val)


def memory(num: int = 60) -> ImageTensors:
    pixels = torch.randint(0, 256, (num, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageTensors(pixels, np.arange(num) % 3)


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    generator = np.random.default_rng(0)
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(paths[-1])
    return ImageFiles(paths, np.arange(60) % 3, image_size=(8, 8))


def results(trainer: Trainer) -> tuple[list[dict[str, Any]], list[Tensor], Any]:
    trainer.fit()
    records = [vars(record) for record in trainer.history]
    return records, list(trainer.model.state_dict().values()), trainer.model.preprocessing


@pytest.mark.parametrize("objective", ["pairs", "all-pairs"])
def test_where_images_are_kept_changes_nothing(
    files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Any
) -> None:
    monkeypatch.setattr("pairsim.training.data_setup._STATISTICS_IMAGES", 10)  # fewer than there are
    common: dict[str, Any] = {"channels": 3, "objective": objective, "augment": "affine"}
    records, weights, preprocessing = results(trainer_of(files, resident=True, **common))
    for where in (
        {"resident": None},
        {"resident": False, "num_workers": 0},
        {"resident": False, "num_workers": 2},
        {"cache_dir": tmp_path / "cache"},
        {"cache_dir": tmp_path / "cache", "resident": False, "num_workers": 1},
    ):
        found = results(trainer_of(files, **common, **where))
        assert found[0] == records
        assert all(torch.equal(a, b) for a, b in zip(found[1], weights, strict=True))
        assert found[2] == preprocessing


def test_a_line_says_where_the_images_are(files: ImageFiles) -> None:
    notes = trainer_of(memory()).history.notes
    assert any(note.startswith("Images resident on cpu: 54 x 1 x 8 x 8 uint8, 1 MB of a budget of ") for note in notes)
    assert any(note.startswith("Validation images resident on cpu: 6 x 1 x 8 x 8 uint8") for note in notes)
    notes = trainer_of(files, channels=3, resident=False, num_workers=2).history.notes
    assert any("by 2 workers as they are needed: 54 x 3 x 8 x 8 uint8, as resident=False" in note for note in notes)


def test_pairs_that_share_their_images_are_placed_once(files: ImageFiles) -> None:
    images = memory()
    pairs, others = PairDataset(images, 40), PairDataset(images, 20, seed=1)
    trainer = trainer_of(pairs, others, objective="pairs")
    assert sum("resident on cpu" in note for note in trainer.history.notes) == 1
    trainer.fit()
    of_files = PairDataset.from_pairs(files, [0, 1, 2, 3], [3, 4, 5, 4], [1, 1, 1, 0])
    trainer = trainer_of(of_files, channels=3, objective="pairs", batch_size=2)
    assert isinstance(trainer.data.loader.dataset, ImageTensors)
    trainer.fit()


class Jittered(Dataset[Any]):
    def __init__(self) -> None:
        self.images = memory()
        self.targets = self.images.targets
        self.transform = v2.RandomCrop(8, padding=2)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image, label = self.images[index]
        return self.transform(image), label


def test_random_transforms_stay_random_or_are_refused() -> None:
    trainer = trainer_of(Jittered(), num_workers=0)
    assert any("as they have the random transform RandomCrop" in note for note in trainer.history.notes)
    with pytest.raises(DataError, match="found the random transform RandomCrop"):
        trainer_of(Jittered(), resident=True)


def test_normalisation_of_random_images_does_not_depend_on_the_callers_generators() -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = model_of()
        state = torch.get_rng_state()
        Trainer(model, TrainConfig(epochs=1, batch_size=16, num_workers=0), train=Jittered())
        assert torch.equal(torch.get_rng_state(), state)
        found.append(model.preprocessing)
    assert found[0] == found[1]


def test_over_budget() -> None:
    class Large(Jittered):
        def __init__(self) -> None:
            super().__init__()
            self.images = memory(6000)
            self.targets = self.images.targets
            self.images.images = self.images.images.float()
            self.transform = v2.Identity()

    with pytest.raises(
        DataError, match=r"at most 1 MB for resident=True on cpu, found 2 MB \(images: 5,400 x 1 x 8 x 8 float"
    ):
        trainer_of(Large(), resident=True, memory_budget_mb=1)


def test_only_training_images_are_augmented() -> None:
    calls: list[int] = []

    def black(images: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(len(images))
        return torch.zeros_like(images)

    trainer = trainer_of(memory(), augment=black, epochs=1)
    assert calls == [8]  # tried once before training
    trainer.fit()
    assert sum(calls[1:]) == 54
    assert trainer.data.val_loader is not None
    validation = torch.cat([images for images, _ in trainer.data.val_loader.epoch(0)])
    assert validation.float().std() > 50


def test_augmentation_that_spoils_images_is_refused_before_training() -> None:
    with pytest.raises(DataError, match=r"Expected augment to return images as it got them"):
        trainer_of(memory(), augment=lambda images, generator: images.float())
    with pytest.raises(ValueError, match="Expected augment to be one of none, affine, got 'mixup'"):
        TrainConfig(augment="mixup")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected memory_budget_mb to be at least 1, got 0"):
        TrainConfig(memory_budget_mb=0)


def test_a_torchvision_transform_augments() -> None:
    settings: dict[str, Any] = {"augment": v2.RandomCrop(8, padding=1), "epochs": 1}
    first, again = results(trainer_of(memory(), **settings)), results(trainer_of(memory(), **settings))
    assert first[0] == again[0]
    assert first[0] != results(trainer_of(memory(), epochs=1))[0]


def test_waiting_is_in_the_history_and_the_timings_but_not_in_the_log(tmp_path: Path) -> None:
    trainer = trainer_of(memory(), out=tmp_path / "run")
    trainer.fit()
    assert len(trainer.history.waiting) == 2
    assert all(0 < share < 1 for share in trainer.history.waiting)
    assert trainer.history.to_dict()["waiting"] == trainer.history.waiting
    timings = [json.loads(line) for line in (tmp_path / "run" / "timings.jsonl").read_text().splitlines()]
    assert [line["waiting"] for line in timings] == [round(share, 4) for share in trainer.history.waiting]
    assert "waiting" not in (tmp_path / "run" / "log.jsonl").read_text()
    again = trainer_of(memory(), out=tmp_path / "run")
    assert again.fit().waiting == trainer.history.waiting


def test_a_picture_that_cannot_be_read_shows_before_training(files: ImageFiles) -> None:
    Path(files.paths[11]).write_text("not a picture")
    with pytest.raises(ImageReadError, match=r"11\.png"):
        trainer_of(files, channels=3)


def test_groups_that_classes_or_batches_cannot_fill() -> None:
    with pytest.raises(DataError, match=r"Expected images_per_class of at most 18, the images of the largest class"):
        trainer_of(memory(), images_per_class=19, batch_size=60)
    with pytest.raises(
        DataError, match=r"to hold two groups of images_per_class=10, got 16.*Use batch_size=20 or more"
    ):
        trainer_of(memory(), images_per_class=10)


@pytest.mark.parametrize(("batch_size", "expected"), [(54, 5), (48, 4), (16, 4), (6, 3), (2, 1)])
def test_few_classes_come_in_larger_groups(batch_size: int, expected: int) -> None:
    plan = trainer_of(memory(54), val=memory(6), batch_size=batch_size).data.loader.plan
    index = ClassIndex.from_labels(np.arange(54) % 3)
    assert isinstance(plan, ClassBalancedBatches)
    wanted = ClassBalancedBatches(index, batch_size, images_per_class=expected)
    assert np.array_equal(plan.epoch_order(3), wanted.epoch_order(3))
