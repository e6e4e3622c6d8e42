from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from picture_files import write_pictures
from run_command import failure, here
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import load_data
from pairsim.export import load_onnx
from pairsim.models import OperatingPoint

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on digits, a model folder without a run, one with a net of its own, and two pictures."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    config = TrainConfig(out=folder / "run", epochs=1, batch_size=64, device="cpu", progress=False)
    model = SimilarityModel(EmbeddingNet(image_size=16, embedding_dim=8))
    Trainer(model, config, train=load_data("digits", "train").dataset).fit()
    model.operating_point = OperatingPoint(0.9, 0.0, 0.0, 1, 1, "a test")
    model.save_pretrained(folder / "model")
    SimilarityModel(nn.Sequential(nn.Flatten(), nn.Linear(256, 4))).save_pretrained(folder / "own")
    write_pictures(folder, ("a.png", "b.png"), (16, 16))
    return folder


@pytest.mark.slow
def test_json_and_agreement_with_compare(place: Path) -> None:
    done = here("export", "model", "--out", "pair.onnx", "--kind", "pair", "--json", cwd=place)
    assert (done.status, done.err) == (0, "")
    said = done.json
    assert (said["file"], said["kind"], said["quantization"], said["threshold"]) == ("pair.onnx", "pair", None, 0.9)
    assert said["max_difference"] < 1e-4
    assert said["num_bytes"] == (place / "pair.onnx").stat().st_size
    loaded = load_onnx(place / "pair.onnx")
    images = [loaded.description.preprocessing.read(place / name)[None].numpy() for name in ("a.png", "b.png")]
    similarity, probability = loaded.compare(*images)
    verdict = here("compare", "model", "a.png", "b.png", "--json", cwd=place).json
    assert similarity[0] == pytest.approx(verdict["similarity"], abs=1e-4)
    assert probability[0] == pytest.approx(verdict["probability"], abs=1e-4)


def test_text(place: Path) -> None:
    done = here("export", "run", "--out", "deep/embed.onnx", cwd=place)
    assert (done.status, done.err) == (0, "")
    assert "opset 18; images as uint8 [N, 1, 16, 16] to embeddings" in done.out
    assert "Largest difference to the model in float32, on random images: " in done.out


@pytest.mark.parametrize("folder", [pytest.param("run", marks=pytest.mark.slow), "model"])
def test_int8(folder: str, place: Path) -> None:
    arguments = ("export", folder, "--out", "int8.onnx", "--quantize", "int8", "--calibration-data", "digits")
    done = here(*arguments, "--json", cwd=place)
    assert done.status == 0, done.err
    said = done.json
    assert said["num_bytes"] == said["quantization"]["bytes_after"] == (place / "int8.onnx").stat().st_size
    assert said["quantization"]["num_calibration_images"] == 512
    # only a run says which images it kept for validation
    if folder == "run":
        assert done.err == ""
        accuracies = [said["quantization"][f"balanced_accuracy_{when}"] for when in ("before", "after")]
        assert accuracies[1] == pytest.approx(accuracies[0], abs=0.02)
        assert min(accuracies) > 0.6
    else:
        assert "does not record which images were kept for validation" in done.err
        assert said["quantization"]["balanced_accuracy_after"] is None
    description = load_onnx(place / "int8.onnx").description
    assert description.quantization is not None
    assert description.threshold == said["threshold"]


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True])
def test_a_folder_that_runs_with_onnxruntime(quantized: bool, place: Path) -> None:
    options = ("--quantize", "int8", "--calibration-data", "digits") if quantized else ()
    done = here("export", "run", "--out", "fast", "--kind", "model", *options, "--json", cwd=place)
    assert done.status == 0, done.err
    assert (done.json["file"], done.json["kind"]) == ("fast", "model")
    files = {path.name for path in (place / "fast").iterdir()}
    assert files >= {"config.json", "model.onnx", "model.safetensors"}
    verdicts = [here("compare", folder, "a.png", "b.png", "--json", cwd=place).json for folder in ("run", "fast")]
    tolerance = 0.05 if quantized else 1e-5
    assert verdicts[1]["similarity"] == pytest.approx(verdicts[0]["similarity"], abs=tolerance)
    assert verdicts[1]["threshold"] == verdicts[0]["threshold"]
    figures = [here("evaluate", folder, "digits", "--json", cwd=place).json for folder in ("run", "fast")]
    assert figures[1]["roc_auc"] == pytest.approx(figures[0]["roc_auc"], abs=tolerance)
    text = here("export", "run", "--out", "fast", "--kind", "model", cwd=place).out  # replaces it
    assert text.startswith("fast: ")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["model", "--out", "a.png", "--kind", "model"], 1, "there is a file, not a folder"),
        (
            ["model", "--out", "./model", "--kind", "model"],
            2,
            "Expected --out as another folder than a run or its model",
        ),
        (["run", "--out", "run", "--kind", "model"], 2, "as another folder than a run or its model, got"),
        (["run", "--out", "run/model", "--kind", "model"], 2, "Give a new one: the model would be replaced."),
        (["absent", "--out", "m.onnx"], 1, "Expected a model or run folder at absent, found no such folder"),
        (["model"], 2, "--out"),
        (["model", "--out", "m.bin"], 2, "Expected --out to end in .onnx, got m.bin."),
        (["model", "--out", "m.onnx", "--kind", "both"], 2, "embed"),
        (
            ["model", "--out", "m.onnx", "--quantize", "int8"],
            2,
            "Expected --calibration-data DATA with --quantize int8",
        ),
        (["model", "--out", "m.onnx", "--calibration-data", "digits"], 2, "Expected --quantize int8 with --calib"),
        (["own", "--out", "m.onnx"], 1, "which is code and not saved"),
        (["model", "--out", "a.png/m.onnx"], 1, "Could not write a.png/m.onnx"),
    ],
)
def test_refusals(arguments: list[str], status: int, said: str, place: Path) -> None:
    assert said in failure(here("export", *arguments, cwd=place), status)


def test_missing_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = failure(here("export", "model", "--out", "m.onnx", cwd=place), 1)
    assert "Exporting to ONNX needs the package onnx, which is not installed." in said
    assert "pip install 'pairsim[onnx]'" in said
