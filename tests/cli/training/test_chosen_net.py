"""`pairsim train` chooses its net by the options and the data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backbone_nets import torchvision_net
from onnx_graphs import write_onnx
from PIL import Image
from run_command import failure, here

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.cli.output import UsageError
from pairsim.cli.training.chosen_net import ChosenNet, choose_net, why_not_adapted
from pairsim.runs import read_run
from pairsim.runs.run_records import training_command

SMALL = ("--epochs", "1", "--batch-size", "8", "--embedding-dim", "8", "--precision", "fp32", "--no-progress")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photos` and `drawings`, of two classes each, and without any weights."""
    generator = np.random.default_rng(0)
    for name, shape in (("photos", (100, 120, 3)), ("drawings", (105, 105))):
        for number in range(12):
            file = tmp_path / name / f"class {number % 2}" / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(file)
    monkeypatch.setenv("PAIRSIM_DATA", str(tmp_path / "stored"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))
    return tmp_path


def add_weights(folder: Path, name: str = "mobilenet_v3_small") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(torchvision_net(name).state_dict(), folder / f"{name}.pth")
    return folder / f"{name}.pth"


def chosen(data: str | Path, **options: Any) -> ChosenNet:
    defaults = dict.fromkeys(("backbone", "weights", "image_size", "channels", "fit", "data_dir", "white"))
    return choose_net(str(data), **{**defaults, "augment": "none", **options})


def test_photographs_get_weights_that_are_there(place: Path) -> None:
    without = chosen(place / "photos")
    assert (without.backbone, without.image_size, without.record) == (None, None, {"backbone": "reference"})
    assert "no pretrained weights found" in without.line
    file = add_weights(place / "stored" / "weights")
    found = chosen(place / "photos")
    assert (found.backbone, found.weights, found.image_size) == ("mobilenet_v3_small", str(file), (224, 224))
    assert found.record == {"weights": str(file)}
    assert found.is_pretrained
    assert not without.is_pretrained
    assert chosen(place / "photos", image_size="64").image_size == (64, 64)
    grey = chosen(place / "photos", channels=1)
    assert (grey.backbone, grey.channels) == (None, 1)
    assert "as --channels 1 is given: without it mobilenet_v3_small would be used" in grey.line
    own = add_weights(place / "mine")
    assert chosen(place / "photos", data_dir=place / "mine").weights == str(own)


@pytest.mark.parametrize("data", ["drawings", "digits"])
def test_small_drawings_and_named_data_keep_the_reference_network(place: Path, data: str) -> None:
    add_weights(place / "stored")
    path = data if data == "digits" else place / data
    assert chosen(path, channels=1) == ChosenNet(backbone=None, channels=1)
    assert re.match(r"The reference network, as the pictures .*are small", chosen(path, backbone="auto").line)


def test_the_reference_network_can_be_asked_for(place: Path) -> None:
    add_weights(place / "stored")
    found = chosen(place / "photos", backbone="reference", image_size="32")
    assert found == ChosenNet(backbone=None, image_size=(32, 32), record={"backbone": "reference"})


def test_named_weights(place: Path) -> None:
    named = {"backbone": "mobilenet_v3_small"}
    assert chosen("mnist", **named).record == {"weights": None}
    assert not chosen("mnist", **named).is_pretrained
    assert chosen("mnist", weights="pretrained", **named).weights == "pretrained"
    assert chosen("mnist", backbone="faces.onnx").is_pretrained
    assert chosen("mnist", backbone="faces.onnx").record == {}
    assert chosen("mnist", weights="w.pth", **named).weights == "w.pth"  # which building the net then names
    file = add_weights(place / "stored" / "weights")
    for weights in ("pretrained", file.name, str(file)):
        assert chosen("mnist", weights=weights, **named).weights == str(file)
    with pytest.raises(UsageError, match="Expected --backbone NAME together with --weights"):
        chosen(place / "photos", weights="pretrained")


def test_sizes_and_fit_are_given(place: Path) -> None:
    for text, size in (("160", (160, 160)), ("128x288", (128, 288)), ("128X288", (128, 288))):
        assert chosen("digits", image_size=text, fit="pad") == ChosenNet(
            backbone=None, image_size=size, fit="pad", record={}
        )
    add_weights(place / "stored")
    found = chosen(place / "photos", image_size="64x128", fit="pad")
    assert (found.image_size, found.fit) == ((64, 128), "pad")
    named = chosen(place / "photos", image_size="64x128", fit="crop", backbone="mobilenet_v3_small")
    assert (named.image_size, named.fit) == ((64, 128), "crop")
    for text in ("", "x", "0", "64x", "64x0", "-64", "6.4", "64x64x3", "big"):
        with pytest.raises(UsageError, match="--image-size as one number or as height x width, such as 160 or 128x288"):
            chosen(place / "photos", image_size=text)


def test_few_classes_and_several_processes_are_not_adapted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_not_adapted(4, has_val=False) is why_not_adapted(2, has_val=True) is None
    assert "fewer than 4 classes" in str(why_not_adapted(3, has_val=False))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert str(why_not_adapted(4, has_val=False)).startswith("Several processes")


def test_embeddings_leave_no_choice(place: Path) -> None:
    np.savez(place / "a.npz", embeddings=np.eye(6))
    assert chosen(place / "a.npz") == ChosenNet(
        backbone="embeddings", image_size=(1, 1), channels=6, is_pretrained=True
    )
    assert chosen(place / "a.npz", backbone="auto").backbone == "embeddings"
    for options in (
        {"backbone": "resnet18"},
        {"image_size": "64"},
        {"fit": "pad"},
        {"channels": 3},
        {"augment": "affine"},
    ):
        with pytest.raises(UsageError, match=r"Expected no --backbone, .* for .*a\.npz, which has embeddings"):
            chosen(place / "a.npz", **options)


def test_data_that_cannot_be_read_is_named_by_its_own_message(place: Path) -> None:
    message = failure(here("train", "minst", "--out", "run", cwd=place), 1)
    assert "Did you mean mnist" in message


@pytest.mark.slow
def test_a_run_on_photographs_and_its_command(place: Path) -> None:
    add_weights(place / "stored")
    done = here("train", "photos", "--out", "run", "--image-size", "32", "--no-report", *SMALL, cwd=place)
    assert done.status == 0, done.err
    assert "Photographs (shorter side 100 px, in colour): backbone mobilenet_v3_small with the weights in" in done.err
    net = SimilarityModel.from_pretrained(place / "run").embedding_net
    assert isinstance(net, EmbeddingNet)
    assert (net.backbone_name, net.image_size) == ("mobilenet_v3_small", (32, 32))
    command = training_command(read_run(place / "run"))
    assert command is not None
    assert "--backbone mobilenet_v3_small --weights mobilenet_v3_small.pth" in command
    assert "--image-size 32" in command
    done = here("train", "photos", "--out", "two", "--backbone", "reference", "--no-report", *SMALL, cwd=place)
    assert done.status == 0, done.err
    assert "--backbone reference" in str(training_command(read_run(place / "two")))


@pytest.mark.filterwarnings("ignore:Nothing states how the pixels")
def test_a_run_with_an_onnx_file(place: Path) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(place / "faces.onnx", shape=("n", 3, 16, 16))
    done = here("train", "photos", "--out", "run", "--backbone", "faces.onnx", *SMALL, cwd=place)
    assert done.status == 0, done.err
    assert "freeze backbone." in done.err
    assert "--backbone faces.onnx" in str(training_command(read_run(place / "run")))
    assert json.loads((place / "run" / "config.json").read_text())["freeze"] == "backbone"
    assert here("evaluate", "run", "photos", "--json", cwd=place).json["num_images"] == 2
    refused = failure(here("export", "run", "--out", "x.onnx", cwd=place), 1)
    assert "Expected a net of PyTorch, got the ONNX file faces.onnx" in refused
    assert here("card", "run", cwd=place).status == 0
    assert "pairsim[onnx]" in (place / "run" / "model" / "README.md").read_text()
