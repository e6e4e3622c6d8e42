"""Each checksum of a model changes with what it is of, and with nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_models import small_model

from pairsim import Calibration, SimilarityModel
from pairsim._common import storage
from pairsim.images import Preprocessing
from pairsim.models.identity import embedding_sha256, model_sha256, saved_sha256, short


def change_net(model: SimilarityModel) -> None:
    with torch.no_grad():
        next(model.embedding_net.parameters()).add_(1.0)


def change_projection(model: SimilarityModel) -> None:
    with torch.no_grad():
        model.projection.bias.add_(1.0)


def change_preprocessing(model: SimilarityModel) -> None:
    model.preprocessing = Preprocessing(image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,))


def change_calibration(model: SimilarityModel) -> None:
    model.calibration = Calibration(method="platt", prior=0.5, weight=20.0, bias=-10.0)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (change_net, {"embedding", "model", "weights", "config"}),
        (change_projection, {"model", "weights", "config"}),
        (change_preprocessing, {"embedding", "model", "config"}),
        (change_calibration, {"config"}),
        (SimilarityModel.train, set()),
    ],
)
def test_what_changes_which(change: Callable[[SimilarityModel], object], changed: set[str], tmp_path: Path) -> None:
    def checksums(model: SimilarityModel) -> dict[str, str]:
        model.save_pretrained(tmp_path)
        saved = saved_sha256(tmp_path)
        return {
            "embedding": embedding_sha256(model),
            "model": model_sha256(model),
            "weights": saved["weights_sha256"],
            "config": saved["config_sha256"],
        }

    model = small_model()
    before = checksums(model)
    assert checksums(small_model()) == before
    change(model)
    after = checksums(model)
    assert {name for name in before if before[name] != after[name]} == changed


def test_the_bytes_are_those_of_galleries_and_files_of_earlier_versions() -> None:
    model = small_model()
    preprocessing = storage.to_json(model.preprocessing.to_dict())
    for module, found in ((model.embedding_net, embedding_sha256(model)), (model, model_sha256(model))):
        weights = safetensors.torch.save({name: value.contiguous() for name, value in module.state_dict().items()})
        assert found == hashlib.sha256(weights + preprocessing).hexdigest()


def test_short() -> None:
    assert short("0123456789abcdef") == "SHA-256 0123456789ab"
    assert short(None) == "SHA-256 "
