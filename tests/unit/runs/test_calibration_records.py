from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pairsim import SimilarityModel
from pairsim.models import Calibration, OperatingPoint
from pairsim.runs.calibration_records import CALIBRATION, calibration_classes, save_calibration


@pytest.fixture
def run(tmp_path: Path) -> Path:
    model = SimilarityModel()
    model.save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text("{}")
    return tmp_path / "run"


def test_classes_hold_for_the_calibration_that_they_are_of(run: Path) -> None:
    model = SimilarityModel.from_pretrained(run)
    assert calibration_classes(run, model, {}) == set()
    save_calibration(run, run / "model", ["b", "a"])
    assert json.loads((run / CALIBRATION).read_text())["class_names"] == ["a", "b"]
    for folder in (run, run / "model"):
        assert calibration_classes(folder, model, {}) == {"a", "b"}
    model.operating_point = OperatingPoint(0.3, 0.1, 0.1, 1, 1, "other data")
    model.save_pretrained(run / "model")
    assert calibration_classes(run, model, {}) == set()


def test_a_model_without_a_run_keeps_no_names(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "shared")
    save_calibration(tmp_path / "shared", tmp_path / "shared", ["a"])
    assert not (tmp_path / "shared" / CALIBRATION).exists()


@pytest.mark.parametrize(
    ("source", "record", "expected"),
    [
        ("validation pairs", {"class_names": ["a", "b"]}, {"a", "b"}),
        ("validation images of x", {"class_names": ["a"], "val_class_names": ["c"]}, {"c"}),
        ("validation pairs", {"class_names": ["a"], "class_split": {"val": ["d"]}}, {"d"}),
        ("test images of x", {"class_names": ["a"]}, set()),
    ],
)
def test_a_threshold_of_training_is_of_its_validation_classes(
    run: Path, source: str, record: dict[str, object], expected: set[str]
) -> None:
    model = SimilarityModel.from_pretrained(run)
    model.operating_point = OperatingPoint(0.3, 0.1, 0.1, 1, 1, source)
    assert calibration_classes(run, model, record) == expected
    model.calibration = Calibration(method="platt", prior=0.5, weight=1.0, bias=0.0)
    assert calibration_classes(run, model, record) == set()
