from __future__ import annotations

from pathlib import Path

import pytest
from folder_trees import touch
from picture_files import write_pictures

from pairsim.data import load_data
from pairsim.data.named.folder_account import FolderAccount
from pairsim.images.folders import LeftOut


def account_of(folder: Path) -> FolderAccount:
    account = load_data(folder, "train").account
    assert account is not None
    return account


def test_a_line_for_the_splits_that_are_used(tmp_path: Path) -> None:
    write_pictures(
        tmp_path, [f"{split}/{name}/{k}.png" for split in ("Train", "valid", "test") for name in "ab" for k in range(3)]
    )
    touch(tmp_path, ["loose.png", "x.txt", ".git/a", ".git/b"])
    account = account_of(tmp_path)
    found = f"{tmp_path}: 19 pictures, 18 of them of 2 classes (train 6, val 6, test 6)."
    rest = (
        "Left out: 1 picture outside the folders of the splits (loose.png), 1 file ending in .txt (x.txt), "
        "2 hidden and system files (.git, ...)."
    )
    assert account.line("train", "val") == f"{found} Splits not used: test. {rest}"
    assert account.line("test") == f"{found} Splits not used: train, val. {rest}"
    assert account.line("train", "val", "test") == f"{found} {rest}"
    assert sum(one.files for one in account.left_out_of("train", "val", "test")) + 18 == 22
    assert account.left_out_of("train")[-2:] == (
        LeftOut("pictures of the split val", 6), LeftOut("pictures of the split test", 6)
    )  # fmt: skip


def test_images_that_are_held_out(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"{name}/{k}.png" for name in "ab" for k in range(5)])
    assert account_of(tmp_path).line("train", "test") == (
        f"{tmp_path}: 10 pictures of 2 classes (train 8, test 2). Test images are held out: one in five of each class."
    )


@pytest.mark.parametrize("name", ["digits"])
def test_other_data_has_none(name: str) -> None:
    pytest.importorskip("sklearn")
    assert load_data(name, "train").account is None


def test_a_folder_of_too_few_pictures_for_a_test_says_so(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"{name}/{k}.png" for name in "ab" for k in range(2)])
    said = "No test images are held out: each class would lose all or none of its images."
    assert account_of(tmp_path).line("train") == f"{tmp_path}: 4 pictures of 2 classes (train 4). {said}"
