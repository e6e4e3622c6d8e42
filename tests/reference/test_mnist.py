"""On real MNIST: the quality that the README states, and the notebook's own model inside pairsim."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.notebook_recipe import NotebookRun
from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, evaluate
from pairsim.data import LabelledData
from pairsim.data.named import load_data

pytestmark = pytest.mark.mnist


@pytest.fixture(scope="module")
def test_split(mnist_root: Path) -> LabelledData:
    return load_data("mnist", "test", data_dir=mnist_root)


def test_one_pass_of_all_pairs(mnist_root: Path, test_split: LabelledData) -> None:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet())
    train = load_data("mnist", "train", data_dir=mnist_root).dataset
    Trainer(model, TrainConfig(epochs=1), train=train).fit()
    report = evaluate(model, test_split.dataset)
    assert (report.num_images, report.num_pairs) == (10_000, 49_995_000)
    assert report.balanced_accuracy > 0.990
    assert report.roc_auc > 0.999
    low, high = report.intervals["eer"]
    assert low < report.eer < high < 0.012


def test_statistics_of_the_training_images_are_the_known_ones(mnist_root: Path) -> None:
    model = SimilarityModel(EmbeddingNet())
    Trainer(model, TrainConfig(epochs=1), train=load_data("mnist", "train", data_dir=mnist_root).dataset)
    assert model.preprocessing.mean == pytest.approx([0.1307], abs=5e-4)
    assert model.preprocessing.std == pytest.approx([0.3081], abs=5e-4)


def test_a_notebook_model_loads_strictly_and_gives_the_same_similarity(mnist_root: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = NotebookRun(mnist_root, seed=0)
    file = tmp_path / "best_model.pt"
    torch.save(run.model.state_dict(), file)
    model = SimilarityModel()
    model.load_state_dict(torch.load(file, weights_only=True), strict=True)
    model.eval()
    run.model.eval()
    images = load_data("mnist", "test", data_dir=mnist_root).dataset.images[:512].float()
    images = (images / 255 - 0.1307) / 0.3081
    with torch.no_grad():
        expected = run.model.get_raw_similarity(images[:256], images[256:])
        found = model.get_raw_similarity(images[:256], images[256:])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(model(images[:256], images[256:]), run.model(images[:256], images[256:]))
