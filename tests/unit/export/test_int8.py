from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import Tiny, pixels, small_model

from pairsim import PairDataset, SimilarityModel
from pairsim.data import ImageTensors
from pairsim.errors import RunError
from pairsim.export import OnnxExport, Quantization, export_onnx, load_onnx, quantize_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

THRESHOLD = 0.97


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    made = small_model()
    with torch.no_grad():
        made.projection.weight.fill_(100.0)
        made.projection.bias.fill_(-100.0 * THRESHOLD)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="module")
def full(model: SimilarityModel, folder: Path) -> OnnxExport:
    return export_onnx(model, folder / "full.onnx")


@pytest.fixture(scope="module")
def labelled() -> ImageTensors:
    """Six classes of eight images, each a pattern with noise."""
    patterns = pixels(6, seed=5).int().repeat_interleave(8, dim=0)
    noise = torch.randint(-60, 61, patterns.shape, generator=torch.Generator().manual_seed(0))
    return ImageTensors((patterns + noise).clamp(0, 255).to(torch.uint8), np.repeat(np.arange(6), 8))


@pytest.fixture(scope="module")
def made(full: OnnxExport, folder: Path, labelled: ImageTensors) -> Quantization:
    return quantize_onnx(full.path, folder / "int8.onnx", calibration=pixels(40), held_out=labelled)


def balanced_accuracy(similarity: Any, target: Any, threshold: float) -> float:
    right = (similarity >= threshold) == target
    return float((right[target].mean() + right[~target].mean()) / 2)


def test_weights_are_stored_in_int8(full: OnnxExport, made: Quantization) -> None:
    assert (made.bytes_before, made.bytes_after) == (full.path.stat().st_size, made.path.stat().st_size)
    assert made.bytes_before / made.bytes_after > 2.5  # of so small a net the description is a good part
    large = [value for value in onnx.load(made.path).graph.initializer if np.prod(value.dims) > 500]
    assert len(large) == 3 == made.num_layers
    for value in large:
        assert value.data_type == onnx.TensorProto.INT8
        assert np.abs(onnx.numpy_helper.to_array(value).astype(int)).max() <= 64  # 7 bits
    onnx.checker.check_model(onnx.load(made.path), full_check=True)


def test_quality_by_brute_force(full: OnnxExport, made: Quantization, labelled: ImageTensors) -> None:
    images = labelled.images.numpy()
    a, b = (load_onnx(path).embed(images).astype(np.float64) for path in (full.path, made.path))
    pairs = list(itertools.combinations(range(48), 2))
    first, second = np.array(pairs).T
    before, after = ((v[first] * v[second]).sum(axis=1) for v in (a, b))
    target = labelled.targets[first] == labelled.targets[second]
    threshold = made.description.threshold
    assert threshold == pytest.approx(THRESHOLD)
    assert made.num_pairs == len(pairs)
    assert made.mean_change == pytest.approx(np.abs(before - after).mean(), abs=1e-6)
    assert made.max_change == pytest.approx(np.abs(before - after).max(), abs=1e-6)
    assert 0 < made.max_change < 0.05
    assert made.balanced_accuracy_before == pytest.approx(balanced_accuracy(before, target, threshold))
    assert made.balanced_accuracy_after == pytest.approx(balanced_accuracy(after, target, threshold))


def test_what_the_file_says(full: OnnxExport, made: Quantization) -> None:
    description = load_onnx(made.path).description
    assert description == made.description
    assert description.quantization == {
        "format": "int8",
        "layers": 3,
        "calibration_images": 40,
        "ranges": "smallest and largest value",
    }
    assert description.model_sha256 == full.description.model_sha256
    said = json.loads(json.dumps(made.to_dict()))
    assert (said["num_layers"], said["num_calibration_images"], said["num_pairs"]) == (3, 40, 1128)
    text = str(made)
    assert "3 layers, ranges from 40 images" in text
    assert "Balanced accuracy at threshold 0.9700: " in text


def test_pairs(model: SimilarityModel, folder: Path, labelled: ImageTensors) -> None:
    full = export_onnx(model, folder / "pair.onnx", kind="pair")
    made = quantize_onnx(full.path, folder / "pair8.onnx", calibration=labelled, held_out=labelled)
    drawn = PairDataset(labelled).all_pairs()
    images = labelled.images.numpy()
    before, after = (load_onnx(p).compare(images[drawn.first], images[drawn.second])[0] for p in (full.path, made.path))
    assert made.num_pairs == 48
    assert made.max_change == pytest.approx(np.abs(before - after).max(), abs=1e-6)
    expected = balanced_accuracy(after, drawn.target == 1, made.description.threshold)
    assert made.balanced_accuracy_after == pytest.approx(expected)
    unlabelled = quantize_onnx(full.path, folder / "pair8.onnx", calibration=pixels(9).numpy())
    assert unlabelled.num_pairs == 8
    assert unlabelled.balanced_accuracy_before is None


def test_the_last_layers_may_stay_in_float(
    full: OnnxExport,
    made: Quantization,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.DEBUG):
        found = quantize_onnx(full.path, folder / "some.onnx", calibration=pixels(40), num_images=10, float_layers=1)
    assert (found.num_layers, found.num_calibration_images, found.num_pairs) == (2, 10, 45)
    assert found.bytes_after > made.bytes_after
    assert found.balanced_accuracy_after is None
    assert "Balanced accuracy" not in str(found)
    # nothing for a user to wonder about
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")


def test_calibration_images_are_spread_evenly(full: OnnxExport, folder: Path) -> None:
    """Black images but for those in the middle: taken from the beginning only, ranges would be those of black."""
    images = torch.zeros(90, 3, 12, 10, dtype=torch.uint8)
    images[30:60] = pixels(30)
    some = quantize_onnx(full.path, folder / "a.onnx", calibration=images, num_images=30)
    assert some.num_calibration_images == 30
    assert 0 < some.max_change < 0.1


def test_refusals(full: OnnxExport, made: Quantization, folder: Path) -> None:
    target, images = folder / "refused.onnx", pixels(4)
    with pytest.raises(ValueError, match=r"Expected a file in float32, .* is int8 already"):
        quantize_onnx(made.path, target, calibration=images)
    with pytest.raises(ValueError, match="Expected at least two calibration images, got 1"):
        quantize_onnx(full.path, target, calibration=images[:1])
    with pytest.raises(ValueError, match="Expected num_images to be a whole number of at least 2, got 1"):
        quantize_onnx(full.path, target, calibration=images, num_images=1)
    with pytest.raises(ValueError, match="Expected float_layers to be a whole number of at least 0, got -1"):
        quantize_onnx(full.path, target, calibration=images, float_layers=-1)
    with pytest.raises(ValueError, match=r"besides the last 3, found none\. Lower float_layers"):
        quantize_onnx(full.path, target, calibration=images, float_layers=3)
    with pytest.raises(ValueError, match=r"Expected images as uint8 .* got float32 .*scales and normalises"):
        quantize_onnx(full.path, target, calibration=images.float())
    with pytest.raises(ValueError, match=r"Expected images as uint8 \[N, 3, 12, 10\].*got uint8 \[4, 3, 12, 9\]"):
        quantize_onnx(full.path, target, calibration=images[..., :9])
    with pytest.raises(RunError, match="Expected an ONNX file at"):
        quantize_onnx(folder / "absent.onnx", target, calibration=images)
    assert not target.exists()


def test_a_net_without_layers(folder: Path) -> None:
    full = export_onnx(SimilarityModel(Tiny()), folder / "tiny.onnx")
    with pytest.raises(ValueError, match=r"Expected layers to quantise.*found none"):
        quantize_onnx(full.path, folder / "tiny8.onnx", calibration=pixels(4))
