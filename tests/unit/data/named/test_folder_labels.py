from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from folder_trees import touch

from pairsim.data.named.folder_labels import FolderLabels, label_pictures
from pairsim.errors import DataError
from pairsim.images.folders import scan

QUESTIONS = [
    (["val/a/1.png", "valid/a/2.png", "train/a/3.png"], "one folder for the split val .*, found val and valid"),
    (["Train/a/1.png", "training/a/2.png"], "one folder for the split train .*, found Train and training"),
    (["test/a/1.png", "EVAL/a/2.png", "train/b/3.png"], "one folder for the split test .*, found EVAL and test"),
    (["train/a/1.png", "cat/2.png"], "found train beside cat. Is train a split"),
    (["train/a/1.png", "Test/a/2.png", "cat/2.png", "dog/3.png"], "found Test, train beside cat. Is Test a split"),
    (["Train/1.png", "Test/2.png"], "Expected class folders in .*Test, found pictures directly in it. Is Test a split"),
    (["test/1.png"], "Expected class folders in .*test, found pictures directly in it. Is test a split"),
    (["data/train/a/1.png", "data/test/a/2.png"], "found only data, which holds test, train. Give .*/data"),
    (["1.png", "2.png"], "one sub-folder per class with pictures in it, .* found 2 pictures outside the class folders"),
]


def labelled(folder: Path, level: int = 1) -> FolderLabels:
    return label_pictures(scan(folder), level)


def rows(labels: FolderLabels) -> list[tuple[str, str, Any]]:
    return [(picture.name, picture.label, picture.split) for picture in labels.pictures]


def said(labels: FolderLabels) -> dict[str, int]:
    return {one.reason: one.files + one.folders for one in labels.left_out}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Val", "Test"),
        ("TRAIN", "VALID", "TESTING"),
        ("training", "validation", "eval"),
        ("Training", "dev", "Evaluation"),
    ],
)
def test_names_of_splits(train: str, val: str, test: str, tmp_path: Path) -> None:
    touch(tmp_path, [f"{split}/{name}/1.png" for split in (train, val, test) for name in ("a", "b")])
    touch(tmp_path, ["loose.png", f"{train}/loose.png"])
    labels = labelled(tmp_path)
    assert sorted(rows(labels)) == sorted(
        (f"{folder}/{name}/1.png", name, split)
        for folder, split in ((train, "train"), (val, "val"), (test, "test"))
        for name in ("a", "b")
    )
    assert said(labels) == {"pictures outside the class folders": 1, "pictures outside the folders of the splits": 1}


@pytest.mark.parametrize(("names", "question"), QUESTIONS)
def test_what_is_not_clear_is_asked(names: list[str], question: str, tmp_path: Path) -> None:
    touch(tmp_path, names)
    with pytest.raises(DataError, match=question) as caught:
        labelled(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_folders_with_the_names_of_splits_beside_classes_are_classes_and_this_is_said(tmp_path: Path) -> None:
    touch(tmp_path, ["train/1.png", "car/2.png", "bus/3.png"])
    labels = labelled(tmp_path)
    assert rows(labels) == [("bus/3.png", "bus", None), ("car/2.png", "car", None), ("train/1.png", "train", None)]
    assert labels.notes == ["The folders train are read as classes, because they lie beside others"]


def test_a_test_set_alone(tmp_path: Path) -> None:
    touch(tmp_path, ["test/a/1.png", "test/b/1.png"])
    assert {picture.split for picture in labelled(tmp_path).pictures} == {"test"}


@pytest.mark.parametrize(
    ("level", "classes", "outside"),
    [(1, ["greek", "latin", "runes"], 1), (2, ["greek/alpha", "greek/beta", "latin/a"], 2), (3, ["latin/a/old"], 5)],
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_class_levels(level: int, classes: list[str], outside: int, split: str, tmp_path: Path) -> None:
    names = [
        "loose.png",
        "runes/1.png",
        "greek/alpha/1.png",
        "greek/alpha/2.png",
        "greek/beta/1.png",
        "latin/a/old/1.png",
    ]
    touch(tmp_path, [split + name for name in names])
    labels = labelled(tmp_path, level)
    assert sorted({picture.label for picture in labels.pictures}) == classes
    assert said(labels) == {"pictures outside the class folders": outside}
    number = {1: "3 classes", 2: "1 class"}.get(level)
    example = {1: "greek/alpha", 2: "latin/a/old"}.get(level)
    note = (
        f"Pictures in folders inside the classes, such as {example}, belong to these classes; "
        f"--class-level {level + 1} (class_level={level + 1}) gives {number} instead"
    )
    assert labels.notes == ([note] if number else [])


def test_a_level_without_pictures(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.png", "b/2.png"])
    with pytest.raises(
        DataError,
        match=r"one sub-folder per class at level 2 with .* found 2 pictures outside .* Use a lower --class-level",
    ):
        labelled(tmp_path, 2)
    touch(tmp_path, ["train/3.png"])
    with pytest.raises(DataError, match=r"read as classes, .* others\. Use a lower --class-level \(class_level\)\."):
        labelled(tmp_path, 2)


def test_folders_without_pictures_are_said(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.png", "b/2.png", "notes/x.txt"])
    (tmp_path / "empty" / "er").mkdir(parents=True)
    (tmp_path / "a" / "nothing").mkdir()
    labels = labelled(tmp_path)
    assert said(labels) == {"folders without pictures": 3}
    assert labels.left_out[0].examples == ("a/nothing", "empty", "notes")


def test_pictures_outside_the_class_folders_can_be_classes_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, ["1.png", "a/2.png", "a/inside/3.png"])
    labels = label_pictures(scan(tmp_path), 1, alone=True)
    assert rows(labels) == [("1.png", "1.png", None), ("a/2.png", "a", None), ("a/inside/3.png", "a", None)]
    assert (labels.notes, said(labels)) == ([], {})
    touch(tmp_path, ["splits/train/4.png", "splits/train/a/5.png"])
    assert rows(label_pictures(scan(tmp_path / "splits"), 1, alone=True)) == [("train/a/5.png", "a", "train")]


def test_class_names_need_not_be_utf_8(tmp_path: Path) -> None:
    try:
        touch(tmp_path, ["a/1.png", "b\udcff/2.png"])
    except OSError:
        pytest.skip("this file system has no such names")
    assert [picture.label for picture in labelled(tmp_path).pictures] == ["a", "b\udcff"]


def table(folder: Path, text: str, name: str = "metadata.csv") -> None:
    (folder / name).write_text(text, encoding="utf-8")


def test_a_metadata_file_labels_pictures_wherever_they_are(tmp_path: Path) -> None:
    touch(tmp_path, ["1.png", "x/2.png", "x/y/3.JPG", "x/4.png", "é.png", "notes.txt"])
    table(tmp_path, "label,file_name,text\ncat,1.png,a\ndog,x\\2.png,b\ncat,./x/y/3.JPG,c\ndog,e\u0301.png,d\n")
    labels = labelled(tmp_path)
    assert rows(labels) == [
        ("1.png", "cat", None), ("x/2.png", "dog", None), ("x/y/3.JPG", "cat", None), ("é.png", "dog", None)
    ]  # fmt: skip
    assert said(labels) == {"pictures not listed in metadata.csv": 1}
    assert labels.notes == ["Labels from metadata.csv"]


@pytest.mark.parametrize("name", ["metadata.csv", "METADATA.CSV", "metadata.jsonl"])
def test_a_metadata_file_goes_before_folders_and_its_splits_before_theirs(name: str, tmp_path: Path) -> None:
    touch(tmp_path, ["train/a/1.png", "test/b/2.png"])
    if name.endswith("jsonl"):
        table(tmp_path, '{"file_name": "train/a/1.png", "label": 7, "split": "Validation"}\n\n'
              '{"file_name": "test/b/2.png", "label": "x", "split": "train"}\n', name)  # fmt: skip
    else:
        table(tmp_path, "file_name,label,split\ntrain/a/1.png,7,Validation\ntest/b/2.png,x,train\n", name)
    assert rows(labelled(tmp_path)) == [("test/b/2.png", "x", "train"), ("train/a/1.png", "7", "val")]


def test_splits_of_a_metadata_file_without_splits_are_those_of_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, ["Train/1.png", "Train/2.png", "Test/3.png"])
    table(tmp_path, "file_name,label\nTrain/1.png,a\nTrain/2.png,b\nTest/3.png,a\n")
    assert [split for *_, split in rows(labelled(tmp_path))] == ["test", "train", "train"]
    touch(tmp_path, ["4.png"])
    table(tmp_path, "file_name,label\nTrain/1.png,a\nTrain/2.png,b\n4.png,a\n")
    with pytest.raises(
        DataError, match=r"found the folder Train and 4\.png\. Is Train a split\? Then add a column split"
    ):
        labelled(tmp_path)


def test_metadata_files_in_the_folders_of_splits(tmp_path: Path) -> None:
    touch(tmp_path, ["train/1.png", "train/2.png", "train/3.png", "test/a/4.png", "test/5.png"])
    table(tmp_path / "train", "file_name,label,group\n1.png,a,g\n2.png,b,\n")
    labels = labelled(tmp_path)
    assert rows(labels) == [("test/a/4.png", "a", "test"), ("train/1.png", "a", "train"), ("train/2.png", "b", "train")]
    assert [picture.group for picture in labels.pictures] == [None, "g", None]
    assert said(labels) == {"pictures outside the class folders": 1, "pictures not listed in train/metadata.csv": 1}


def test_a_metadata_file_without_labels_beside_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.png", "b/2.png"])
    table(tmp_path, "file_name,text\na/1.png,a cat\n")
    labels = labelled(tmp_path)
    assert rows(labels) == [("a/1.png", "a", None), ("b/2.png", "b", None)]
    assert labels.notes == [
        "metadata.csv is not used, as it has the columns file_name, text, and no rows with file_name and label: "
        "classes are the folders"
    ]


def test_a_metadata_file_without_labels_and_no_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, ["1.png"])
    table(tmp_path, "file_name,text\n1.png,a cat\n")
    with pytest.raises(DataError, match=r"outside the class folders \(1\.png\)\. metadata\.csv is not used, as it has"):
        labelled(tmp_path)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("absent.png,a,train", r"row 3 of .*metadata\.csv to name a picture of .*absent\.png does not exist\. Fix it"),
        ("../1.png,a,train", r"row 3 .*does not exist"),
        (
            "/data/1.png,a,train",
            r"row 3 .*/data/1\.png is not relative: paths begin in the folder of",
        ),
        ("notes.txt,a,train", r"row 3 .*notes\.txt is not read as one: it is hidden, has another"),
        ("./1.png,b,train", r"row 3 of .* to name another picture than row 2, found 1\.png twice\. Remove one"),
        ("2.png,a,trial", r"split in row 3 of .* to be train, val or test, got 'trial'\. Change it"),
        ("2.png,a,", r"Expected a split in row 3 of .*, found none"),
        ("2.png,,train", r"Expected a label in row 3 of .*, found none"),
        (",a,train", r"Expected a file_name in row 3 of .*, found none"),
    ],
)
def test_wrong_rows(row: str, expected: str, tmp_path: Path) -> None:
    touch(tmp_path, ["1.png", "2.png", "notes.txt"])
    table(tmp_path, f"file_name,label,split\n1.png,a,train\n{row}\n")
    with pytest.raises(DataError, match=expected) as caught:
        labelled(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_what_does_not_go_together(tmp_path: Path) -> None:
    touch(tmp_path, ["train/1.png", "test/2.png"])
    table(tmp_path / "train", "file_name,label,split\n1.png,a,test\n")
    with pytest.raises(DataError, match=r"row 2 of .* to have the split of its folder, train, found test"):
        labelled(tmp_path)
    table(tmp_path, "file_name,label\ntrain/1.png,a\n")
    with pytest.raises(DataError, match=r"class folders for the class level 2, found labels in metadata\.csv"):
        labelled(tmp_path, 2)
    table(tmp_path, "", "metadata.jsonl")
    with pytest.raises(DataError, match=r"Expected one metadata file in .*, found metadata\.csv and metadata\.jsonl"):
        labelled(tmp_path)


def test_classes_of_different_splits_that_differ_only_in_case(tmp_path: Path) -> None:
    touch(tmp_path, ["train/Lemon/1.png", "train/a/1.png", "train/A/1.png", "test/lemon/1.png", "test/a/1.png"])
    if len(list((tmp_path / "train").iterdir())) < 3:
        pytest.skip("this file system does not tell case")
    labels = labelled(tmp_path)
    assert labels.notes == [
        "Classes of different splits differ only in case, such as Lemon and lemon: rename one if they are the same"
    ]
