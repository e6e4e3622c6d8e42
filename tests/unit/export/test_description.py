from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from exported import isotonic, small_model

from pairsim import SimilarityModel
from pairsim.errors import RunError
from pairsim.export.description import Description
from pairsim.models import Calibration, OperatingPoint

FILE = Path("model.onnx")


def described() -> SimilarityModel:
    model = small_model(calibration=isotonic())
    model.operating_point = OperatingPoint(0.7, 0.01, 0.02, 10, 90, "a test", fmr_interval=(0.0, 0.1))
    return model


def test_values_are_those_of_the_model() -> None:
    model = described()
    description = Description.of(model, "pair", 8)
    assert (description.kind, description.embedding_dim, description.quantization) == ("pair", 8, None)
    assert (description.preprocessing, description.calibration) == (model.preprocessing, model.calibration)
    assert (description.threshold, description.operating_point) == (0.7, model.operating_point)
    assert description.projection == (model.projection.weight.item(), model.projection.bias.item())
    assert description.prior == 0.1
    assert Description.of(SimilarityModel(), "embed", 128).prior == 0.5


@pytest.mark.parametrize("model", [described(), SimilarityModel()], ids=["calibrated", "new"])
def test_properties_are_read_back(model: SimilarityModel) -> None:
    description = Description.of(model, "embed", 8)
    properties = description.to_properties()
    assert all(name.startswith("pairsim.") for name in properties)
    assert {name.removeprefix("pairsim."): json.loads(text) for name, text in properties.items()} == json.loads(
        json.dumps(description.to_dict())
    )
    assert Description.from_properties({**properties, "other": "{"}, FILE) == description


@pytest.mark.parametrize("calibration", [None, isotonic().with_prior(1e-9), isotonic().with_prior(1 - 1e-9)])
def test_a_model_without_a_threshold(calibration: Calibration | None) -> None:
    model = small_model(calibration=calibration)
    with torch.no_grad():
        model.projection.weight.fill_(-1.0)
    assert not math.isfinite(model.threshold)
    description = Description.of(model, "embed", 8)
    assert description.to_dict()["threshold"] is None
    assert math.isnan(Description.from_properties(description.to_properties(), FILE).threshold)


def test_the_checksum_is_of_weights_and_preprocessing() -> None:
    first = Description.of(described(), "embed", 8).model_sha256
    changed = described()
    changed.operating_point = changed.calibration = None
    assert Description.of(changed, "pair", 8).model_sha256 == first
    with torch.no_grad():
        next(changed.parameters()).add_(1.0)
    assert Description.of(changed, "embed", 8).model_sha256 != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "model.onnx to be a file that pairsim exported, found no description"),
        ({"format_version": "99"}, "format version 1 at most, found 99.*Upgrade with"),
        ({"kind": "{"}, "is damaged: .*Export the model again"),
        ({"image_size": "[3]"}, "is damaged: ValueError"),
        ({"threshold": None}, "is damaged: KeyError: 'threshold'"),
        ({"projection": "[1, 2]"}, "is damaged: TypeError"),
    ],
)
def test_descriptions_that_cannot_be_used(changes: dict[str, str | None], message: str) -> None:
    properties: dict[str, str | None] = {**Description.of(described(), "embed", 8).to_properties()}
    properties |= {f"pairsim.{name}": value for name, value in changes.items()}
    with pytest.raises(RunError, match=message):
        Description.from_properties({name: value for name, value in properties.items() if value is not None}, FILE)
