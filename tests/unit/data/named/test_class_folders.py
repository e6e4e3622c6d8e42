from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pairsim.data import load_data, read_labels
from pairsim.data.image_sets import subset
from pairsim.errors import DataError, DatasetNotFoundError
from pairsim.images import Preprocessing


def write_pictures(folder: Path, names: list[str], num: int = 10, mode: str = "L") -> None:
    for level, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(num):
            Image.new(mode, (30, 20), color=(level * 40 + number) if mode == "L" else (level, number, 99)).save(
                folder / name / f"{number}.png"
            )


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
        return set(load_data(tmp_path, split).dataset.paths)

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


def test_pictures_are_read_as_a_model_reads_them(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["cat", "dog"], mode="RGB")
    preprocessing = Preprocessing(image_size=(9, 9), channels=1, fit="pad", interpolation="bicubic")
    for split in ("train", "test"):
        loaded = load_data(tmp_path, split, preprocessing=preprocessing)
        assert (loaded.image_size, loaded.channels) == ((9, 9), 1)
        part = subset(loaded.dataset, np.array([1, 0]))
        for dataset in (loaded.dataset, part):
            for (image, _), path in zip(dataset, dataset.paths, strict=True):
                assert torch.equal(image, preprocessing.read(path))
                assert (image[0, 0] == 255).all()


@pytest.mark.parametrize("size", [None, (20, 30)])
def test_pictures_are_read_with_white(tmp_path: Path, size: tuple[int, int] | None) -> None:
    write_pictures(tmp_path, ["cat", "dog"])
    pixels = np.random.default_rng(0).integers(0, 4096, (20, 30), dtype=np.uint16)
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(pixels).save(path)
    loaded = load_data(tmp_path, "train", image_size=size, white=4095)
    assert (loaded.image_size, loaded.channels) == ((20, 30), 1)
    for dataset in (loaded, subset(loaded, np.array([1, 0]))):
        for number in range(len(dataset)):
            assert dataset[number][0][0].tolist() == (pixels >> 4).tolist()


def test_large_pictures_are_made_smaller_by_default(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (300, 150)).save(tmp_path / "a" / "1.png")
    assert load_data(tmp_path, "train").image_size == (32, 64)


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="found 1 sub-folders and no picture"):
        load_data(tmp_path, "train")
    with pytest.raises(DatasetNotFoundError, match="Use the split train or test"):
        load_data(tmp_path, "val")


def test_missing_splits_say_which_are_there(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", ["a", "b"], 2)
    write_pictures(tmp_path / "val", ["a", "b"], 2)
    with pytest.raises(
        DatasetNotFoundError, match=r"Expected a folder .*test, found none\. Use the split train or val\."
    ):
        load_data(tmp_path, "test")
    with pytest.raises(ValueError, match="Expected split to be one of train, val, test, got 'all'"):
        load_data(tmp_path, "all")  # type: ignore[arg-type]


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a", "b", ".trash"], 3)
    (tmp_path / "a" / "._0.png").write_bytes(b"what macOS leaves")
    write_pictures(tmp_path / "a", [".ipynb_checkpoints"], 1)
    train, test = load_data(tmp_path, "train"), load_data(tmp_path, "test")
    assert len(train.dataset) + len(test.dataset) == 6
    assert train.class_names == ("a", "b")


def test_pictures_in_folders_below_a_class_belong_to_it(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", ["day", "night"], 5)
    write_pictures(tmp_path, ["b"], 5)
    assert read_labels(load_data(tmp_path, "train").dataset).tolist() == ["a"] * 8 + ["b"] * 4
