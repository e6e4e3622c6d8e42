"""On real MNIST: exported files give what the model gives, and int8 costs next to nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import ClassIndex, ImageTensors, stratified_split
from pairsim.data.image_sets import subset
from pairsim.data.named import load_data
from pairsim.export import export_onnx, load_onnx, quantize_onnx

pytestmark = [pytest.mark.mnist, pytest.mark.slow]
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def train(mnist_root: Path) -> ImageTensors:
    """A fifth of the training images."""
    images: ImageTensors = load_data("mnist", "train", data_dir=mnist_root).dataset
    _, some = stratified_split(ClassIndex.from_labels(images.targets), 0.2, seed=0)
    found: ImageTensors = subset(images, some)
    return found


@pytest.fixture(scope="module")
def model(train: ImageTensors) -> SimilarityModel:
    torch.manual_seed(0)
    made = SimilarityModel(EmbeddingNet())
    Trainer(made, TrainConfig(objective="all-pairs", epochs=1, device="cpu"), train=train).fit()
    return made.eval()


def test_the_same_embeddings_and_hardly_a_worse_decision_in_int8(
    mnist_root: Path, train: ImageTensors, model: SimilarityModel, tmp_path: Path
) -> None:
    test: ImageTensors = load_data("mnist", "test", data_dir=mnist_root).dataset
    full = export_onnx(model, tmp_path / "full.onnx")
    pixels = test.images.numpy()
    found = np.concatenate([load_onnx(full.path).embed(part) for part in np.array_split(pixels, 20)])
    assert np.abs(found - model.encode(test.images).numpy()).max() < 1e-5
    made = quantize_onnx(full.path, tmp_path / "int8.onnx", calibration=train, held_out=test)
    assert made.num_pairs == 49_995_000
    assert made.bytes_before / made.bytes_after > 3
    assert made.balanced_accuracy_before is not None
    assert made.balanced_accuracy_after is not None
    assert made.balanced_accuracy_before == pytest.approx(evaluate(model, test).balanced_accuracy, abs=1e-6)
    assert made.balanced_accuracy_before - made.balanced_accuracy_after < 0.002
    assert made.max_change < 0.1
