"""All commands that read a folder say the same of it: how many pictures it has and what is left out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from folder_trees import locked, touch
from picture_files import write_pictures
from run_command import Result, failure, here

PICTURES = [f"{split}/{name}/{k}.png" for split, n in (("Train", 8), ("Test", 4)) for name in "ab" for k in range(n)]
LOOSE = ["loose.png", "Train/loose.jpg", "Train/a/in/deep.bmp", "Test/b/x.TGA"]
OTHERS = ["x.txt", "Train/a/x.eps", "photo", ".git/x", "@eaDir/a.png", "Train/a/Thumbs.db", "Test/b/@eaDir/1.png"]
NUM_FOUND, NUM_LEFT_OUT = len(PICTURES) + len(LOOSE), len(OTHERS) + 2  # a broken link, and a second path to a picture
TRAIN = ("--epochs", "1", "--embedding-dim", "4", "--device", "cpu", "--image-size", "16", "--channels", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files of all kinds, and a run on it."""
    folder = tmp_path_factory.mktemp("account")
    write_pictures(folder / "data", [*PICTURES, *LOOSE], (16, 16))
    dark = [name for name in [*PICTURES, *LOOSE] if "/b/" in name]
    write_pictures(folder / "data", dark, (16, 16), brightest=60)  # a net has to tell the classes apart
    touch(folder / "data", OTHERS)
    (folder / "data" / "gone.png").symlink_to("nothing")
    (folder / "data" / "again.png").symlink_to("loose.png")
    (folder / "data" / "loop").symlink_to("..", target_is_directory=True)
    done = here("train", "data", "--out", "run", *TRAIN, "--no-report", "--json", cwd=folder)
    assert done.status == 0, done.err
    (folder / "trained.json").write_text(json.dumps([done.out, done.err]))
    return folder


def of_labels(command: str) -> list[str]:
    """The arguments of a command that reads classes, and of one that reads all pictures."""
    return {
        "evaluate": ["evaluate", "run", "data"],
        "report": ["report", "run", "data", "--out", "page.html"],
        "calibrate": ["calibrate", "run", "data", "--split", "test"],
        "duplicates": ["duplicates", "data"],
        "search": ["search", "run", "data", "data/loose.png"],
        "encode": ["encode", "run", "data", "--out", "e.npz"],
    }[command]


def run_command(command: str, place: Path) -> Result:
    if command == "train":
        return Result(0, *json.loads((place / "trained.json").read_text()))
    done = here(*of_labels(command), "--json", cwd=place)
    assert done.status == 0, done.err
    return done


@pytest.mark.parametrize("command", ["train", "evaluate", "report", "calibrate", "duplicates", "search", "encode"])
def test_all_commands_agree(command: str, place: Path) -> None:
    done = run_command(command, place)
    lines = [line for line in done.err.splitlines() if line.startswith("data: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"data: {NUM_FOUND} pictures")
    everywhere = (
        "1 file ending in .eps (Train/a/x.eps), 1 file ending in .txt (x.txt), 1 file without an ending (photo), "
        "4 hidden and system files (.git, @eaDir, Test/b/@eaDir, ...), 1 broken link (gone.png), "
        "2 links to what is there anyway or to a folder above (again.png, loop)."
    )
    assert lines[0].endswith(everywhere)
    files = sum(one["files"] for one in done.json["left_out"])
    used = {"train": 17, "evaluate": 9, "report": 9, "calibrate": 9}.get(command, NUM_FOUND)
    assert used + files == NUM_FOUND + NUM_LEFT_OUT
    reasons = {one["reason"]: one["files"] for one in done.json["left_out"]}
    if command in ("train", "evaluate", "report", "calibrate"):
        assert "26 of them of 2 classes (train 17, test 9)" in lines[0]
        unused = "test" if command == "train" else "train"
        assert f"Splits not used: {unused}." in lines[0]
        assert reasons[f"pictures of the split {unused}"] == {"train": 17, "test": 9}[unused]
        assert reasons["pictures outside the class folders"] == 1
        assert reasons["pictures outside the folders of the splits"] == 1
    else:
        assert "of them" not in lines[0]
    key = {"duplicates": "num_images", "search": "num_images", "encode": "num_images", "evaluate": "num_images"}
    if command in key:
        assert done.json[key[command]] == used


@pytest.mark.parametrize("command", ["evaluate", "report", "calibrate"])
def test_data_that_is_no_folder_has_no_account(command: str, run: Path) -> None:
    done = here(*[str(run) if one == "run" else "digits" if one == "data" else one for one in of_labels(command)],
                "--json", cwd=run.parent)  # fmt: skip
    assert done.status == 0, done.err
    assert done.json["left_out"] == []
    assert not [line for line in done.err.splitlines() if not line or " pictures" in line]


@pytest.mark.parametrize("command", ["train", "evaluate", "report", "calibrate", "duplicates", "search", "encode"])
@pytest.mark.parametrize("name", ["data", "data/Train", "data/Train/a"])
def test_locked_folders_are_never_passed_over(command: str, name: str, place: Path) -> None:
    arguments = ["train", "data", "--out", "other", *TRAIN] if command == "train" else of_labels(command)
    with locked(place / name):
        done = here(*arguments, cwd=place)
    said = failure(done, 1)
    assert re.search(rf"Expected to be allowed to read the folder {name}, but permission was denied\. Change", said)
    assert ("--on-error skip" in said) == (name != "data")


@pytest.mark.parametrize("command", ["duplicates", "encode"])
def test_locked_folders_and_files_can_be_skipped(command: str, place: Path) -> None:
    place_for_all = place / "data" / "Train"
    with locked(place_for_all / "a"):
        done = here(*of_labels("duplicates"), "--on-error", "skip", "--json", cwd=place)
    assert done.status == 0, done.err
    assert "1 folder that cannot be read (Train/a)." in done.err
    assert {"reason": "folders that cannot be read", "files": 0, "folders": 1, "examples": ["Train/a"]} in done.json[
        "left_out"
    ]
    with locked(place_for_all / "a" / "0.png"):
        done = here("duplicates", "data", "--on-error", "skip", "--json", cwd=place)
        assert [one["file"] for one in done.json["skipped"]] == ["Train/a/0.png"]
        assert "0.png, but permission was denied. Change" in failure(here("duplicates", "data", cwd=place), 1)


ALPHABETS = [f"{a}/{c}/{k}.png" for a in ("greek", "latin", "runes") for c in "wxyz" for k in range(6)]


def test_a_run_is_judged_at_its_own_class_level(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", [*ALPHABETS, "greek/loose.png"], (16, 16))
    done = here("train", "data", "--out", "flat", *TRAIN, "--no-report", cwd=tmp_path)
    assert "of 3 classes" in done.err
    assert "--class-level 2 gives 12 classes instead" in done.err
    done = here("train", "data", "--out", "run", *TRAIN, "--no-report", "--class-level", "2", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "73 pictures, 72 of them of 12 classes (train 60, test 12)" in done.err
    assert "1 picture outside the class folders (greek/loose.png)" in done.err
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert (record["class_level"], record["class_names"][:2]) == (2, ["greek/w", "greek/x"])
    shutil.move(tmp_path / "run", tmp_path / "moved")
    for folder in ("moved", "moved/model"):
        done = here("evaluate", folder, "data", "--json", cwd=tmp_path)
        assert done.status == 0, done.err
        assert "of 12 classes" in done.err
    for command in (
        ["calibrate", "moved", "data", "--split", "train"],
        ["report", "moved", "data", "--split", "val", "--out", "page.html"],
    ):
        assert "of 12 classes" in here(*command, cwd=tmp_path).err  # random pictures cannot always be calibrated
    assert (
        here("evaluate", "moved", "data", "--class-level", "1", "--json", cwd=tmp_path).err.count("of 3 classes") == 1
    )
    assert here("card", "moved", cwd=tmp_path).status == 0
    assert "--class-level 2" in (tmp_path / "moved" / "model" / "README.md").read_text()


def test_an_interrupted_training_has_recorded_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{top}/{name}/{k}.png" for top in ("greek", "latin") for name in "xy" for k in range(8)]
    write_pictures(tmp_path / "data", names, (16, 16))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pairsim.cli.training.fitting.CommandRecords.on_epoch_end", interrupt)
    done = here("train", "data", "--out", "run", *TRAIN, "--no-report", "--class-level", "2", cwd=tmp_path)
    assert done.status == 130
    done = here("evaluate", "run", "data", "--json", cwd=tmp_path)
    assert "of 4 classes" in done.err


@pytest.mark.parametrize("command", ["train", "evaluate", "calibrate", "report"])
def test_class_levels_begin_at_1(command: str, tmp_path: Path) -> None:
    arguments = {"train": ["data", "--out", "x"], "report": ["r", "data", "--out", "x.html"]}.get(
        command, ["r", "data"]
    )
    said = failure(here(command, *arguments, "--class-level", "0", cwd=tmp_path), 2)
    assert "--class-level" in said
    assert ">= 1" in said


def test_a_run_on_a_metadata_file(tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "data", [f"{k}.png" for k in range(24)], (16, 16))
    rows = [f"{path.name},{'ab'[k % 2]},{'train' if k < 16 else 'test'}" for k, path in enumerate(names[:22])]
    (tmp_path / "data" / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]))
    done = here("train", "data", "--out", "run", *TRAIN, "--no-report", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "data: 24 pictures, 22 of them of 2 classes (train 16, test 6). Labels from metadata.csv." in done.err
    found: dict[str, Any] = here("evaluate", "run", "data", "--json", cwd=tmp_path).json
    assert found["num_images"] == 6
    reasons = {one["reason"]: one["files"] for one in found["left_out"]}
    assert reasons == {"pictures not listed in metadata.csv": 2, "metadata files": 1, "pictures of the split train": 16}
    assert here("duplicates", "data", "--json", cwd=tmp_path).json["num_images"] == 24
