from __future__ import annotations

from pathlib import Path

import pytest
import torch
from picture_files import folder_of_classes
from small_models import small_model

from pairsim import PairDataset
from pairsim._common import storage
from pairsim.data import ImageTensors, LabelledData
from pairsim.errors import RunError
from pairsim.images import Preprocessing
from pairsim.runs.run_data import load_evaluation_data
from pairsim.runs.run_pairs import (
    describe_pairs,
    read_numbered_list,
    read_picture_list,
    validation_pairs_of,
    write_validation_pairs,
)

LIST = "first,second,target,kind,group\na/0.png,a/1.png,1,,v\na/0.png,b/2.png,0,skilled,v\nb/2.png,b/3.png,1,,w\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder_of_classes(tmp_path / "data", "ab", shape=(10, 24))
    (tmp_path / "pairs.csv").write_text(LIST)
    return tmp_path


def test_size_and_channels_come_from_the_pictures_or_the_model(place: Path) -> None:
    pairs, images = read_picture_list(place / "pairs.csv", str(place / "data"), None)
    assert (images.image_size, images.channels, len(images), images.class_names) == ((10, 24), 1, 4, ())
    assert pairs[0][0].shape == (1, 10, 24)
    assert pairs.kind is not None
    assert pairs.kind.tolist() == ["", "skilled", ""]
    pairs, images = read_picture_list(place / "pairs.csv", str(place / "data"), None, image_size=(8, 8), channels=3)
    assert pairs[0][0].shape == (3, 8, 8)
    reading = Preprocessing(image_size=(8, 12), channels=1, fit="pad")
    pairs, images = read_picture_list(place / "pairs.csv", str(place / "data"), reading)
    assert torch.equal(pairs[0][0], reading.read(place / "data" / "a" / "0.png"))
    assert images.source == f"pairs.csv, pictures in {place / 'data'}"


def test_counts(place: Path) -> None:
    pairs, _ = read_picture_list(place / "pairs.csv", str(place / "data"), None)
    found = describe_pairs(pairs)
    assert (found["num_pairs"], found["num_groups"], found["negatives"]) == (3, 2, {"skilled": 1})
    listed = pairs.all_pairs()
    plain = describe_pairs(PairDataset.from_pairs(pairs.dataset, listed.first, listed.second, listed.target))
    assert (plain["num_groups"], plain["negatives"]) == (None, {"negative": 1})
    assert plain["sha256"] != found["sha256"]


def test_validation_pairs_are_read_again_with_the_pictures_moved(place: Path) -> None:
    pairs, _ = read_picture_list(place / "pairs.csv", str(place / "data"), None)
    with pytest.raises(
        RunError, match=r"Expected .*validation_pairs.csv with the validation pairs of the run, found none"
    ):
        validation_pairs_of(place)
    write_validation_pairs(place, pairs, str(place / "data"))
    assert "a/0.png,b/2.png,0,skilled,v" in (place / "validation_pairs.csv").read_text()
    (place / "data").rename(place / "moved")
    storage.write_file(place / "data.json", storage.to_json({"pairs": {"file": "pairs.csv"}}))
    model = small_model(dim=4, channels=1, preprocessing=Preprocessing(image_size=(6, 6), channels=1))
    judged = load_evaluation_data(place, model, str(place / "moved"), "val", data_dir=None)
    again = judged.dataset
    assert (again.kind.tolist(), again.group.tolist()) == (["", "skilled", ""], ["v", "v", "w"])
    assert again[1][0].shape == (1, 6, 6)
    assert judged.source.startswith("validation_pairs.csv, pictures in")


def test_a_picture_outside_the_folder_keeps_its_path(place: Path) -> None:
    (place / "data" / "a" / "0.png").rename(place / "0.png")
    (place / "pairs.csv").write_text(f"{place / '0.png'},a/1.png,1\n")
    pairs, _ = read_picture_list(place / "pairs.csv", str(place / "data"), None)
    write_validation_pairs(place, pairs, str(place / "data"))
    assert f"{place / '0.png'},a/1.png,1" in (place / "validation_pairs.csv").read_text()


def test_numbers_of_a_named_dataset(place: Path) -> None:
    (place / "numbers.csv").write_text("first,second,target,kind\n0,1,1,\n1,3,0,drawn\n")
    tensors = ImageTensors(torch.zeros(5, 4, 4, dtype=torch.uint8), [0, 0, 1, 1, 1])
    images = LabelledData(dataset=tensors, class_names=("0", "1"), image_size=(4, 4), channels=1, source="none")
    pairs = read_numbered_list(place / "numbers.csv", images)
    assert pairs.dataset is tensors
    assert pairs.kind is not None
    assert pairs.kind.tolist() == ["", "drawn"]
    write_validation_pairs(place, pairs, "digits")
    again = read_numbered_list(validation_pairs_of(place), images)
    assert again.all_pairs().hash() == pairs.all_pairs().hash()
