from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_trees import locked
from PIL import Image
from small_models import small_model

from pairsim import TrainConfig, Trainer
from pairsim.data import load_data, read_labels
from pairsim.data.image_sets import subset
from pairsim.data.splits import read_split
from pairsim.errors import DataError, DatasetNotFoundError, ImageReadError
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


@pytest.mark.parametrize("channels", [None, 1])
def test_pictures_are_fitted_as_asked_for(tmp_path: Path, channels: int | None) -> None:
    write_pictures(tmp_path, ["cat", "dog"])
    for path in tmp_path.rglob("*.png"):
        Image.new("L", (30, 10)).save(path)
    loaded = load_data(tmp_path, "train", image_size=(20, 30), channels=channels, fit="pad")
    assert (loaded[0][0][0, :, 0] == 255).sum() == 10
    assert (load_data(tmp_path, "train", image_size=(20, 30))[0][0] == 0).all()


def test_large_pictures_are_made_smaller_by_default(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("L", (300, 150)).save(tmp_path / "a" / "1.png")
    assert load_data(tmp_path, "train").image_size == (32, 64)


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(
        DataError, match=r"Expected one sub-folder per class with pictures in .*, found none\. Choose another folder"
    ):
        load_data(tmp_path, "train")
    write_pictures(tmp_path, ["b"], 2)
    with pytest.raises(DatasetNotFoundError, match="Use the split train"):
        load_data(tmp_path, "val")


def test_missing_splits_say_which_are_there(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train", ["a", "b"], 2)
    write_pictures(tmp_path / "val", ["a", "b"], 2)
    with pytest.raises(
        DatasetNotFoundError, match=r"Expected a folder .*test, found none\. Use the split train or val\."
    ):
        load_data(tmp_path, "test")
    with pytest.raises(ValueError, match="Expected split to be one of train, val, test, all, got 'both'"):
        load_data(tmp_path, "both")  # type: ignore[arg-type]


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


def test_a_folder_in_a_locked_folder_is_not_absent(tmp_path: Path) -> None:
    write_pictures(tmp_path / "shut" / "data", ["a", "b"], 2)
    load_data(tmp_path / "shut" / "data", "train")  # imports what it needs
    with locked(tmp_path / "shut"), pytest.raises(ImageReadError, match=r"read the folder .*data, but permission was"):
        load_data(tmp_path / "shut" / "data", "train")


@pytest.mark.parametrize("name", [".", "train", "test", "train/a"])
def test_locked_folders(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    for split in ("train", "test"):
        write_pictures(data / split, ["a", "b"], 2)
    load_data(data, "train")
    for split in ("train", "test"):  # also the one that is not locked, as the account would be wrong
        with (
            locked(data / name),
            pytest.raises(ImageReadError, match=r"read the folder .*, but permission was denied\."),
        ):
            load_data(data, split)  # type: ignore[arg-type]


def test_linked_class_folders_and_pictures_are_read(tmp_path: Path) -> None:
    write_pictures(tmp_path / "elsewhere", ["cats", "pool"], 5)
    write_pictures(tmp_path / "data", ["dog"], 5)
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "elsewhere" / "cats", target_is_directory=True)
    (tmp_path / "data" / "emu").mkdir()
    for number in range(5):
        (tmp_path / "data" / "emu" / f"{number}.png").symlink_to(tmp_path / "elsewhere" / "pool" / f"{number}.png")
    train = load_data(tmp_path / "data", "train")
    assert train.class_names == ("cat", "dog", "emu")
    assert train.index.counts.tolist() == [4, 4, 4]


def test_groups_are_in_train_or_test(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["pictures"], 40)
    rows = [f"pictures/{number}.png,{'ab'[number % 2]},g{number // 4}\n" for number in range(40)]
    (tmp_path / "metadata.csv").write_text("file_name,label,group\n" + "".join(rows))
    train, test = load_data(tmp_path, "train"), load_data(tmp_path, "test")
    assert train.groups is not None
    assert test.groups is not None
    assert not set(train.groups) & set(test.groups)
    assert (len(train), len(test), len(set(test.groups))) == (32, 8, 2)
    assert train.account is not None
    assert "in whole groups" in train.account.line("train")


def test_pictures_without_a_group_are_groups_of_their_own(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["pictures"], 20)
    rows = [f"pictures/{number}.png,{'ab'[number % 2]},{'same' if number < 2 else ''}\n" for number in range(20)]
    (tmp_path / "metadata.csv").write_text("file_name,label,group\n" + "".join(rows))
    names = [set(map(os.path.basename, load_data(tmp_path, split).dataset.paths)) for split in ("train", "test")]
    assert len(names[0] & {"0.png", "1.png"}) in (0, 2)
    assert 4 <= len(names[1]) <= 6
    assert sum(map(len, names)) == 20


def test_training_keeps_groups_out_of_validation(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", ["pictures"], 60)
    rows = [f"pictures/{number}.png,{'ab'[number % 2]},g{number // 6}\n" for number in range(60)]
    (tmp_path / "data" / "metadata.csv").write_text("file_name,label,group\n" + "".join(rows))
    train = load_data(tmp_path / "data", "train", image_size=(8, 8))
    assert train.groups is not None
    config = TrainConfig(out=tmp_path / "run", epochs=1, batch_size=8, val_fraction=0.2, device="cpu")
    Trainer(small_model(), config, train=train).fit()
    split = read_split(tmp_path / "run")
    assert split is not None
    held = set(train.groups[split.held_out])
    assert held
    assert not held & set(np.delete(train.groups, split.held_out))


def test_too_few_pictures_to_hold_out(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["a", "b"], 2)
    train = load_data(tmp_path, "train")
    assert len(train) == 4
    assert train.account is not None
    assert "4 pictures of 2 classes (train 4)" in train.account.line("train")
    with pytest.raises(DataError, match=r"Expected images to hold out of .* for test, found too few"):
        load_data(tmp_path, "test")


def test_all_pictures_of_a_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "flat", ["cat", "dog"], 10)
    loaded = load_data(tmp_path / "flat", "all")
    halves = [load_data(tmp_path / "flat", split).dataset.paths for split in ("train", "test")]
    assert sorted(loaded.dataset.paths) == sorted([*halves[0], *halves[1]])
    assert loaded.account is not None
    assert loaded.account.line() == f"{tmp_path / 'flat'}: 20 pictures of 2 classes."
    write_pictures(tmp_path / "own" / "train", ["a", "b"], 3)
    write_pictures(tmp_path / "own" / "test", ["a", "c"], 2)
    loaded = load_data(tmp_path / "own", "all")
    assert (len(loaded), loaded.class_names) == (10, ("a", "b", "c"))
    assert loaded.account is not None
    assert dict(loaded.account.splits) == {"train": 6, "test": 4}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_groups_of_another_column(tmp_path: Path, name: str) -> None:
    write_pictures(tmp_path, ["pictures"], 12)
    rows = [(f"pictures/{number}.png", "ab"[number % 2], f"p{number // 4}", "x") for number in range(12)]
    columns = ("file_name", "label", "person", "group")
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    if name == "metadata.csv":
        lines = [",".join(columns).replace("person", "Person"), *map(",".join, rows)]
    (tmp_path / name).write_text("\n".join(lines))
    loaded = load_data(tmp_path, "all", groups="person")
    assert loaded.groups is not None
    assert [os.path.basename(group) for group in loaded.groups.tolist()] == [
        f"group p{int(Path(path).stem) // 4}" for path in loaded.dataset.paths
    ]
    assert loaded.account is not None
    assert "3 groups by the column person" in loaded.account.line()
    by_default = load_data(tmp_path, "all").groups
    assert by_default is not None
    assert set(by_default) == {"group x"}


def test_groups_of_a_pattern(tmp_path: Path) -> None:
    write_pictures(tmp_path, ["w1_forged", "w1_genuine", "w2_forged", "w2_genuine"], 5)
    parts = [load_data(tmp_path, split, groups=r"(\d)\.(png)").groups for split in ("train", "test")]
    assert [len(set(part if part is not None else ())) for part in parts] == [4, 1]
    loaded = load_data(tmp_path, "all", groups="(w.)_")
    assert loaded.groups is not None
    assert sorted(set(loaded.groups)) == ["group w1", "group w2"]
    assert [group[-2:] for group in loaded.groups] == [label[:2] for label in loaded.targets]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("w", "All pictures are in one group by the pattern w: it cannot be split"),
        (r".*/.*", "Each picture is a group of its own by the pattern .*/.*: no picture is kept with another"),
        (r"w\d", r"3 groups by the pattern w\d"),
    ],
)
def test_what_the_pattern_does_is_said(tmp_path: Path, pattern: str, said: str) -> None:
    write_pictures(tmp_path, ["w1_a", "w2_a", "w3_a"], 2)
    loaded = load_data(tmp_path, "all", groups=pattern)
    assert loaded.account is not None
    assert said in loaded.account.line()


def test_groups_in_several_splits_of_a_folder_are_said(tmp_path: Path) -> None:
    for split, names in (("train", ["w1_a", "w2_a"]), ("test", ["w1_b", "w3_b"])):
        write_pictures(tmp_path / split, names, 2)
    account = load_data(tmp_path, "test", groups=r"w\d").account
    assert account is not None
    assert "1 of the groups are in several splits of the folder, such as w1" in account.line("test")


def test_named_data_has_no_groups() -> None:
    with pytest.raises(ValueError, match=r"Expected a folder with groups, got the named dataset digits\. Leave out"):
        load_data("digits", "train", groups="x")
