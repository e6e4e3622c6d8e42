from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import folder_of_classes
from PIL import Image
from run_command import failure, here, pairsim

from pairsim import EmbeddingNet, SimilarityModel

SMALL = ("--epochs", "1", "--batch-size", "8", "--embedding-dim", "8", "--precision", "fp32", "--no-progress")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of two classes, with grey and coloured pictures of other proportions than the model's."""
    generator = np.random.default_rng(0)
    for number in range(16):
        shape = (24, 40) if number % 4 < 2 else (24, 40, 3)
        file = tmp_path / "data" / f"class {number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(file)
    return tmp_path


@pytest.mark.slow
def test_train_then_compare(place: Path) -> None:
    arguments = ("train", "data", "--out", "run", "--backbone", "resnet18", "--image-size", "32", *SMALL)
    done = here(*arguments, cwd=place)
    assert done.status == 0, done.err
    assert "Backbone: adamw, learning rate 0.001, freeze none." in done.err
    config = json.loads((place / "run" / "config.json").read_text())
    assert (config["optimizer"], config["learning_rate"]) == ("adamw", 1e-3)
    model = SimilarityModel.from_pretrained(place / "run")
    net = EmbeddingNet("resnet18", image_size=32)
    assert model.preprocessing == net.preprocessing
    assert model.preprocessing.fit == "crop"
    described = json.loads((place / "run" / "data.json").read_text())
    assert (described["image_size"], described["channels"]) == ([32, 32], 3)
    files = ("data/class 0/0.png", "data/class 1/3.png")  # grey, coloured
    found = here("compare", "run", *files, "--json", cwd=place)
    assert found.status == 0, found.err
    a, b = model.encode([place / file for file in files])
    assert found.json["similarity"] == pytest.approx(float(a @ b), abs=1e-5)
    # the same command again has nothing left to do, other settings are told
    assert here(*arguments, cwd=place).status == 0
    refused = here(*arguments, "--freeze", "backbone", cwd=place)
    assert refused.status == 1
    assert "freeze 'none' -> 'backbone'" in refused.err


def test_local_weights_and_a_frozen_backbone(place: Path) -> None:
    pytest.importorskip("timm")
    backbone = EmbeddingNet("timm/mobilenetv3_small_050", image_size=32).backbone
    assert backbone is not None
    torch.save(backbone.state_dict(), place / "w.pth")
    name = ("--backbone", "timm/mobilenetv3_small_050", "--weights", "w.pth", "--image-size", "32")
    done = here("train", "data", "--out", "run", *name, "--freeze", "backbone", *SMALL, cwd=place)
    assert done.status == 0, done.err
    kept = SimilarityModel.from_pretrained(place / "run").embedding_net.backbone
    assert isinstance(kept, torch.nn.Module)
    found = kept.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in backbone.state_dict().items())
    two = here("train", "data", "--out", "two", *name, "--backbone-learning-rate", "1e-5", *SMALL, cwd=place)
    assert two.status == 0, two.err
    assert "Backbone: adamw, learning rate 0.001 (1e-05 in the backbone), freeze none." in two.err


@pytest.mark.slow
def test_a_named_set_in_grey_with_a_net_in_colour(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    frozen = ("--freeze", "backbone")
    done = here("train", "digits", "--out", "run", "--backbone", "resnet18", *SMALL, *frozen, cwd=tmp_path)
    assert done.status == 0, done.err
    preprocessing = SimilarityModel.from_pretrained(tmp_path / "run").preprocessing
    assert (preprocessing.image_size, preprocessing.channels) == ((16, 16), 3)


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("--weights", "w.pth"), 2, "Expected --backbone NAME together with --weights"),
        (("--backbone", "resnet81"), 1, "got 'resnet81'. Did you mean"),
        (
            ("--backbone", "resnet18", "--weights", "absent.pth"),
            1,
            "Expected weights at absent.pth, found no such file",
        ),
        (("--backbone", "resnet18", "--channels", "1"), 1, "Expected --channels 3 for resnet18, got 1"),
        (
            ("--backbone", "resnet18", "--image-size", "32", "--freeze", "layer9"),
            1,
            "got 'layer9'. Its parts: conv1, bn1",
        ),
        (("--freeze", "backbone"), 1, "Expected a net with a backbone for --freeze backbone, found"),
    ],
)
def test_what_cannot_be(place: Path, arguments: tuple[str, ...], status: int, expected: str) -> None:
    done = here("train", "data", "--out", "run", *arguments, cwd=place)
    assert done.status == status
    assert expected in done.err
    assert len(done.err.strip().splitlines()) <= 2
    assert not (place / "run").exists()


def test_a_run_among_the_classes_is_no_class(place: Path) -> None:
    options = ("--epochs", "1", "--backbone", "reference")
    for out in ("data/run", "data/run2"):
        done = here("train", "data", "--out", out, *options, "--json", cwd=place)
        assert done.status == 0, done.err
    assert "files of pairsim runs (run" in done.err
    assert (place / "data" / "run" / "curves.png").exists()
    assert (
        done.json["num_train"]
        == here("train", "data", "--out", "data/run", *options, "--json", cwd=place).json["num_train"]
    )
    assert here("evaluate", "data/run", "data", "--json", cwd=place).status == 0


def test_json_has_the_baseline_also_where_no_image_shows_it(tmp_path: Path) -> None:
    for number in range(18):  # a tenth of them, which validates, is one of each class
        file = tmp_path / "data" / f"class {number % 3}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 14 * number, np.uint8)).save(file)
    done = here("train", "data", "--out", "run", "--epochs", "1", "--no-report", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["baseline"] == {"eer": None, "recall_at_1": None}
    assert "no threshold is measured" in done.err


def test_train_leaves_a_run_folder(trained_digits: Path) -> None:
    names = {entry.name for entry in trained_digits.iterdir()}
    assert {
        "run.json",
        "config.json",
        "split.json",
        "data.json",
        "log.jsonl",
        "timings.jsonl",
        "best_model.pt",
        "model",
        "checkpoints",
        "report.html",
        "curves.png",
    } == names
    assert (
        "The best epoch and the threshold were chosen on these images" in (trained_digits / "report.html").read_text()
    )
    assert len((trained_digits / "log.jsonl").read_text().splitlines()) == 4


def test_folder_train_evaluate_compare(pictures: Path, tmp_path: Path) -> None:
    arguments = ("--epochs", "6", "--batch-size", "16", "--seed", "1")
    trained = here("train", pictures, "--out", "run", *arguments, "--json", cwd=tmp_path)
    assert trained.status == 0, trained.err
    evaluated = here("evaluate", "run", pictures, "--json", cwd=tmp_path)
    assert evaluated.status == 0, evaluated.err
    assert evaluated.json["num_images"] == 8
    a, b, c = pictures / "across" / "0.png", pictures / "across" / "1.png", pictures / "down" / "0.png"
    alike = here("compare", "run", a, b, "--json", cwd=tmp_path).json
    apart = here("compare", "run", a, c, "--json", cwd=tmp_path).json
    assert set(alike) >= {"similarity", "probability", "match", "threshold"}
    assert alike["similarity"] > apart["similarity"]
    assert (alike["match"], apart["match"]) == (True, False)
    rows = "across/0.png,across/1.png,1\nacross/0.png,down/0.png,0\n"
    (tmp_path / "pairs.csv").write_text(rows)
    listed = here("evaluate", "run", pictures, "--pairs", "pairs.csv", "--json", cwd=tmp_path)
    assert listed.json["num_pairs"] == 2


def test_no_data_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a proxy that nobody answers at is a network that is not there
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("PAIRSIM_DATA", str(tmp_path))
    line = failure(here("train", "mnist", "--out", "r", cwd=tmp_path), 1)
    assert str(tmp_path / "MNIST" / "raw") in line
    assert "--data-dir" in line


def test_a_training_that_collapsed_says_so_and_so_do_the_commands_after_it(place: Path) -> None:
    settings = ("--learning-rate", "1e4", "--val-fraction", "0.5", "--no-report", "--json")
    done = here("train", "data", "--out", "run", "--image-size", "16", *SMALL, *settings, cwd=place)
    assert done.status == 0, done.err
    lines = [line for line in done.err.splitlines() if "same decision" in line]
    assert len(lines) == 1
    assert "Try a --learning-rate below 10000, more epochs, images or classes, and check the labels" in lines[0]
    assert done.json["notes"][-1] == lines[0]
    files = ("data/class 0/0.png", "data/class 1/3.png")
    for arguments in (("compare", "run", *files), ("evaluate", "run", "data"), ("search", "run", "data", files[0])):
        done = here(*arguments, "--json", cwd=place)
        assert done.status == 0, done.err
        assert done.err.count("Warning: The model gives every pair the same decision") == 1
        assert "UserWarning" not in done.err
        assert done.json


def test_wide_pictures_are_padded_in_training_too(tmp_path: Path) -> None:
    for number in range(12):
        file = tmp_path / "data" / f"class {number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 12), number).save(file)
    reading = ("--image-size", "12x24", "--fit", "pad")
    done = here("train", "data", "--out", "run", *reading, "--no-report", *SMALL, cwd=tmp_path)
    assert done.status == 0, done.err
    preprocessing = SimilarityModel.from_pretrained(tmp_path / "run").preprocessing
    assert (preprocessing.image_size, preprocessing.fit) == ((12, 24), "pad")
    assert preprocessing.mean is not None
    assert 0.5 < preprocessing.mean[0] < 0.55  # half of each picture is white


@pytest.mark.slow
def test_pictures_of_12_bits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(12):
        file = tmp_path / "data" / f"class {number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 4096, (12, 12), dtype=np.uint16)).save(file)
    training = ("train", "data", "--image-size", "12", "--no-report", "--cache-dir", "cache", *SMALL)
    dark = pairsim(*training, "--out", "dark", cwd=tmp_path)
    assert dark.status == 0, dark.err
    (noted,) = (line for line in dark.err.splitlines() if "16-bit samples" in line)
    assert noted.startswith("Expected the 16-bit samples of data/class ")
    assert "pairsim train --white 4095" in noted
    assert "samples.py" not in dark.err
    done = here(*training, "--out", "run", "--white", "4095", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "16-bit" not in done.err
    model = SimilarityModel.from_pretrained(tmp_path / "run")
    assert (model.preprocessing.white, model.preprocessing.channels) == (4095, 1)
    assert model.preprocessing.mean is not None
    assert 0.45 < model.preprocessing.mean[0] < 0.55
    pair = [f"data/class {k}/{k}.png" for k in (0, 1)]
    found = here("compare", "run", *pair, "--json", cwd=tmp_path)
    a, b = model.encode([(np.asarray(Image.open(tmp_path / name)) >> 4).astype(np.uint8) for name in pair])
    assert found.json["similarity"] == pytest.approx(float(a @ b), abs=1e-5)
    with pytest.warns(UserWarning, match="16-bit samples"):
        refused = here(*training, "--out", "run", cwd=tmp_path)
    assert "Expected the white that the run was started with (4095), found None. Restore it" in failure(refused, 1)
    assert "Must be >= 1" in failure(here(*training, "--out", "new", "--white", "0", cwd=tmp_path), 2)


@pytest.mark.parametrize("given", ["--image-size 20", "--channels 3", "--backbone conv4 --image-size 20"])
def test_named_data_are_read_as_they_are(given: str, tmp_path: Path) -> None:
    said = failure(here("train", "digits", "--out", "run", *given.split(), cwd=tmp_path), 2)
    assert "Expected a folder with --image-size or --channels, got digits, whose pictures are read as they are." in said


@pytest.mark.parametrize("splits", [("train", "val"), ("",)])
def test_validation_pictures_that_are_training_pictures_are_noted(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        folder_of_classes(tmp_path / "data" / split, "ab", number=20)  # the same random pixels in each split
    if splits == ("",):  # all pictures of a class are equal, so that each of those split off is among those of training
        for name in "ab":
            first, *others = sorted((tmp_path / "data" / name).iterdir())
            for path in others:
                path.write_bytes(first.read_bytes())
    done = here("train", "data", "--out", "run", "--json", "--no-report", *SMALL, cwd=tmp_path)
    assert done.status == 0, done.err
    number = 40 if splits == ("train", "val") else 4
    expected = f"Warning: {number} of {number} validation pictures are also training pictures, in equal files."
    assert expected in done.err
    assert sum(note.startswith(expected) for note in json.loads(done.out)["notes"]) == 1
