from __future__ import annotations

import dataclasses

import pytest

from pairsim.models import OperatingPoint, Verdict


def test_a_verdict_as_text() -> None:
    verdict = Verdict(match=True, similarity=0.97011, probability=0.99182, threshold=0.4970, fmr=0.0123)
    assert str(verdict) == (
        "MATCH\nsimilarity 0.9701 >= threshold 0.4970, where 1.23% of different held-out pairs match too; "
        "probability 0.9918"
    )
    verdict = dataclasses.replace(verdict, match=False, similarity=-0.25, fmr=None)
    assert str(verdict) == "NO MATCH\nsimilarity -0.2500 < threshold 0.4970; probability 0.9918"


@pytest.mark.parametrize("interval", [None, (0.0, 0.125)])
def test_an_operating_point_is_read_back(interval: tuple[float, float] | None) -> None:
    point = OperatingPoint(0.5, 0.01, 0.02, 10, 90, "a test", "FMR of at most 0.01", interval, None)
    values = dataclasses.asdict(point)
    assert OperatingPoint.from_dict({**values, "fmr_interval": interval and list(interval)}) == point
    shown = "" if interval is None else " [0.000%, 12.500%]"
    assert str(point) == f"threshold 0.5000 for FMR of at most 0.01: FMR 1.000%{shown}, FNMR 2.000%"


def test_older_files_have_fewer_fields() -> None:
    values = {
        "threshold": 0.5, "fmr": 0.1, "fnmr": 0.2, "num_positive": 1, "num_negative": 2, "source": "x",
    }  # fmt: skip
    assert OperatingPoint.from_dict(values) == OperatingPoint(0.5, 0.1, 0.2, 1, 2, "x")
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        OperatingPoint.from_dict({**values, "other": 1})


def test_an_interval_has_two_ends() -> None:
    values = dataclasses.asdict(OperatingPoint(0.5, 0.01, 0.02, 10, 90, "a test"))
    with pytest.raises(ValueError, match="too many values to unpack"):
        OperatingPoint.from_dict({**values, "fmr_interval": [0.0, 0.1, 0.2]})
