"""A small model, shared by the tests of both ways to embed."""

from __future__ import annotations

import pytest
from small_models import small_model

from pairsim import SimilarityModel
from pairsim.images import Preprocessing


@pytest.fixture
def model() -> SimilarityModel:
    return small_model(preprocessing=Preprocessing(image_size=(8, 8), channels=1, mean=(0.2,), std=(0.4,)))
