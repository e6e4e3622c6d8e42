"""A small model, shared by the tests of both ways to embed."""

from __future__ import annotations

import pytest

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.images import Preprocessing


@pytest.fixture
def model() -> SimilarityModel:
    net = EmbeddingNet(image_size=8, embedding_dim=6)
    return SimilarityModel(net, preprocessing=Preprocessing(image_size=(8, 8), channels=1, mean=(0.2,), std=(0.4,)))
