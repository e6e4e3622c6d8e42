"""Data of a run is read as its model reads pictures; validation images are those that the run recorded."""

from __future__ import annotations

import shutil
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
from pairsim.models.verdict import OperatingPoint
from pairsim.runs.class_splits import ClassSplit
from pairsim.runs.run_data import (
    SEEN_THRESHOLD,
    held_out_images,
    load_evaluation_data,
    load_labelled,
    own_validation,
    recorded_data,
)

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


def test_a_run_without_validation_images_says_so(model: SimilarityModel, run: Path, tmp_path: Path) -> None:
    trained_on = load_data(tmp_path / "data", "train").index.fingerprint()
    (run / "run.json").write_bytes(storage.to_json({"data": {**trained_on, "images": {"files": "x"}}}))
    with pytest.raises(RunError, match=r"Expected .*run with validation images, found none: .* larger --val-fraction"):
        held_out_images(run, model, str(tmp_path / "data"), None)


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


@pytest.fixture
def by_class(tmp_path: Path) -> tuple[Path, ClassSplit]:
    """A run on the folder `tmp_path / "data"` that kept classes unseen, with two writers of two classes each side."""
    writers = [f"w{letter}_{kind}" for letter in "abcdefgh" for kind in ("fake", "real")]
    images = load_data(folder_of_classes(tmp_path / "data", writers, number=2, shape=SHAPE), "all", groups="(w.)_")
    split, run = ClassSplit.of(images, 0.25), tmp_path / "run"
    record = {"class_names": split.train, "class_split": split.to_record(), "groups": "(w.)_", "class_level": 1}
    run.mkdir()
    (run / "data.json").write_bytes(storage.to_json(record))
    return run, split


def test_each_split_has_the_classes_of_the_run(
    model: SimilarityModel, by_class: tuple[Path, ClassSplit], tmp_path: Path
) -> None:
    run, split = by_class
    model.operating_point = OperatingPoint(0.5, 0.1, 0.1, 9, 9, source="validation pairs")
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    for data in (tmp_path / "data", tmp_path / "moved"):
        for name in ("train", "val", "test"):
            found = load_evaluation_data(run, model, str(data), name, data_dir=None)
            assert found.class_names == getattr(split, name)
            assert found.unseen_classes == (0 if name == "train" else len(found.class_names))
            assert len(set(found.dataset.groups)) * 2 == len(found.class_names)
            assert (found.warning, "8 groups" in found.account) == ("", True)
            check(found.dataset, 2 * len(found.class_names))
    (run / "model").mkdir()
    inside = load_evaluation_data(run / "model", model, str(tmp_path / "data"), "test", data_dir=None)
    assert inside.class_names == split.test


def test_classes_that_came_since_are_unseen(
    model: SimilarityModel, by_class: tuple[Path, ClassSplit], tmp_path: Path
) -> None:
    run, split = by_class
    folder_of_classes(tmp_path / "data", ["wx_real"], number=2, shape=SHAPE)
    found = load_evaluation_data(run, model, str(tmp_path / "data"), "test", data_dir=None)
    assert found.class_names == (*split.test, "wx_real")
    assert "New since the training, for the test: wx_real. " in found.account
    for name in split.val:
        shutil.rmtree(tmp_path / "data" / name)
    said = r"Expected classes of val of .*run in .*data, found none of them\. Give the data that the run was trained on"
    with pytest.raises(RunError, match=said):
        load_labelled(run, model, str(tmp_path / "data"), "val", data_dir=None)


def test_other_data_is_split_in_its_own_way(
    model: SimilarityModel, by_class: tuple[Path, ClassSplit], tmp_path: Path
) -> None:
    run, split = by_class
    other = folder_of_classes(tmp_path / "other", "xy", shape=SHAPE)
    found = load_evaluation_data(run, model, str(other), "test", data_dir=None)
    assert (len(found.dataset), found.unseen_classes, found.dataset.groups) == (4, 2, None)
    for name in ("train", "test"):
        folder_of_classes(tmp_path / "own" / name, [split.train[0], "wz_fake"], shape=SHAPE)
    found = load_evaluation_data(run, model, str(tmp_path / "own"), "test", data_dir=None)
    assert (len(found.dataset), found.unseen_classes) == (20, 1)


def test_groups_of_a_run_hold_for_its_data(model: SimilarityModel, tmp_path: Path) -> None:
    data, run = folder_of_classes(tmp_path / "data", "ab", shape=SHAPE), tmp_path / "run"
    run.mkdir()
    (run / "data.json").write_bytes(storage.to_json({"class_names": ["a", "b"], "groups": r"(\d)\.png"}))
    test = load_labelled(run, model, str(data), "test", data_dir=None)
    assert test.groups is not None
    assert sorted(Path(path).name for path in test.dataset.paths) == sorted(
        2 * [f"{name[-1]}.png" for name in set(test.groups)]
    )
    other = folder_of_classes(tmp_path / "other", "xy", shape=SHAPE)
    assert load_labelled(run, model, str(other), "test", data_dir=None).groups is None


@pytest.mark.parametrize(
    ("record", "source", "warns"),
    [
        ({"class_names": ["a", "b"]}, "validation pairs", True),
        ({"class_names": ["a", "b"]}, "validation images of data", True),
        ({"class_names": ["a", "b"]}, "test images of data", False),  # calibrated on new classes
        ({"class_names": ["a", "b", "c"]}, "validation pairs", False),
        ({"class_names": ["a", "b"], "val_class_names": ["b"]}, "validation pairs", True),
        ({"class_names": ["a", "b"], "val_class_names": ["d", "e"]}, "validation pairs", False),
        ({}, "validation pairs", False),
    ],
)
def test_a_threshold_from_classes_of_training(
    model: SimilarityModel, tmp_path: Path, record: dict[str, Any], source: str, warns: bool
) -> None:
    for split, classes in (("train", "ab"), ("val", "ab"), ("test", "ac")):
        folder_of_classes(tmp_path / split, classes, number=3, shape=SHAPE)
    (tmp_path / "data.json").write_bytes(storage.to_json(record))
    model.operating_point = OperatingPoint(0.5, 0.1, 0.1, 9, 9, source=source)
    found = load_evaluation_data(tmp_path, model, str(tmp_path), "test", data_dir=None)
    assert found.warning == (SEEN_THRESHOLD if warns else "")
    assert found.unseen_classes == (len({"a", "c"} - set(record["class_names"])) if record else None)
    assert load_evaluation_data(tmp_path, model, str(tmp_path), "train", data_dir=None).warning == ""
    calibrated_on = load_evaluation_data(tmp_path, model, str(tmp_path), "val", data_dir=None)
    chooses = bool(record) and record.get("val_class_names") != ["d", "e"] and "c" not in record["class_names"]
    assert calibrated_on.warning == (SEEN_THRESHOLD if chooses else "")


def test_the_record_of_a_run_or_of_its_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert recorded_data(tmp_path) == {}
    (tmp_path / "data.json").write_text('{"class_names": ["a"]}')
    assert recorded_data(tmp_path) == recorded_data(tmp_path / "model") == {"class_names": ["a"]}
