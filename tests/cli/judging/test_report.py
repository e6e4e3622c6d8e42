from __future__ import annotations

from pathlib import Path

import pytest
from picture_files import folder_of_classes
from run_command import here


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    folder_of_classes(folder / "pics", ("<script>alert(1)<", "b", "c"))
    done = here(
        "train", "pics", "--out", "run", "--epochs", "1", "--precision", "fp32", "--batch-size", "12", cwd=folder
    )
    assert done.status == 0, done.err
    return folder


def test_page_of_a_folder_whose_names_are_text(place: Path) -> None:
    done = here("report", "run", "pics", "--out", "pages/report.html", "--json", cwd=place)
    assert done.status == 0, done.err
    page = (place / "pages" / "report.html").read_text()
    assert done.json["bytes"] == len(page.encode()) < 3_000_000
    evaluated = here("evaluate", "run", "pics", "--json", cwd=place).json
    metrics = {**done.json["metrics"], "left_out": done.json["left_out"]}
    assert metrics.pop("throughput").keys() == evaluated.pop("throughput").keys()  # measured twice
    assert metrics == evaluated
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page
    assert "Evaluating all pairs of" in done.err


def test_usage(place: Path) -> None:
    for options, said in (
        ((), "parameter --out requires an argument"),
        (("--out", "r.pdf"), "Expected --out to end in .html or .htm, got r.pdf"),
        (("--out", "r.html", "--most", "0"), "Expected --most to be at least 1, got 0"),
    ):
        done = here("report", "run", "pics", *options, cwd=place)
        assert (done.status, done.out) == (2, "")
        assert said in done.err


def test_page_that_cannot_be_written(place: Path) -> None:
    (place / "file").write_text("")
    done = here("report", "run", "pics", "--out", "file/report.html", cwd=place)
    assert done.status == 1
    assert "Could not write file/report.html" in done.err
