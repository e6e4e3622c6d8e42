"""Runs that keep whole classes unseen, from training to the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from picture_files import folder_of_classes, write_pictures
from run_command import failure, here

SETTINGS = ("--batch-size", "8", "--image-size", "16", "--scheduler", "none")
TRAIN = (*SETTINGS, "--epochs", "1")
KINDS = ("real", "fake")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Signatures of 12 writers, and a run that keeps a third of the classes for the test."""
    folder = tmp_path_factory.mktemp("unseen")
    for number in range(24):  # each class of its own brightness
        names = [f"w{number // 2:02d}_{KINDS[number % 2]}/{k}.png" for k in range(4)]
        write_pictures(folder / "data", names, (16, 16), brightest=10 * number + 9)
    done = here(
        "train", "data", "--unseen", "0.3", "--groups", r"(w\d+)_", *TRAIN, "--out", "run", "--json", cwd=folder
    )
    assert done.status == 0, done.err
    (folder / "train.json").write_text(done.out)
    (folder / "train.txt").write_text(done.err)
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy, which a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_train_says_what_became_of_every_picture(trained: Path) -> None:
    said = json.loads((trained / "train.json").read_text())
    assert [said[name] for name in ("num_train", "num_val", "num_test")] == [48, 16, 32]
    split = json.loads((trained / "run" / "data.json").read_text())["class_split"]
    assert said["unseen_classes"] == split["test"]
    assert len(split["val"]) == 4
    assert split["unseen"] == 0.3
    assert (
        "data: 96 pictures of 24 classes: 48 of 12 classes for training, 16 of 4 for validation, 32 of 8 for the test; "
        r"0 left out. 12 groups by the pattern (w\d+)_."
    ) in (trained / "train.txt").read_text()
    page = (trained / "run" / "report.html").read_text()
    assert all(name in page for name in split["val"])
    assert not any(name in page for name in split["test"])


def test_other_commands_take_these_classes(place: Path) -> None:
    split = json.loads((place / "run" / "data.json").read_text())["class_split"]
    evaluated = here("evaluate", "run", "data", "--json", cwd=place)
    found = {name: evaluated.json[name] for name in ("num_images", "num_classes", "unseen_classes", "groups")}
    assert found == {"num_images": 32, "num_classes": 8, "unseen_classes": 8, "groups": 4}
    assert 0 <= evaluated.json["recall_at_1"] <= 1
    assert "Train with --unseen" not in evaluated.err
    stored = json.loads((place / "run" / "evaluation.json").read_text())
    assert stored["class_names"] == split["test"]
    calibrated = here("calibrate", "run", "data", "--json", cwd=place)
    assert calibrated.status == 0, calibrated.err
    assert calibrated.json["num_positive"] == 4 * 6
    assert "16 of 4 for validation" in calibrated.err
    reported = here("report", "run", "data", "--out", "r.html", "--json", cwd=place)
    assert (reported.json["metrics"]["num_images"], reported.json["metrics"]["unseen_classes"]) == (32, 8)
    assert here("card", "run", cwd=place).status == 0
    card = (place / "run" / "model" / "README.md").read_text()
    assert "It was evaluated on unseen classes only (8)" in card
    assert "| Classes kept whole | 4 for validation, 8 for the test |" in card
    assert r"--unseen 0.3 --groups '(w\d+)_'" in card
    for split_name, number in (("train", 48), ("val", 16)):
        assert here("evaluate", "run", "data", "--split", split_name, "--json", cwd=place).json["num_images"] == number
    text = here("evaluate", "run", "data", cwd=place).out
    assert text.startswith("all pairs of 32 images of 8 classes (8 unseen in training) in 4 groups: 496 pairs")


def test_a_run_goes_on_with_its_classes_alone(place: Path) -> None:
    command = ("train", "data", *SETTINGS, "--out", "run", "--no-report", "--epochs", "2")
    groups = ("--groups", r"(w\d+)_")
    before = (place / "run" / "data.json").read_bytes()
    assert "--unseen, as it was begun" in failure(here(*command, *groups, cwd=place), 1)
    assert "same classes in train" in failure(here(*command, *groups, "--unseen", "0.5", cwd=place), 1)
    said = failure(here(*command, "--unseen", "0.3", cwd=place), 1)
    assert r"with groups (w\d+)_, got None. Give what it was begun with" in said
    assert (place / "run" / "data.json").read_bytes() == before
    done = here(*command, *groups, "--unseen", "0.3", "--json", cwd=place)
    assert done.status == 0, done.err
    assert done.json["epochs"] == 2
    done = here(*command, "--unseen", "0.5", "--resume", "never", "--json", cwd=place)
    assert len(done.json["unseen_classes"]) == 12


def test_a_class_that_came_is_for_the_test(place: Path) -> None:
    folder_of_classes(place / "data", ["w99_real"], number=2, shape=(16, 16))
    done = here("evaluate", "run", "data", "--json", cwd=place)
    assert (done.json["num_classes"], done.json["unseen_classes"]) == (9, 9)
    assert "New since the training, for the test: w99_real." in done.err


def test_against_a_run_that_had_the_classes(place: Path) -> None:
    done = here("train", "data", *TRAIN, "--out", "all", "--no-report", "--json", cwd=place)
    assert done.json["unseen_classes"] == []
    assert [done.json[name] for name in ("num_train", "num_val", "num_test")] == [72, 0, 24]
    done = here("evaluate", "run", "data", "--against", "all", "--resamples", "20", "--json", cwd=place)
    assert "Warning: training of all had 8 of these 8 classes." in done.err


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--unseen", "0.99"], 1, "Expected at least two unseen and two seen classes"),
        (["--unseen", "0.88"], 1, "Use a smaller --unseen or --val-fraction, or add classes or groups."),
        (["--unseen", "1"], 2, "Must be < 1"),
        (["--unseen", "0.3", "--groups", r"v\d+"], 1, r"Expected the pattern v\d+ to name the group of every picture"),
        (["--unseen", "0.3", "--groups", "(w"], 1, "Expected --groups to be a regular expression, got '(w'"),
        (["--unseen", "0.3", "--groups", "w"], 1, "Groups bind the classes into 1 set."),
    ],
)
def test_what_cannot_be_split(trained: Path, tmp_path: Path, options: list[str], status: int, said: str) -> None:
    done = here("train", trained / "data", *TRAIN, "--out", "new", *options, cwd=tmp_path)
    assert said in failure(done, status)
    assert not (tmp_path / "new").exists()


def test_a_threshold_of_other_classes_is_said(tmp_path: Path) -> None:
    for split, names in (("train", "abcd"), ("test", "xy")):
        folder_of_classes(tmp_path / "data" / split, names, shape=(16, 16))
    said = (
        "The threshold was chosen on classes that training had; on new classes expect more errors. Train with --unseen."
    )
    done = here("train", "data", *TRAIN, "--out", "run", "--val-fraction", "0.3", "--no-report", "--json", cwd=tmp_path)
    assert (done.json["num_test"], said in done.err) == (20, True)
    for command in (("evaluate",), ("calibrate",), ("report", "--out", "r.html")):
        done = here(command[0], "run", "data", *command[1:], cwd=tmp_path)
        assert done.status == 0, done.err
        assert done.err.count(said) == 1, command
    assert said not in here("evaluate", "run", "data", "--split", "train", cwd=tmp_path).err
