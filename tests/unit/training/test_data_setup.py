"""Data of a training run: checks, validation split, parts of processes, and that placement changes no result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_files import write_pictures
from small_runs import easy_images, fit, random_images, reference_model
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from pairsim import EmbeddingNet, PairDataset, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageFiles, ImageTensors, LabelledImages
from pairsim.data.loading.placement import Placement
from pairsim.errors import DataError, ImageReadError
from pairsim.training.data_setup import TrainingData, set_up_data
from pairsim.training.distributed.world import World
from pairsim.training.objectives.objective_registry import objective_for


def model_of(channels: int = 1) -> SimilarityModel:
    torch.manual_seed(0)
    return SimilarityModel(EmbeddingNet(in_channels=channels, image_size=8, embedding_dim=8))


def trainer_of(train: Any, val: Any = None, channels: int = 1, **settings: Any) -> Trainer:
    settings = {"epochs": 2, "batch_size": 16, "precision": "fp32", "progress": False, **settings}
    return Trainer(model_of(channels), TrainConfig(**settings), train=train, val=val)


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    paths = write_pictures(tmp_path, [f"{number}.png" for number in range(60)], (8, 8, 3))
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
    notes = trainer_of(random_images()).history.notes
    assert any(note.startswith("Images resident on cpu: 54 x 1 x 8 x 8 uint8, 1 MB of a budget of ") for note in notes)
    assert any(note.startswith("Validation images resident on cpu: 6 x 1 x 8 x 8 uint8") for note in notes)
    notes = trainer_of(files, channels=3, resident=False, num_workers=2).history.notes
    assert any("by 2 workers as they are needed: 54 x 3 x 8 x 8 uint8, as resident=False" in note for note in notes)


def test_pairs_that_share_their_images_are_placed_once(files: ImageFiles) -> None:
    images = random_images()
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
        self.images = random_images()
        self.targets = self.images.targets
        self.transform = v2.RandomCrop(8, padding=2)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image, label = self.images[index]
        return self.transform(image), label


def test_random_transforms_stay_random_or_are_rejected() -> None:
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
            self.images = random_images(6000)
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

    trainer = trainer_of(random_images(), augment=black, epochs=1)
    assert calls == [8]  # tried once before training
    trainer.fit()
    assert sum(calls[1:]) == 54
    assert trainer.data.validation is not None
    validation = torch.cat([images for images, _ in trainer.data.validation.loader.epoch(0)])
    assert validation.float().std() > 50


def test_augmentation_that_breaks_images_is_rejected_before_training() -> None:
    with pytest.raises(DataError, match=r"Expected augment to return images as it got them"):
        trainer_of(random_images(), augment=lambda images, generator: images.float())
    with pytest.raises(ValueError, match="Expected augment to be one of auto, none, affine, crop, photo, got 'mixup'"):
        TrainConfig(augment="mixup")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected memory_budget_mb to be at least 1, got 0"):
        TrainConfig(memory_budget_mb=0)


def test_a_torchvision_transform_augments() -> None:
    settings: dict[str, Any] = {"augment": v2.RandomCrop(8, padding=1), "epochs": 1}
    first, again = results(trainer_of(random_images(), **settings)), results(trainer_of(random_images(), **settings))
    assert first[0] == again[0]
    assert first[0] != results(trainer_of(random_images(), epochs=1))[0]


def test_waiting_is_in_the_history_and_the_timings_but_not_in_the_log(tmp_path: Path) -> None:
    trainer = trainer_of(random_images(), out=tmp_path / "run")
    trainer.fit()
    assert len(trainer.history.waiting) == 2
    assert all(0 < share < 1 for share in trainer.history.waiting)
    assert trainer.history.to_dict()["waiting"] == trainer.history.waiting
    timings = [json.loads(line) for line in (tmp_path / "run" / "timings.jsonl").read_text().splitlines()]
    assert [line["waiting"] for line in timings] == [round(share, 4) for share in trainer.history.waiting]
    assert "waiting" not in (tmp_path / "run" / "log.jsonl").read_text()
    again = trainer_of(random_images(), out=tmp_path / "run")
    assert again.fit().waiting == trainer.history.waiting


def test_a_picture_that_cannot_be_read_shows_before_training(files: ImageFiles) -> None:
    Path(files.paths[11]).write_text("not a picture")
    with pytest.raises(ImageReadError, match=r"11\.png"):
        trainer_of(files, channels=3)


def test_normalisation_is_learned_from_the_training_images() -> None:
    images = easy_images()
    trainer = fit(images, val=easy_images(20))
    values = images.images.double() / 255
    assert trainer.model.preprocessing.mean == pytest.approx([values.mean().item()], rel=1e-12)
    assert trainer.model.preprocessing.std == pytest.approx([values.std(correction=0).item()], rel=1e-12)


class LoadedOneByOne(Dataset[Any]):
    """A dataset that is not in memory, so that it is read by a loader."""

    def __init__(self, images: ImageTensors) -> None:
        self.inner = images
        self.targets = images.targets

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("objective", ["pairs", "all-pairs"])
def test_loader_and_memory_give_the_same_training(objective: Any, num_workers: int) -> None:
    images = easy_images()
    resident = fit(images, objective=objective)
    loaded = fit(LoadedOneByOne(images), objective=objective, num_workers=num_workers)
    assert [vars(record) for record in resident.history] == [vars(record) for record in loaded.history]
    assert all(
        torch.equal(a, b)
        for a, b in zip(resident.model.state_dict().values(), loaded.model.state_dict().values(), strict=True)
    )


# --- data that cannot be trained on ---


def test_empty_dataset() -> None:
    with pytest.raises(DataError, match="Expected a dataset with images, found none"):
        fit(ImageTensors(torch.zeros(0, 1, 8, 8, dtype=torch.uint8), []))


def test_one_class_only() -> None:
    with pytest.raises(DataError, match="Expected images of at least two classes, found only"):
        fit(ImageTensors(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), [1] * 9))


def test_classes_of_one_image_each() -> None:
    with pytest.raises(DataError, match="Expected a class with at least two images"):
        fit(ImageTensors(torch.zeros(9, 1, 8, 8, dtype=torch.uint8), range(9)))


def test_a_class_with_one_image_is_noted() -> None:
    images = easy_images()
    images.targets[0] = 7
    trainer = fit(images)
    assert any("1 classes have one image (7): it serves in negative pairs" in line for line in trainer.history.notes)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (torch.zeros(8, 1, 8, 8, dtype=torch.uint8), "All pixels of 8 sampled images are 0."),
        (torch.full((8, 1, 8, 8), 0.5), "All pixels of 8 sampled images are 0.5."),
        (torch.arange(512).view(8, 1, 8, 8) % 2, "All pixels of 8 sampled images are from 0 to 1, of 255"),
        (
            torch.arange(512).view(8, 1, 8, 8) % 8 + 200,
            "All pixels of 8 sampled images are from 200 to 207, of 255",
        ),
        (torch.arange(512).view(8, 1, 8, 8) % 9, None),
        (torch.arange(512).view(8, 1, 8, 8) % 2 / 2, None),
    ],
)
def test_images_without_contrast_are_noted(pixels: Tensor, expected: str | None) -> None:
    pixels = pixels if pixels.is_floating_point() else pixels.to(torch.uint8)
    trainer = trainer_of(ImageTensors(pixels.repeat(4, 1, 1, 1), [0, 1] * 16))
    found = [note for note in trainer.history.notes if "sampled images" in note]
    assert [note.startswith(expected) for note in found] == [True] if expected else found == []


def test_wrong_size_and_channels() -> None:
    with pytest.raises(ValueError, match="Expected images of 8 x 8 pixels"):
        fit(easy_images(size=12))
    with pytest.raises(ValueError, match="Expected images with 1 channel"):
        fit(ImageTensors(torch.zeros(8, 3, 8, 8), [0, 1] * 4))


def test_colour_pixels_train_a_grey_net() -> None:
    pixels = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    trainer = fit(ImageTensors(pixels, [0, 1] * 4))
    assert trainer.model.preprocessing.mean is not None
    assert len(trainer.model.preprocessing.mean) == 1


def test_images_of_differing_shapes() -> None:
    class Ragged(LoadedOneByOne):
        def __getitem__(self, index: int) -> Any:
            image, label = self.inner[index]
            return image[:, : 8 - index % 3], label

    with pytest.raises(DataError, match="Expected all images to have one shape, found"):
        fit(Ragged(easy_images()))


def test_pixels_that_are_not_finite() -> None:
    images = torch.rand(8, 1, 8, 8)
    images[5, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="found NaN or infinite values in image 5"):
        fit(ImageTensors(images, [0, 1] * 4))


def test_shared_memory_is_divided_by_the_processes_of_a_machine() -> None:
    assert Placement(device=torch.device("cpu"), memory_budget_mb=9, shared_by=3).budget == 3_000_000


def set_up(world: World, train: Any = None, val: Any = None, **settings: Any) -> TrainingData:
    config = TrainConfig(**{"batch_size": 16, **settings}).resolved(60)
    model = model_of()
    return set_up_data(train or random_images(), val, config, objective_for(config), model, world=world)


def test_processes_validate_whole_batches_of_different_images() -> None:
    datas = [set_up(World(rank=rank, size=3), val=random_images(50)) for rank in range(3)]
    parts = [data.validation for data in datas]
    assert [part.rows for part in parts if part is not None] == [slice(0, 32), slice(32, 48), slice(48, 50)]
    for part in parts:
        assert part is not None
        assert part.num_images == 50
        images = torch.cat([images for images, _ in part.loader.epoch(0)])
        assert torch.equal(images, random_images(50).images[part.rows])
    empty = set_up(World(rank=2, size=3), val=random_images(20)).validation  # 2 batches
    assert empty is not None
    assert empty.rows.start == empty.rows.stop
    assert sum(len(images) for images, _ in empty.loader.epoch(0)) == 1  # a loader is not empty


def test_processes_get_parts_of_the_same_batches() -> None:
    complete = set_up(World(), val=random_images(6))
    parts = [set_up(World(rank=rank, size=2), val=random_images(6)) for rank in range(2)]
    assert parts[0].fingerprint == parts[1].fingerprint == complete.fingerprint
    for (images, targets), *own in zip(*(data.loader.epoch(1) for data in (complete, *parts)), strict=True):
        assert torch.equal(torch.cat([part for part, _ in own]), images)
        assert all(torch.equal(other, targets) for _, other in own)


def test_fingerprints_tell_data_apart() -> None:
    labels = set_up(World())
    assert labels.fingerprint.keys() == {"num_images", "num_classes", "labels", "num_val_images", "images"}
    assert (labels.fingerprint["num_images"], labels.fingerprint["num_val_images"]) == (54, 6)
    pairs = [
        set_up(World(), PairDataset(random_images(), 40, seed=seed), objective="pairs").fingerprint
        for seed in (0, 0, 1)
    ]
    assert pairs[0] == pairs[1] != pairs[2]
    assert pairs[0]["num_pairs"] == 40


def test_large_validation_data_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.training.data_setup._MAX_VAL_IMAGES", 30)
    data = set_up(World(), val=random_images(60))
    assert data.validation is not None
    assert data.validation.num_images == 30
    assert "Validating on 30 of 60 validation images." in data.notes


def test_too_few_images_to_split() -> None:
    data = set_up(World(), random_images(6), val_fraction=0.1, batch_size=4)
    assert data.validation is None
    assert any(note.startswith("Too few images to split off validation data (val_fraction=0.1)") for note in data.notes)


def test_groups_that_are_whole_classes_give_no_validation_data() -> None:
    images = ImageTensors(torch.randint(0, 256, (48, 1, 8, 8), dtype=torch.uint8), np.arange(48) % 6)
    data = set_up(World(), LabelledImages(images, images.targets, groups=images.targets), batch_size=4)
    assert data.validation is None
    said = "No whole groups of images to split off as validation data (val_fraction=0.1): the model of the last epoch"
    assert any(note.startswith(said) for note in data.notes)


def test_validation_without_a_positive_pair_is_noted() -> None:
    images = ImageTensors(torch.randint(0, 256, (48, 1, 8, 8), dtype=torch.uint8), np.arange(48) % 6)
    notes = {share: set_up(World(), images, val_fraction=share, batch_size=4).notes for share in (0.1, 0.3)}
    said = "The validation images are of different classes, so they have no positive pair"
    assert [note.startswith(said) for note in notes[0.1]].count(True) == 1
    assert not any(note.startswith(said) for note in notes[0.3])


@pytest.mark.parametrize(
    ("labels", "found", "alone"),
    [([0] * 8, "one class, so they have no negative", "positive"),
     (range(8), "different classes, so they have no positive", "negative")],
)  # fmt: skip
def test_given_validation_images_with_pairs_of_one_kind_are_noted(labels: Any, found: str, alone: str) -> None:
    val = ImageTensors(random_images(8).images, list(labels))
    data = trainer_of(random_images(), val).data
    said = f"The validation images are of {found} pair: the best epoch is chosen by {alone} pairs alone"
    (note,) = (note for note in data.notes if note.startswith(said))
    assert note.endswith("Add validation images, or keep whole classes for validation.")


@pytest.mark.parametrize(("target", "kind"), [(0, "negative"), (1, "positive")])
def test_training_pairs_of_one_kind_are_noted(target: int, kind: str) -> None:
    pairs = PairDataset.from_pairs(random_images(8), np.arange(4), np.arange(4) + 4, [target] * 4)
    said = f"All of 4 training pairs that were looked at are {kind}. Add pairs of the other kind."
    assert said in trainer_of(pairs).data.notes


@pytest.mark.parametrize("target", [0, 1])
def test_validation_pairs_of_one_kind_are_rejected(target: int) -> None:
    images = random_images(8)
    val = PairDataset.from_pairs(images, np.arange(4), np.arange(4) + 4, [target] * 4)
    found = f"found {4 * target} and {4 * (1 - target)}"
    with pytest.raises(DataError, match=f"Expected positive and negative pairs for validation, {found}. Best epoch"):
        trainer_of(random_images(), val)


@pytest.mark.parametrize("resident", [True, False])
def test_labelled_validation_images_are_kept_with_their_labels(files: ImageFiles, resident: bool) -> None:
    data = trainer_of(files, channels=3, resident=resident).data
    assert data.split is not None
    assert data.validation is not None
    images = data.validation.images
    assert images is not None
    assert isinstance(images.dataset, ImageTensors if resident else ImageFiles)
    assert images.targets.tolist() == files.targets[data.split.held_out].tolist()
    for number, index in enumerate(data.split.held_out.tolist()):
        assert torch.equal(images[number][0], files[index][0])


def test_all_validation_images_are_kept_where_some_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.training.data_setup._MAX_VAL_IMAGES", 12)
    val = random_images(24)
    validation = trainer_of(random_images(), val).data.validation
    assert validation is not None
    assert validation.images is not None
    assert (validation.num_images, len(validation.images)) == (12, 24)
    assert validation.images.dataset is val


def test_given_validation_pairs_have_no_labelled_images() -> None:
    validation = trainer_of(random_images(), PairDataset(random_images(), 20)).data.validation
    assert validation is not None
    assert validation.images is None


def test_one_validation_image_is_refused() -> None:
    one = ImageTensors(torch.zeros(1, 8, 8, dtype=torch.uint8), [0])
    with pytest.raises(DataError, match="at least two validation images, found one, which makes no pair"):
        Trainer(reference_model(), TrainConfig(epochs=1), train=easy_images(), val=one)
