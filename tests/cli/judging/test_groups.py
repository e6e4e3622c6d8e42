from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import failure, here

TRAIN = ("--epochs", "1", "--image-size", "16", "--channels", "1", "--backbone", "reference", "--no-report")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty people of two sites, with the site in a column, which one picture does not have; and a run."""
    folder, rng, rows = tmp_path_factory.mktemp("groups"), np.random.default_rng(0), ["file_name,label,site"]
    for number in range(60):
        name, site = f"p{number:02}", "north" if number % 2 else "south"
        (folder / "data" / name).mkdir(parents=True)
        face = np.kron(rng.integers(0, 255, (8, 8)), np.ones((2, 2)))
        for k in range(4):
            noise = rng.normal(0, 15 if number % 2 else 60, (16, 16))
            Image.fromarray((face + noise).clip(0, 255).astype(np.uint8)).save(folder / "data" / name / f"{k}.png")
            rows.append(f"{name}/{k}.png,{name},{site}")
    (folder / "data" / "metadata.csv").write_text("\n".join(rows) + "\n")
    done = here("train", "data", "--unseen", "0.6", "--out", "run", *TRAIN, cwd=folder)
    assert done.status == 0, done.err
    return folder


def test_evaluate_reports_on_a_column(place: Path) -> None:
    done = here("evaluate", "run", "data", "--groups", "site", "--json", cwd=place)
    assert done.status == 0, done.err
    found = done.json["by_group"]
    assert found["by"] == "the column site"
    assert [row["name"] for row in found["groups"]] == ["north", "south"]
    assert sum(row["num_images"] for row in found["groups"]) == done.json["num_images"]
    assert sum(row["num_classes"] for row in found["groups"]) == done.json["num_classes"] == 36
    pairs = sum(row["num_positive"] + row["num_negative"] for row in found["groups"]) + found["num_negative"][0][1]
    assert pairs == done.json["num_pairs"]
    assert done.json["groups"] == 2
    # what is in the test does not depend on the groups
    plain = here("evaluate", "run", "data", "--json", cwd=place)
    assert {key: plain.json[key] for key in ("num_images", "eer", "fmr", "recall_at_1")} == {
        key: done.json[key] for key in ("num_images", "eer", "fmr", "recall_at_1")
    }
    assert plain.json["by_group"] is None


def test_the_threshold_is_said_to_be_of_other_classes(place: Path) -> None:
    done = here("calibrate", "run", "data", "--equal-errors", "--json", cwd=place)
    assert done.status == 0, done.err
    assert len(json.loads((place / "run" / "calibration.json").read_text())["class_names"]) == 5
    origin = here("evaluate", "run", "data", "--json", cwd=place).json["threshold_origin"]
    assert (origin["classes"], origin["num_common_classes"]) == ("disjoint", 0)
    assert origin["source"] == "validation images of data"
    assert origin["calibration_sha256"] == done.json["operating_point"]["data_sha256"] != origin["test_sha256"]
    same = here("evaluate", "run", "data", "--split", "val", "--json", cwd=place).json["threshold_origin"]
    assert (same["classes"], same["num_common_classes"]) == ("shared", 5)
    assert same["calibration_sha256"] == same["test_sha256"]


def test_the_page_and_the_card_have_the_groups(place: Path) -> None:
    done = here("report", "run", "data", "--groups", "site", "--out", "page.html", cwd=place)
    assert done.status == 0, done.err
    page = (place / "page.html").read_text()
    assert '<section id="groups">' in page
    assert "2 groups, by the column site" in page
    assert "pairsim evaluate run data --groups site\n" in page
    assert "pairsim report run data --groups site --out report.html" in page
    assert "False match rate between groups" in page
    assert here("report", "run", "data", "--out", "plain.html", cwd=place).status == 0
    assert '<section id="groups">' not in (place / "plain.html").read_text()
    assert here("evaluate", "run", "data", "--groups", "site", cwd=place).status == 0
    assert here("card", "run", "--overwrite", cwd=place).status == 0
    assert "Groups by the column site, at the same threshold:" in (place / "run" / "model" / "README.md").read_text()


def test_what_cannot_be(place: Path) -> None:
    said = failure(here("evaluate", "run", "data", "--groups", "camera", cwd=place), 1)
    assert "Expected 'camera' to name groups of the pictures in data, found none" in said
    said = failure(here("evaluate", "run", "data", "--groups", "site", "--against", "run", cwd=place), 2)
    assert "--groups or --against, got both" in said
