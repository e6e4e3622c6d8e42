from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pairsim import Calibration, EmbeddingNet, SimilarityModel
from pairsim.models import OperatingPoint

PLATT = Calibration(method="platt", prior=0.5, weight=8.0, bias=-4.0)
ISOTONIC = Calibration(method="isotonic", prior=0.1, similarities=(0.0, 0.2, 0.6, 0.9), evidence=(-5.0, -5.0, 1.0, 4.0))


@given(st.floats(-1, 1), st.floats(0.001, 0.999))
def test_platt_is_evidence_plus_prior(similarity: float, prior: float) -> None:
    found = PLATT.with_prior(prior).probability(torch.tensor([similarity], dtype=torch.float64)).item()
    odds = prior / (1 - prior) * math.exp(8 * similarity - 4)
    assert found == pytest.approx(odds / (1 + odds), rel=1e-12)


def test_isotonic_is_joined_by_lines_and_level_beyond() -> None:
    similarity = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    expected = np.interp(similarity.numpy(), ISOTONIC.similarities, ISOTONIC.evidence)
    np.testing.assert_allclose(ISOTONIC.log_likelihood_ratio(similarity).numpy(), expected, atol=1e-12)
    one = Calibration(method="isotonic", prior=0.5, similarities=(0.3,), evidence=(2.0,))
    assert one.log_likelihood_ratio(torch.tensor([0.0, 1.0])).tolist() == [2.0, 2.0]


@pytest.mark.parametrize("calibration", [PLATT, ISOTONIC])
def test_shape_dtype_and_nan(calibration: Calibration) -> None:
    found = calibration.probability(torch.tensor([[0.2, float("nan")], [0.6, 0.9]]))
    assert (found.shape, found.dtype) == ((2, 2), torch.float32)
    assert found.isnan().tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("calibration", [PLATT, ISOTONIC])
@pytest.mark.parametrize("wanted", [0.05, 0.5, 0.8])
def test_similarity_at_a_probability(calibration: Calibration, wanted: float) -> None:
    found = calibration.similarity_at(wanted)
    at = calibration.probability(torch.tensor([found, found - 1e-6], dtype=torch.float64))
    assert at[0].item() == pytest.approx(wanted, abs=1e-9)
    assert at[1] < at[0]


def test_similarity_at_what_never_or_always_is() -> None:
    assert ISOTONIC.similarity_at(0.999) == math.inf
    assert ISOTONIC.similarity_at(1e-6) == -math.inf


@pytest.mark.parametrize("calibration", [PLATT, ISOTONIC])
def test_through_json(calibration: Calibration) -> None:
    point = OperatingPoint(0.4, 0.01, 0.02, 10, 90, "val", "FMR", (0.005, 0.02), None)
    with_point = Calibration(**{**vars(calibration), "operating_point": point})
    assert Calibration.from_dict(json.loads(json.dumps(with_point.to_dict()))) == with_point
    assert "threshold 0.4000 for FMR: FMR 1.000% [0.500%, 2.000%], FNMR 2.000%" in str(with_point)


def test_a_model_uses_keeps_and_saves_it(tmp_path: Path) -> None:
    model = SimilarityModel(EmbeddingNet(image_size=16)).eval()
    first, second = torch.rand(2, 3, 1, 16, 16).unbind()
    similarity = model.get_raw_similarity(first, second)
    torch.testing.assert_close(model.predict_proba(first, second), torch.sigmoid(10 * similarity - 5))
    model.calibration = ISOTONIC
    calibrated = model.predict_proba(first, second)
    torch.testing.assert_close(calibrated, ISOTONIC.probability(similarity), atol=1e-4, rtol=1e-4)
    assert model.threshold == ISOTONIC.similarity_at(0.5)
    assert model.verify(first[:1], second[:1]).probability == pytest.approx(calibrated[0].item())
    model.save_pretrained(tmp_path)
    loaded = SimilarityModel.from_pretrained(tmp_path)
    assert loaded.calibration == ISOTONIC
    torch.testing.assert_close(loaded.predict_proba(first, second), calibrated)


def test_messages() -> None:
    with pytest.raises(ValueError, match=r'"platt" or "isotonic", got \'beta\''):
        Calibration(method="beta", prior=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"prior to be between 0 and 1, got 1\.0"):
        PLATT.with_prior(1.0)
    with pytest.raises(ValueError, match="rise with similarity, got weight -1"):
        Calibration(method="platt", prior=0.5, weight=-1.0)
    with pytest.raises(ValueError, match="as many similarities as evidence"):
        Calibration(method="isotonic", prior=0.5, similarities=(0.1,), evidence=())
    with pytest.raises(ValueError, match="similarities to rise"):
        Calibration(method="isotonic", prior=0.5, similarities=(0.2, 0.1), evidence=(0.0, 1.0))
    with pytest.raises(ValueError, match="a probability between 0 and 1"):
        PLATT.similarity_at(1.0)
