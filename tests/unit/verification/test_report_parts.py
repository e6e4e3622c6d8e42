from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from picture_files import write_pictures

from pairsim import PairDataset, SimilarityModel, calibrate, evaluate
from pairsim.data import ImageTensors, load_data
from pairsim.data.image_fingerprint import data_sha256
from pairsim.verification.report_parts import Measured, ThresholdOrigin, hardware_name

MEASURED = Measured(device=torch.device("cpu"), num_images=20, num_pairs=190, encode_s=2.0, compare_s=0.5)


def test_throughput_is_of_this_evaluation() -> None:
    speed = MEASURED.throughput
    assert (speed.images_per_s, speed.comparisons_per_s, speed.device) == (10.0, 380.0, "cpu")
    assert speed.hardware == hardware_name(torch.device("cpu"))
    assert "thread" in speed.hardware


def test_failures_of_given_pairs_are_counted_as_non_matches() -> None:
    measured = dataclasses.replace(MEASURED, num_failures=2, num_pictures=40, failed_pairs=(10, 5))
    found = measured.acquisition(0.1, 0.2, 90, 20)
    assert (found.num_failures, found.failure_to_acquire) == (2, 0.05)
    assert found.generalized_fmr == pytest.approx(9 / 100)
    assert found.generalized_fnmr == pytest.approx((4 + 5) / 25)


def test_failures_of_labelled_images_take_both_pictures_of_a_pair() -> None:
    found = dataclasses.replace(MEASURED, num_failures=1, num_pictures=10).acquisition(0.1, 0.2, 90, 20)
    assert found.generalized_fmr == pytest.approx(0.81 * 0.1)
    assert found.generalized_fnmr == pytest.approx(1 - 0.81 * 0.8)
    assert MEASURED.acquisition(0.1, 0.2, 90, 20).generalized_fnmr == pytest.approx(0.2)


def test_the_origin_in_words() -> None:
    assert ThresholdOrigin().in_words == "whether it shares classes with these data is not known"
    assert ThresholdOrigin(num_common_classes=0).in_words == "it shares no class with these data"
    assert ThresholdOrigin(num_common_classes=1).in_words == "it shares 1 class with these data"
    same = ThresholdOrigin(calibration_sha256="ab", test_sha256="ab", num_common_classes=3)
    assert same.in_words == "these are the same data"


def test_the_report_names_the_data_of_threshold_and_test(
    model: SimilarityModel, splits: tuple[ImageTensors, ...]
) -> None:
    calibrate(model, splits[1], source="validation digits", equal_errors=True)
    report = evaluate(model, splits[2])
    origin = report.threshold_origin
    assert (origin.source, origin.criterion) == ("validation digits", "equal errors")
    assert origin.calibration_sha256 == data_sha256(splits[1])
    assert origin.test_sha256 == data_sha256(splits[2]) != origin.calibration_sha256
    assert origin.classes == "not known"
    assert "these are the same data" in str(evaluate(model, splits[1]))
    assert evaluate(model, splits[2], threshold=0.5).threshold_origin.source == "given"
    assert report.images_per_class is not None
    assert report.images_per_class.min <= report.images_per_class.median <= report.images_per_class.max
    assert "how it was measured:" in str(report)


def test_the_hash_is_of_images_and_of_labels_or_pairs(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (4, 8, 8), dtype=torch.uint8)
    first = data_sha256(ImageTensors(images, [0, 0, 1, 1]))
    assert first == data_sha256(ImageTensors(images.clone(), [5, 5, 7, 7]))  # the same grouping
    assert first != data_sha256(ImageTensors(images, [0, 1, 0, 1]))
    assert first != data_sha256(ImageTensors(images + 1, [0, 0, 1, 1]))
    one, other = (PairDataset.from_pairs(ImageTensors(images, range(4)), [0, 1], [2, 3], t) for t in ([0, 1], [1, 0]))
    assert data_sha256(one) != data_sha256(other)
    for name in ("a", "b"):
        write_pictures(tmp_path / "here" / name, ["1.png", "2.png"], (8, 8))
    found = data_sha256(load_data(tmp_path / "here", "all"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert found == data_sha256(load_data(tmp_path / "there", "all"))
    assert data_sha256([(torch.zeros(1, 8, 8), 0), (torch.zeros(1, 8, 8), 1)]) is None


def test_pictures_that_cannot_be_read_are_failures_to_acquire(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / name, [f"{k}.png" for k in range(5)], (28, 28))
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    model = SimilarityModel()
    images = load_data(tmp_path, "all", on_error="skip", preprocessing=model.preprocessing)
    report = evaluate(model, images)
    assert (report.acquisition.num_failures, report.acquisition.failure_to_acquire) == (1, 0.1)
    assert report.acquisition.generalized_fnmr == pytest.approx(1 - 0.81 * (1 - report.fnmr))
    assert "1 picture could not be read (10.000%)" in str(report)
