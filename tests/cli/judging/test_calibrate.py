from __future__ import annotations

from pathlib import Path

import pytest
from picture_files import write_pictures
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
    never = here("calibrate", run, "digits", "--prior", "1e-9", cwd=tmp_path)
    assert "Warning: with this threshold every pair gets the same decision: no similarity reaches" in never.err
    assert "Choose it by --target-fmr or --equal-errors, or check --prior." in never.err
    on_test = here("calibrate", run, "digits", "--split", "test", cwd=tmp_path)
    assert "will look better than they are" in on_test.err


def test_calibrate_refuses_what_it_cannot_know(run: Path, pictures: Path, tmp_path: Path) -> None:
    said = failure(here("calibrate", run, "digits", "--target-fmr", "0.00001", cwd=tmp_path), 1)
    assert "300,000 negative pairs" in said
    said = failure(here("calibrate", run / "model", "digits", cwd=tmp_path), 1)
    assert "Expected a run folder" in said
    said = failure(here("calibrate", run, pictures, cwd=tmp_path), 1)
    assert "Expected the data that" in said


@pytest.mark.parametrize(
    ("fraction", "found"),
    [("0.1", "Expected run with validation images, found none"), ("0.3", "found 8 of 8 classes"), ("0.5", "")],
)
def test_what_helps_where_each_class_has_one_validation_image(fraction: str, found: str, tmp_path: Path) -> None:
    for name in range(8):  # classes that differ by brightness
        names = [f"{name}/{number}.png" for number in range(5)]
        write_pictures(tmp_path / "data", names, brightest=31 * name + 8)
    options = ("--epochs", "1", "--no-report", "--val-fraction", fraction, "--backbone", "reference")
    assert here("train", "data", "--out", "run", *options, cwd=tmp_path).status == 0
    done = here("calibrate", "run", "data", "--equal-errors", cwd=tmp_path)
    if not found:
        assert "calibration on 8 positive and 112 negative pairs (validation images of data)" in done.out
        return
    said = failure(done, 1)
    assert found in said
    assert "Train with a larger --val-fraction, such as 0.5, or with --unseen 0.3" in said
    assert "or give --pairs FILE, or --split train with a folder" in said


def test_what_helps_where_a_folder_has_one_image_of_each_class_in_its_val(tmp_path: Path) -> None:
    for name in map(str, range(4)):
        for split, count in (("train", 4), ("val", 1)):
            write_pictures(tmp_path / "data" / split / name, [f"{number}.png" for number in range(count)])
    options = ("--epochs", "1", "--no-report", "--backbone", "reference")
    assert here("train", "data", "--out", "run", *options, cwd=tmp_path).status == 0
    said = failure(here("calibrate", "run", "data", cwd=tmp_path), 1)
    assert "found 4 of 4 classes. Add images to the folder's own val; or give --pairs FILE" in said
