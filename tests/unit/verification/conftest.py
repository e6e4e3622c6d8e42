from __future__ import annotations

import pytest
import torch

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.data import ImageTensors, load_data, stratified_split
from pairsim.data.class_index import ClassIndex
from pairsim.data.image_sets import subset


@pytest.fixture(scope="module")
def splits() -> tuple[ImageTensors, ImageTensors, ImageTensors]:
    """Images for training, for calibration and for evaluation."""
    train = load_data("digits", "train").dataset
    kept, held = stratified_split(ClassIndex.from_labels(train.targets), 0.3, seed=0)
    return subset(train, kept), subset(train, held), load_data("digits", "test").dataset


@pytest.fixture(scope="module")
def weights(splits: tuple[ImageTensors, ...]) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(image_size=16))
    Trainer(model, TrainConfig(epochs=4, batch_size=64, progress=False), train=splits[0], val=splits[1]).fit()
    return model.weights()


@pytest.fixture
def model(weights: dict[str, torch.Tensor], splits: tuple[ImageTensors, ...]) -> SimilarityModel:
    from pairsim.images.preprocessing import channel_statistics

    found = SimilarityModel(EmbeddingNet(image_size=16))
    found.load_state_dict(weights)
    mean, std = channel_statistics(splits[0].images)
    found.preprocessing = type(found.preprocessing)(image_size=(16, 16), channels=1, mean=mean, std=std)
    return found.eval()
