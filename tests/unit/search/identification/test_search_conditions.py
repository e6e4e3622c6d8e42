from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from identities import filled
from picture_files import write_pictures
from small_models import small_model

from pairsim import Gallery, calibrate_gallery, evaluate_gallery
from pairsim.data import load_data
from pairsim.search.identification.search_conditions import ImagesEach, origin_in_words


def test_conditions(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"{name}/{number}.png" for name in "abcx" for number in range(3)], (8, 8))
    (tmp_path / "a" / "bad.png").write_text("no picture")
    (tmp_path / "x" / "worse.png").write_text("no picture")
    model = small_model(8)
    gallery = Gallery(model)
    enrolled = ["a/0.png", "a/1.png", "b/0.png", "a/bad.png"]
    gallery.add([tmp_path / name for name in enrolled], enrolled, identities=["a", "a", "b", "a"], on_error="skip")
    later = load_data(tmp_path, "all", preprocessing=model.preprocessing, on_error="skip")
    report = evaluate_gallery(gallery, later, threshold=-1.0)
    found = report.conditions
    assert found is not None
    assert (found.enrolled, found.known, found.unknown) == (
        ImagesEach(num_identities=2, num_images=3, min=1, median=1.5, max=2),
        ImagesEach(num_identities=2, num_images=6, min=3, median=3.0, max=3),
        ImagesEach(num_identities=2, num_images=6, min=3, median=3.0, max=3),
    )
    assert (found.num_failed_to_enrol, found.failure_to_enrol) == (1, 1 / 4)
    assert (found.num_failed_to_acquire, found.failure_to_acquire) == (2, 2 / 14)
    # 6 of 7 searches remain, and the lowest threshold accepts all
    assert report.fpir == 1.0
    assert found.generalized_fpir == pytest.approx(6 / 7)
    assert found.generalized_fnir == pytest.approx(1 - 6 / 7 * (1 - report.fnir))
    assert "2 pictures could not be read (14.29%); as searches that find no identity: FPIR 85.71%" in str(report)
    assert found.threshold_origin == "given"
    assert evaluate_gallery(gallery, later).conditions.threshold_origin == "none: the gallery has no threshold"  # type: ignore[union-attr]
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_origin_of_a_threshold_that_was_calibrated() -> None:
    gallery = filled(15, 4)
    assert calibrate_gallery(gallery, target_fpir=0.1).source == "the gallery's own images"
    assert origin_in_words(None, gallery.calibration) == (
        "chosen for an FPIR of at most 0.1 with 15 identities enrolled, by 60 searches for 15 others "
        "(the gallery's own images)"
    )
    moved = dataclasses.replace(gallery.calibration, source="/home/somebody/strangers/")  # type: ignore[type-var]
    assert origin_in_words(None, moved).endswith("searches for 15 others (strangers)")
    assert ImagesEach.of([]) == ImagesEach(num_identities=0, num_images=0, min=0, median=0.0, max=0)
