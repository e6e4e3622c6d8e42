"""Classes that a run keeps for validation and for the test: chosen, recorded, found again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import folder_of_classes, write_pictures

from pairsim._common import storage
from pairsim.data import ImageTensors, LabelledData, load_data
from pairsim.data.splits import ValidationSplit
from pairsim.errors import DataError, RunError
from pairsim.runs.class_splits import ClassSplit, check_same_classes, held_classes

LETTERS = "abcdefghij"


def labelled(names: list[str], groups: Any = None) -> LabelledData:
    """Labelled data without pixels to speak of."""
    return LabelledData(
        dataset=ImageTensors(torch.zeros(len(names), 1, 1, 1, dtype=torch.uint8), names),
        class_names=tuple(sorted(set(names))),
        image_size=(1, 1),
        channels=1,
        source="here",
        groups=None if groups is None else np.array(groups),
    )


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(2, 4), min_size=8, max_size=20),
    unseen=st.sampled_from([0.25, 0.4]),
    val_fraction=st.sampled_from([0.05, 0.2, 0.4]),
    seed=st.integers(0, 2),
    tied=st.booleans(),
)
def test_every_picture_is_in_one_split(
    counts: list[int], unseen: float, val_fraction: float, seed: int, tied: bool
) -> None:
    names = [f"c{number:02d}" for number, count in enumerate(counts) for _ in range(count)]
    groups = [f"g{int(name[1:]) // 2}" for name in names] if tied else None
    images = labelled(names, groups)
    if tied and len(counts) < 12:
        return  # there may be too few sets of two classes
    split = ClassSplit.of(images, unseen, val_fraction=val_fraction, seed=seed)
    parts = split.parts(images, "here")
    assert list(parts) == ["train", "val", "test"]
    assert sorted(name for part in parts.values() for name in part.targets.tolist()) == names
    classes = [set(part.targets.tolist()) for part in parts.values()]
    assert sum(map(len, classes)) == len(counts)
    assert [sorted(part) for part in classes] == [list(split.train), list(split.val), list(split.test)]
    assert all(len(part) >= 2 for part in classes)
    if tied:
        sides = [set(part.groups.tolist() if part.groups is not None else []) for part in parts.values()]
        assert sum(map(len, sides)) == len(set().union(*sides))
    else:
        assert len(classes[2]) == int(len(counts) * unseen + 0.5)
        assert len(classes[1]) == max(2, int((len(counts) - len(classes[2])) * val_fraction + 0.5))
    # more images of the same classes move nothing, and another seed moves something
    assert (
        ClassSplit.of(labelled(names * 2, groups and groups * 2), unseen, val_fraction=val_fraction, seed=seed) == split
    )
    others = [ClassSplit.of(images, unseen, val_fraction=val_fraction, seed=seed + more) for more in range(1, 9)]
    assert any(other != split for other in others)


def test_the_account_of_every_picture(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, LETTERS, number=3)
    (tmp_path / "notes.txt").touch()
    images = load_data(tmp_path, "all", groups="[a-j]")
    parts = ClassSplit.of(images, 0.3).parts(images, "name")
    account = parts["test"].account
    assert account is not None
    assert account.line("train", "val", "test") == (
        f"{tmp_path}: 30 pictures of 10 classes: 15 of 5 classes for training, 6 of 2 for validation, "
        "9 of 3 for the test. 10 groups by the pattern [a-j]. Left out: 1 file ending in .txt (notes.txt)."
    )
    assert [one.files for one in account.left_out_of("test")] == [1, 15, 6]


def test_named_data_has_an_account_too() -> None:
    pytest.importorskip("sklearn")
    images = load_data("digits", "all")
    parts = ClassSplit.of(images, 0.4).parts(images, "digits")
    assert sum(map(len, parts.values())) == len(images) == 1797
    account = parts["train"].account
    assert account is not None
    assert account.line("train", "val", "test").startswith("digits: 1,797 pictures of 10 classes: ")
    assert account.line("train", "val", "test").endswith(" of 4 for the test; 0 left out.")


@pytest.mark.parametrize(
    ("names", "unseen", "said"),
    [
        (
            "aabbccddee",
            0.4,
            r"Expected at least 6 classes to keep some unseen, two each .*, found 5 in here\. Add classes",
        ),
        ("aabbccddeeff", 0.5, r"besides those of the test, found 3 classes for both\. Use a smaller --unseen"),
        ("aabbccddeeff", 0.99, "Expected at least two unseen and two seen classes"),
        ("abcdefgh", 0.4, r"Expected a class with two images among the \d of train, .* Use another --seed"),
    ],
)
def test_too_few_classes_or_images(names: str, unseen: float, said: str) -> None:
    with pytest.raises((DataError, ValueError), match=said):
        ClassSplit.of(labelled(list(names)), unseen)


def test_groups_that_leave_too_little() -> None:
    names = [name for name in LETTERS for _ in range(2)]
    with pytest.raises(ValueError, match="Groups bind the classes into 1 set"):
        ClassSplit.of(labelled(names, ["x"] * 20), 0.3)
    with pytest.raises(DataError, match="Expected two classes each for training and validation, that share no group"):
        ClassSplit.of(labelled(names, ["x"] * 8 + ["y"] * 12), 0.3)
    with pytest.raises(ValueError, match=r"to be in \(0, 1\), got 2"):
        ClassSplit.of(labelled(names), 0.3, val_fraction=2.0)


def test_a_folder_with_splits_of_its_own(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder_of_classes(tmp_path / split, LETTERS, number=2)
    said = r"Expected a folder without splits to choose classes for the test from, found train, test in .* Leave out"
    with pytest.raises(DataError, match=said):
        ClassSplit.of(load_data(tmp_path, "all"), 0.3)


def test_classes_that_come_and_go(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, LETTERS, number=2)
    images = load_data(tmp_path, "all")
    split = ClassSplit.of(images, 0.3)
    before = {name: set(part.dataset.paths) for name, part in split.parts(images, "x").items()}
    shutil.rmtree(tmp_path / split.train[0])
    folder_of_classes(tmp_path, ["new"], number=3)
    write_pictures(tmp_path, [f"{split.val[0]}/more.png"])
    parts = split.parts(load_data(tmp_path, "all"), "x")
    after = {name: set(part.dataset.paths) for name, part in parts.items()}
    assert {Path(path).parent.name for path in after["test"] - before["test"]} == {"new"}
    assert {Path(path).name for path in after["val"] - before["val"]} == {"more.png"}
    assert len(before["train"] - after["train"]) == 2
    account = parts["test"].account
    assert account is not None
    line = account.line("test")
    assert "New since the training, for the test: new. " in line
    assert f"Not there any more: {split.train[0]}. " in line


def test_a_new_class_that_shares_a_group_with_training(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, [f"w{letter}_1" for letter in LETTERS], number=2)
    images = load_data(tmp_path, "all", groups="(w.)_")
    split = ClassSplit.of(images, 0.3)
    folder_of_classes(tmp_path, [f"{split.train[0][:2]}_2"], number=2)
    images = load_data(tmp_path, "all", groups="(w.)_")
    said = (
        f"Expected each group in one split of the run, found 1 in several, such as group {split.train[0][:2]} in train"
    )
    with pytest.raises(DataError, match=said):
        split.parts(images, "x")


def test_it_is_recorded(tmp_path: Path) -> None:
    split = ClassSplit.of(labelled([name for name in LETTERS for _ in range(2)]), 0.3)
    record = {"class_names": list(split.train), "class_split": split.to_record()}
    assert ClassSplit.from_record(record, tmp_path) == split
    assert ClassSplit.from_record({"class_names": []}, tmp_path) is None
    damaged: Any
    for damaged in ({"val": [], "test": []}, {"unseen": "x", "val": [], "test": []}, [], {"unseen": 0.5, "val": 3}):
        with pytest.raises(RunError, match=r"Expected the classes of each split of a run in .*, but: "):
            ClassSplit.from_record({**record, "class_split": damaged}, tmp_path)


def test_a_run_is_resumed_with_the_same_classes(tmp_path: Path) -> None:
    names = [name for name in LETTERS for _ in range(2)]
    split = ClassSplit.of(labelled(names), 0.3)
    check_same_classes(tmp_path, split, None)  # nothing there

    def begin(split: ClassSplit | None, **more: Any) -> None:
        record = {"class_names": list(LETTERS), **more}
        if split is not None:
            record |= {"class_names": list(split.train), "class_split": split.to_record()}
        storage.write_file(tmp_path / "data.json", storage.to_json(record))

    begin(split)
    other = ClassSplit.of(labelled(names), 0.4)
    check_same_classes(tmp_path, other, None)  # no checkpoint, so it begins anew
    (tmp_path / "checkpoints").mkdir()
    check_same_classes(tmp_path, split, None)
    again = "Give what it was begun with, or begin again with --resume never or another --out"
    with pytest.raises(
        RunError, match=f"with the same classes in train, found 0 others .none. and 1 missing .*{again}"
    ):
        check_same_classes(tmp_path, other, None)
    with pytest.raises(RunError, match=f"to resume .* with --unseen, as it was begun, got it without.*{again}"):
        check_same_classes(tmp_path, None, None)
    with pytest.raises(RunError, match=f"to resume .* with groups None, got x.*{again}"):
        check_same_classes(tmp_path, split, "x")
    begin(None, groups="y")
    check_same_classes(tmp_path, None, "y")
    with pytest.raises(RunError, match="without --unseen, as it was begun, got it with"):
        check_same_classes(tmp_path, split, "y")


def test_classes_that_were_split_off_whole() -> None:
    images = labelled(list("aabbccdd"))
    assert held_classes(images, None) == {}
    assert held_classes(images, ValidationSplit(np.array([0, 2, 5]), {})) == {}
    found = held_classes(images, ValidationSplit(np.array([2, 3, 4, 5, 7]), {}))
    assert found == {"class_names": ["a", "d"], "val_class_names": ["b", "c"]}
