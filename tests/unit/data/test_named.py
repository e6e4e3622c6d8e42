from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pairsim.data import ClassIndex, load_data, stratified_split
from pairsim.errors import DataError, DatasetNotFoundError


def write_pictures(folder: Path, names: list[str], num: int = 10, mode: str = "L") -> None:
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(num):
            Image.new(mode, (30, 20), color=(place * 40 + number) if mode == "L" else (place, number, 99)).save(
                folder / name / f"{number}.png"
            )


def test_digits_are_split_by_image_once_and_for_all() -> None:
    train, test = load_data("digits", "train"), load_data("digits", "test")
    assert (len(train.dataset), len(test.dataset)) == (1438, 359)
    assert train.image_size == (16, 16)
    assert test.class_names == tuple("0123456789")
    assert (load_data("digits", "test").dataset.images == test.dataset.images).all()
    rows = {image.numpy().tobytes() for image in train.dataset.images}
    # no test image is a training image
    assert sum(image.numpy().tobytes() in rows for image in test.dataset.images) == 0
    with pytest.raises(DataError, match="has no validation split of its own"):
        load_data("digits", "val")


def test_flat_folder_holds_out_a_fifth_of_each_class_by_name(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["cat", "dog"])
    train, test = load_data(tmp_path, "train"), load_data(tmp_path, "test")
    assert (len(train.dataset), len(test.dataset)) == (16, 4)
    assert train.class_names == ("cat", "dog")
    assert (train.image_size, train.channels) == ((20, 30), 1)
    image, label = test.dataset[0]
    assert image.shape == (1, 20, 30)
    assert label == "cat"


def test_an_image_stays_on_its_side_when_others_come(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["cat", "dog"])

    def names(split: Any) -> set[str]:
        dataset = load_data(tmp_path, split).dataset
        return {dataset.dataset.paths[place] for place in dataset.indices}

    before = names("test")
    Image.new("L", (30, 20)).save(tmp_path / "cat" / "new.png")
    assert len(before & names("test")) >= 3  # one may move, where the share is rounded


def test_folder_with_its_own_splits(tmp_path: Path) -> None:
    for split, num in (("train", 6), ("val", 3), ("test", 4)):
        write_pictures(tmp_path / split, ["a", "b"], num, mode="RGB")
    assert [len(load_data(tmp_path, split).dataset) for split in ("train", "val", "test")] == [12, 6, 8]
    loaded = load_data(tmp_path, "train", image_size=(8, 8))
    assert loaded.channels == 3
    assert loaded.dataset[0][0].shape == (3, 8, 8)


def test_large_pictures_are_made_smaller_by_default(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (300, 150)).save(tmp_path / "a" / "1.png")
    assert load_data(tmp_path, "train").image_size == (32, 64)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fashionmnist", "Did you mean fashion-mnist"),
        ("digit", "Did you mean digits"),
        ("zzz", "found neither at 'zzz'.$"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=said):
        load_data(name, "train")


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="found 1 sub-folders and no picture"):
        load_data(tmp_path, "train")
    with pytest.raises(DatasetNotFoundError, match="Use --split train or test"):
        load_data(tmp_path, "val")


def test_no_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def fail(self: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.MNIST, "download", fail)
    with pytest.raises(DatasetNotFoundError) as caught:
        load_data("mnist", "train", data_dir=tmp_path)
    said = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in said
    assert "no route to host" in said
    assert "PAIRSIM_DATA" in said


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_split_is_stratified_seeded_and_whole(fraction: float) -> None:
    labels = np.repeat([0, 1, 2], [50, 20, 1])
    index = ClassIndex.from_labels(labels)
    kept, held = stratified_split(index, fraction, seed=4)
    assert sorted([*kept, *held]) == list(range(71))
    assert [int((labels[held] == c).sum()) for c in range(3)] == [round(50 * fraction), round(20 * fraction), 0]
    assert (stratified_split(index, fraction, seed=4)[1] == held).all()
    assert not np.array_equal(stratified_split(index, fraction, seed=5)[1], held)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_needs_a_share(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"to be in \(0, 1\)"):
        stratified_split(ClassIndex.from_labels(np.array([0, 1])), fraction)
