"""What `pairsim train` trains on, validates with and records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import folder_of_classes, write_pictures

from pairsim import TrainConfig
from pairsim.data.splits import ValidationSplit
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.runs.run_data import SEEN_THRESHOLD
from pairsim.runs.training_data import load_training_data

PREPROCESSING = Preprocessing(image_size=(8, 8), channels=1)
NOTHING = ValidationSplit(np.array([1, 2, 5]), {})


def test_classes_that_are_kept_unseen(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, "abcdefghij", number=3)
    images = load_training_data(str(tmp_path), TrainConfig(seed=3), unseen=0.4, preprocessing=PREPROCESSING)
    val = images.validation(PREPROCESSING)
    assert val is not None
    assert images.val_fraction == 0.2
    split = images.record["class_split"]
    assert images.train.class_names == tuple(sorted(set("abcdefghij") - set(split["val"]) - set(split["test"])))
    assert list(val.class_names) == split["val"]
    assert images.counts(None) == {
        "num_train": 12, "num_val": 6, "num_test": 12, "unseen_classes": split["test"], "left_out": (),
    }  # fmt: skip
    assert images.account.endswith(
        "12 of 4 classes for training, 6 of 2 for validation, 12 of 4 for the test; 0 left out."
    )
    assert images.warning == ""
    wider = load_training_data(str(tmp_path), TrainConfig(seed=3, val_fraction=0.5), unseen=0.4)
    assert wider.val_fraction == 0.5
    assert wider.counts(None)["num_val"] == 9
    assert wider.record["class_split"]["test"] == split["test"]


def test_images_of_the_same_classes(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, "ab")
    images = load_training_data(str(tmp_path), TrainConfig())
    assert images.validation(PREPROCESSING) is None
    assert images.record == {"class_level": 1, "groups": None}
    counts = images.counts(NOTHING)
    assert [counts[name] for name in ("num_train", "num_val", "num_test", "unseen_classes")] == [13, 3, 4, []]
    assert images.account == (
        f"{tmp_path}: 20 pictures of 2 classes (train 16, test 4). Test images are held out: one in five of "
        "each class. Splits not used: test."
    )


@pytest.mark.parametrize(("test", "warns"), [("abc", True), ("ab", False), ("cd", True)])
@pytest.mark.parametrize("val", ["", "ab", "ce"])
def test_splits_of_a_folder(tmp_path: Path, test: str, val: str, warns: bool) -> None:
    for name, classes in (("train", "ab"), ("val", val), ("test", test)):
        folder_of_classes(tmp_path / name, classes, number=4)
    images = load_training_data(str(tmp_path), TrainConfig(), class_level=1)
    kept = images.validation(PREPROCESSING)
    split = None if val else NOTHING
    assert images.warning == (SEEN_THRESHOLD if warns and val != "ce" else "")
    assert (kept is None) == (not val)
    assert images.record.get("val_class_names") == (list(val) if val else None)
    counts = images.counts(split)
    assert counts["num_train"] + counts["num_val"] + counts["num_test"] == 4 * (2 + len(val) + len(test))
    assert counts["unseen_classes"] == sorted(set(test) - set("ab"))


def test_named_data() -> None:
    pytest.importorskip("sklearn")
    images = load_training_data("digits", TrainConfig())
    assert images.account == ""
    counts = images.counts(NOTHING)
    assert counts["num_train"] + 3 + counts["num_test"] == 1797
    assert (counts["num_val"], counts["unseen_classes"]) == (3, [])
    images = load_training_data("digits", TrainConfig(), unseen=0.4)
    assert sum(images.counts(None)[name] for name in ("num_train", "num_val", "num_test")) == 1797


def test_groups_are_read_and_recorded(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"w{k}_{kind}/{n}.png" for k in range(8) for kind in ("real", "fake") for n in range(2)])
    images = load_training_data(str(tmp_path), TrainConfig(), unseen=0.25, groups="(w.)_")
    assert images.record["groups"] == "(w.)_"
    split = images.record["class_split"]
    assert [len(split[name]) for name in ("val", "test")] == [2, 4]
    assert all(len({name[:2] for name in split[side]}) * 2 == len(split[side]) for side in ("val", "test"))


def test_a_run_that_was_begun_with_other_classes(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "data", "abcdefghij", number=2)
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "data.json").write_text('{"class_names": ["a"]}')
    config = TrainConfig(out=run)
    load_training_data(str(tmp_path / "data"), config)
    with pytest.raises(RunError, match="without --unseen, as it was begun, got it with"):
        load_training_data(str(tmp_path / "data"), config, unseen=0.3)
    assert load_training_data(str(tmp_path / "data"), config, unseen=0.3, resume=False).classes is not None
