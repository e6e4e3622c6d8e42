from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch

from pairsim import GalleryCalibration
from pairsim.search import PredictedFpir

CALIBRATION = GalleryCalibration(
    threshold=0.5,
    target_fpir=0.1,
    num_identities=10,
    predictions=(PredictedFpir(10, 0.08, 0.05, 0.12), PredictedFpir(20, 0.16, 0.1, 0.3)),
    num_searches=40,
    num_unknown=20,
    source="others",
    prior=0.5,
    fnir=0.2,
    fnir_interval=(0.1, 0.4),
    weight=10.0,
    bias=-5.0,
)


def test_json_and_back() -> None:
    assert GalleryCalibration.from_dict(json.loads(json.dumps(CALIBRATION.to_dict()))) == CALIBRATION
    bare = dataclasses.replace(CALIBRATION, fnir=None, fnir_interval=None, weight=None)
    assert GalleryCalibration.from_dict(bare.to_dict()) == bare
    assert (CALIBRATION.fpir, CALIBRATION.fpir_interval) == (0.08, (0.05, 0.12))
    old = {key: value for key, value in CALIBRATION.to_dict().items() if key not in ("num_images", "num_left")}
    assert GalleryCalibration.from_dict(old) == CALIBRATION


@pytest.mark.parametrize(
    "change",
    [
        {"predictions": []},
        {"predictions": [[10, 0.1, 0.0, 2.0]]},
        {"predictions": [[10, math.nan, 0.0, 1.0]]},
        {"predictions": [[20, 0.1, 0.0, 0.2], [10, 0.1, 0.0, 0.2]]},
        {"predictions": [[0, 0.1, 0.0, 0.2]]},
        {"predictions": [[10, 0.1]]},
        {"threshold": "x"},
        {"threshold": math.nan},
        {"weight": -1.0},
        {"num_identities": 0},
        {"prior": 2.0},
        {"fnir_interval": [1]},
        {"num_images": -1},
        {"num_left": "x"},
        {"more": 1},
    ],
)
def test_damaged_values_are_found(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, IndexError)):
        GalleryCalibration.from_dict({**CALIBRATION.to_dict(), **change})


def test_rate_of_other_sizes() -> None:
    assert CALIBRATION.fpir_at(10) == CALIBRATION.predictions[0]
    assert CALIBRATION.fpir_at(4) == PredictedFpir(4, 0.08, 0.05, 0.12)
    assert CALIBRATION.fpir_at(21) is None
    between = CALIBRATION.fpir_at(14)
    assert between is not None
    assert between.fpir == pytest.approx(0.08 + 0.08 * math.log(1.4) / math.log(2))
    assert [CALIBRATION.is_stale(size) for size in (9, 11, 12)] == [False, False, True]
    replaced = dataclasses.replace(CALIBRATION, num_left=5)
    assert [replaced.is_stale(size) for size in (4, 5, 6, 10)] == [False, False, True, True]
    gone = dataclasses.replace(CALIBRATION, num_left=0)
    assert [gone.is_stale(size) for size in (0, 1)] == [False, True]


def test_probability_without_a_line_is_not_known() -> None:
    bare = dataclasses.replace(CALIBRATION, weight=None)
    assert bare.probability(torch.tensor([0.5]), 10).isnan().all()
    assert CALIBRATION.probability(torch.tensor([0.5]), 10).item() == pytest.approx(0.5)


def test_text() -> None:
    assert str(CALIBRATION).splitlines() == [
        "threshold 0.5000 for an FPIR of at most 0.1: FPIR 8.00% [5.00%, 12.00%] with 10 identities, from 40 searches "
        "for 20 others (others)",
        "FNIR 20.00% [10.00%, 40.00%]: enrolled, but not found",
    ]
