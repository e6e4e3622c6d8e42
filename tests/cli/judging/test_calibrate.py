from __future__ import annotations

from pathlib import Path

import pytest
from run_command import failure, here


@pytest.mark.slow
def test_calibrate_stores_what_compare_and_evaluate_use(run: Path, pictures: Path, tmp_path: Path) -> None:
    before = here("evaluate", run, "digits", "--json", cwd=tmp_path).json
    done = here("calibrate", run, "digits", "--target-fmr", "0.01", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    found = done.json
    assert found["operating_point"]["fmr"] <= 0.01
    assert found["source"] == "validation images of digits"
    after = here("evaluate", run, "digits", "--json", cwd=tmp_path).json
    assert after["threshold"] == found["threshold"] != before["threshold"]
    assert after["ece"] < before["ece"]
    compared = here("compare", run, *sorted((pictures / "across").iterdir())[:2], "--json", cwd=tmp_path).json
    assert compared["threshold"] == found["threshold"]
    text = here("calibrate", run, "digits", "--prior", "0.01", "--method", "isotonic", "--equal-errors", cwd=tmp_path)
    assert text.status == 0, text.err
    assert "isotonic calibration on" in text.out
    assert "equal errors: FMR" in text.out
    on_test = here("calibrate", run, "digits", "--split", "test", cwd=tmp_path)
    assert "will look better than they are" in on_test.err


def test_calibrate_refuses_what_it_cannot_know(run: Path, pictures: Path, tmp_path: Path) -> None:
    said = failure(here("calibrate", run, "digits", "--target-fmr", "0.00001", cwd=tmp_path), 1)
    assert "300,000 negative pairs" in said
    said = failure(here("calibrate", run / "model", "digits", cwd=tmp_path), 1)
    assert "Expected a run folder" in said
    said = failure(here("calibrate", run, pictures, cwd=tmp_path), 1)
    assert "Expected the data that" in said
