"""Pictures that a run was trained on are recognised by the content of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from picture_files import folder_of_classes, write_pictures

from pairsim.data import ImageFiles, ImageTensors, PairDataset, load_data
from pairsim.errors import RunError
from pairsim.runs.trained_pictures import KEY, describe_trained, paths_of, warning_of_trained

ALL = "Warning: the model was trained on these images. Expect more errors on others."


def some(folder: Path, number: int) -> list[str]:
    return list(map(str, write_pictures(folder, [f"{index}.png" for index in range(number)])))


def warning(record: dict[str, Any], paths: list[str], *, same: bool = False) -> str:
    return warning_of_trained(record, ImageFiles(paths, [0] * len(paths)), is_training_data=same)


def test_renamed_and_copied_pictures_are_known(tmp_path: Path) -> None:
    paths = some(tmp_path, 6)
    record, copies = describe_trained([*paths[:4], str(tmp_path / "absent.png")], paths[4:])
    assert copies == ""
    assert warning(record, paths[4:]) == ""
    assert warning(record, paths) == (
        "Warning: the model was trained on 4 of these 6 pictures. Expect more errors on others."
    )
    renamed, copied = tmp_path / "renamed.png", tmp_path / "copied.png"
    Path(paths[0]).rename(renamed)
    copied.write_bytes(Path(paths[1]).read_bytes())
    assert "on 2 of these 3 pictures." in warning(record, [str(renamed), str(copied), paths[5]])
    Path(paths[5]).write_bytes(b"cannot be decoded")
    assert warning(record, paths[5:]) == ""
    assert warning(record, paths[5:], same=True) == ""  # the hashes say more


def test_images_without_files_and_runs_without_hashes(tmp_path: Path) -> None:
    tensors = ImageTensors(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 1])
    assert describe_trained(paths_of(tensors), []) == ({}, "")
    for is_training_data, said in ((True, ALL), (False, "")):
        assert warning_of_trained({KEY: ""}, tensors, is_training_data=is_training_data) == said
        assert warning({}, some(tmp_path, 2), same=is_training_data) == said


def test_training_pictures_among_those_of_validation_are_named(tmp_path: Path) -> None:
    paths = some(tmp_path, 6)
    absent = str(tmp_path / "absent.png")
    for validated, said in (
        ([paths[3], absent], "1 of 1 validation picture is also a training picture"),
        (paths[2:], "2 of 4 validation pictures are also training pictures"),
    ):
        assert describe_trained(paths[:4], validated)[1] == (
            f"Warning: {said}, in equal files. Expect more errors on others. `pairsim duplicates` names them."
        )


def test_the_pictures_of_pairs_are_those_that_pairs_have(tmp_path: Path) -> None:
    files = load_data(folder_of_classes(tmp_path, "ab", number=5), "all").dataset
    pairs = PairDataset.from_pairs(files, [0, 1], [2, 0], [1, 0])
    assert paths_of(pairs) == [str(tmp_path / "a" / f"{number}.png") for number in range(3)]
    assert paths_of(files) == files.paths


@pytest.mark.parametrize("damaged", ["!", "YQ==", 3])
def test_damaged_hashes_are_named(tmp_path: Path, damaged: Any) -> None:
    with pytest.raises(RunError, match=r"Expected hashes of pictures as trained_pictures in the data\.json of the run"):
        warning({KEY: damaged}, some(tmp_path, 1))
