"""Data of a run is read as its model reads pictures; validation images are those that the run recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_files import folder_of_classes
from small_models import small_model

from pairsim import SimilarityModel, TrainConfig, Trainer
from pairsim._common import storage
from pairsim.data import load_data, stratified_split
from pairsim.data.image_sets import images_of, subset
from pairsim.data.splits import ValidationSplit, read_split, write_split
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.runs.run_data import held_out_images, load_evaluation_data, own_validation

SHAPE = (10, 24)  # in grey, for a model in colour
PREPROCESSING = Preprocessing(image_size=(8, 8), channels=3, fit="crop", interpolation="bicubic")


@pytest.fixture
def model() -> SimilarityModel:
    return small_model(dim=4, channels=3, preprocessing=PREPROCESSING)


def check(files: Any, num: int) -> None:
    assert len(files) == num
    for path, (image, _) in zip(images_of(files).paths, files, strict=True):
        assert torch.equal(image, PREPROCESSING.read(path))


def test_a_split(model: SimilarityModel, tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "data", "ab", shape=SHAPE)
    for split, num in (("train", 16), ("test", 4)):
        images = load_evaluation_data(tmp_path, model, str(tmp_path / "data"), split, data_dir=None)  # type: ignore[arg-type]
        check(images.dataset, num)


def test_a_file_of_pairs(model: SimilarityModel, tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "data", "ab", shape=SHAPE)
    (tmp_path / "pairs.csv").write_text("a/1.png,a/2.png,1\nb/1.png,a/1.png,0\n")
    pairs = load_evaluation_data(
        tmp_path, model, str(tmp_path / "data"), "test", pairs=tmp_path / "pairs.csv", data_dir=None
    ).dataset
    check(pairs.dataset, 3)
    assert pairs.all_pairs().target.tolist() == [1, 0]
    first, second, target = pairs[1]
    assert torch.equal(first, PREPROCESSING.read(tmp_path / "data" / "b" / "1.png"))
    assert torch.equal(second, PREPROCESSING.read(tmp_path / "data" / "a" / "1.png"))
    assert float(target) == 0


def test_a_validation_set_of_its_own(model: SimilarityModel, tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder_of_classes(tmp_path / "data" / split, "ab", shape=SHAPE)
    check(held_out_images(tmp_path / "run", model, str(tmp_path / "data"), None), 20)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder on the 16 training images of `tmp_path / "data"`, without a file of the split."""
    folder_of_classes(tmp_path / "data", "ab", shape=SHAPE)
    train = load_data(tmp_path / "data", "train")
    kept, _ = stratified_split(train.index, 0.25, seed=3)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_bytes(storage.to_json({"val_fraction": 0.25, "seed": 3}))
    (folder / "run.json").write_bytes(storage.to_json({"data": subset(train, kept).index.fingerprint()}))
    return folder


def numbers(files: Any, folder: Path) -> list[int]:
    """Numbers of images among the training images of a folder."""
    paths = load_data(folder, "train").dataset.paths
    return [paths.index(path) for path in images_of(files).paths]


def test_a_recorded_split_is_used(model: SimilarityModel, run: Path, tmp_path: Path) -> None:
    data, index = tmp_path / "data", load_data(tmp_path / "data", "train").index
    write_split(run, ValidationSplit(np.array([1, 2, 9]), index.fingerprint()))  # not what the settings would give
    (run / "run.json").write_bytes(storage.to_json({"data": {}}))
    found = held_out_images(run, model, str(data), None)
    check(found, 3)
    assert numbers(found, data) == [1, 2, 9]
    assert found.targets.tolist() == ["a", "a", "b"]


def test_the_split_that_training_records_is_used(model: SimilarityModel, tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder_of_classes(data, "ab", shape=SHAPE)
    train = load_data(data, "train", preprocessing=PREPROCESSING)
    config = TrainConfig(out=tmp_path / "run", epochs=1, batch_size=8, val_fraction=0.25, seed=3, device="cpu")
    Trainer(model, config, train=train).fit()
    split = read_split(tmp_path / "run")
    assert split is not None
    assert split.held_out.tolist() == stratified_split(train.index, 0.25, seed=3)[1].tolist()
    (tmp_path / "run" / "config.json").write_bytes(storage.to_json({"val_fraction": 0.5, "seed": 4}))
    assert numbers(held_out_images(tmp_path / "run", model, str(data), None), data) == split.held_out.tolist()


def test_the_split_val_is_the_recorded_one(model: SimilarityModel, run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_split(run, ValidationSplit(np.array([9, 12]), load_data(data, "train").index.fingerprint()))
    found = load_evaluation_data(run, model, str(data), "val", data_dir=None)
    check(found.dataset, 2)
    assert numbers(found.dataset, data) == [9, 12]
    assert found.class_names == ("b",)  # no image of a is in it
    assert found.source == str(data.resolve())


def test_a_run_without_a_recorded_split_is_split_again(model: SimilarityModel, run: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    found = held_out_images(run, model, str(data), None)
    check(found, 4)
    assert numbers(found, data) == stratified_split(load_data(data, "train").index, 0.25, seed=3)[1].tolist()


@pytest.mark.parametrize("recorded", [True, False])
def test_other_data_than_the_run_was_trained_on(
    model: SimilarityModel, run: Path, tmp_path: Path, recorded: bool
) -> None:
    if recorded:
        write_split(run, ValidationSplit(np.array([0, 8]), load_data(tmp_path / "data", "train").index.fingerprint()))
    folder_of_classes(tmp_path / "other", "abc", shape=SHAPE)
    expected = r"Expected the data that .*run was trained on \(1[26] images of 2 classes\), found [0-9]+ of 3, or other"
    with pytest.raises(RunError, match=expected):
        held_out_images(run, model, str(tmp_path / "other"), None)


def test_a_damaged_split_is_not_computed_again(model: SimilarityModel, run: Path, tmp_path: Path) -> None:
    (run / "split.json").write_text("{}")
    with pytest.raises(RunError, match=r"Expected the validation split of a run in .*split\.json"):
        held_out_images(run, model, str(tmp_path / "data"), None)


def test_no_run_folder(model: SimilarityModel, tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "data", "ab", shape=SHAPE)
    with pytest.raises(RunError, match="Expected a run folder at"):
        held_out_images(tmp_path / "run", model, str(tmp_path / "data"), None)


def test_a_class_named_val_is_no_split(model: SimilarityModel, tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "data", "ab", shape=SHAPE)
    folder_of_classes(tmp_path / "data", ["val"], shape=SHAPE)
    for data in (str(tmp_path / "data"), "digits"):
        assert own_validation(data, load_data(data, "train"), None, PREPROCESSING, 1) is None
