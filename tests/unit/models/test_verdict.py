"""Operating points are saved as JSON values and read back."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from pairsim.models import OperatingPoint


@pytest.mark.parametrize("interval", [None, (0.001, 0.02)])
def test_an_operating_point_survives_json(interval: tuple[float, float] | None) -> None:
    point = OperatingPoint(0.7, 0.01, 0.02, 10, 90, "a test", fmr_interval=interval, fnmr_interval=interval)
    assert OperatingPoint.from_dict(json.loads(json.dumps(asdict(point)))) == point


def test_older_files_have_fewer_fields() -> None:
    values = {
        "threshold": 0.5, "fmr": 0.1, "fnmr": 0.2, "num_positive": 1, "num_negative": 2, "source": "x",
    }  # fmt: skip
    assert OperatingPoint.from_dict(values) == OperatingPoint(0.5, 0.1, 0.2, 1, 2, "x")
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        OperatingPoint.from_dict({**values, "other": 1})


def test_it_is_printed_in_one_line() -> None:
    point = OperatingPoint(0.71239, 0.01, 0.02, 10, 90, "a test", criterion="FMR", fmr_interval=(0.005, 0.015))
    assert str(point) == "threshold 0.7124 for FMR: FMR 1.000% [0.500%, 1.500%], FNMR 2.000%"
