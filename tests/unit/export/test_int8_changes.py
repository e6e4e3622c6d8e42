from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from exported import SIZE, pixels, small_model

from pairsim import PairDataset
from pairsim._common.choices import ExportKind
from pairsim.data import ImageTensors
from pairsim.evaluation import PairScores
from pairsim.export.description import Description
from pairsim.export.int8_changes import PixelSource, measure_changes
from pairsim.export.onnx_models import Float32Array, OnnxModel

THRESHOLD = 0.6


class Session:
    """Embeds an image by the brightness of its rows, and the cosine of two such embeddings; some noise is added."""

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self.inputs]

    inputs: tuple[str, ...] = ("images",)

    def embed(self, images: Any) -> Float32Array:
        rows = images.mean(axis=(1, 3), dtype=np.float32) - 127.5
        rows += self.noise * np.sin(rows)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def run(self, _: None, images: dict[str, Any]) -> list[Float32Array]:
        return [self.embed(images["images"])]


class PairSession(Session):
    inputs = ("first", "second")

    def run(self, _: None, images: dict[str, Any]) -> list[Float32Array]:
        similarity = (self.embed(images["first"]) * self.embed(images["second"])).sum(axis=1)
        return [similarity, similarity]


def models(kind: ExportKind, threshold: float = THRESHOLD) -> tuple[OnnxModel, OnnxModel]:
    description = dataclasses.replace(Description.of(small_model(), kind, SIZE[0]), threshold=threshold)
    session = Session if kind == "embed" else PairSession
    return OnnxModel(session(0.0), description), OnnxModel(session(8.0), description)


@pytest.fixture
def labelled() -> ImageTensors:
    """Six classes of eight images, each a pattern with noise."""
    patterns = pixels(6, seed=5).int().repeat_interleave(8, dim=0)
    noise = torch.randint(-60, 61, patterns.shape, generator=torch.Generator().manual_seed(0))
    return ImageTensors((patterns + noise).clamp(0, 255).to(torch.uint8), np.repeat(np.arange(6), 8))


def test_all_pairs_of_embeddings(labelled: ImageTensors) -> None:
    before, after = models("embed")
    changes = measure_changes(before, after, PixelSource(labelled, before.description))
    first, second = np.array(list(itertools.combinations(range(48), 2))).T
    vectors = [model.embed(labelled.images.numpy()).astype(np.float64) for model in (before, after)]
    similarities = [(v[first] * v[second]).sum(axis=1) for v in vectors]
    difference = np.abs(similarities[0] - similarities[1])
    assert changes["num_pairs"] == len(first) == 1128
    assert changes["mean_change"] == pytest.approx(difference.mean(), abs=1e-6)
    assert changes["max_change"] == pytest.approx(difference.max(), abs=1e-6)
    assert changes["max_change"] > 0.01
    target = labelled.targets[first] == labelled.targets[second]
    for name, similarity in zip(("before", "after"), similarities, strict=True):
        expected = PairScores.from_scores(similarity, target).balanced_accuracy(THRESHOLD)
        assert changes[f"balanced_accuracy_{name}"] == pytest.approx(expected)


def test_drawn_pairs(labelled: ImageTensors) -> None:
    before, after = models("pair")
    changes = measure_changes(before, after, PixelSource(labelled, before.description))
    drawn, images = PairDataset(labelled).all_pairs(), labelled.images.numpy()
    similarities = [model.compare(images[drawn.first], images[drawn.second])[0] for model in (before, after)]
    assert changes["num_pairs"] == 48
    assert changes["max_change"] == pytest.approx(np.abs(similarities[0] - similarities[1]).max())
    expected = PairScores.from_scores(similarities[1], drawn.target).balanced_accuracy(THRESHOLD)
    assert changes["balanced_accuracy_after"] == expected


@pytest.mark.parametrize(("kind", "num_pairs"), [("embed", 36), ("pair", 8)])
def test_without_labels_or_threshold(kind: ExportKind, num_pairs: int, labelled: ImageTensors) -> None:
    before, after = models(kind)
    changes = measure_changes(before, after, PixelSource(pixels(9), before.description))
    assert set(changes) == {"num_pairs", "mean_change", "max_change"}
    assert changes["num_pairs"] == num_pairs
    before, after = models(kind, threshold=float("nan"))
    assert "balanced_accuracy_before" not in measure_changes(before, after, PixelSource(labelled, before.description))


def test_pixels_of_arrays_tensors_and_datasets(labelled: ImageTensors) -> None:
    description = Description.of(small_model(), "embed", 8)
    images = labelled.images
    for data, labels in (
        (images, False),
        (images.numpy(), False),
        (labelled, True),
        ([labelled[k] for k in range(48)], True),
    ):
        source = PixelSource(data, description)
        assert (len(source), source.labelled) == (48, labels)
        assert np.array_equal(source.at(np.array([5, 0])), images[[5, 0]].numpy())
    assert np.array_equal(source.sample(3), images[[0, 24, 47]].numpy())
    assert len(source.sample(100)) == 48
    assert [len(batch) for batch in source.batches(np.arange(300) % 48)] == [256, 44]
    with pytest.raises(ValueError, match="Expected images as uint8"):
        PixelSource(images[..., :9], description).sample(3)
