from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import write_pictures
from PIL import Image
from run_command import failure, here
from small_models import small_model

from pairsim import Gallery

BY_NAME = "first by name: equal in size, compression and metadata"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a folder of four pictures, two of which are there again."""
    folder = tmp_path_factory.mktemp("duplicates")
    small_model(12).save_pretrained(folder / "run")
    pictures = folder / "p"
    write_pictures(pictures, ("a.png", "b.png", "c.png", "d.png"), (20, 20), brightest=199)
    (pictures / "sub").mkdir()
    shutil.copy(pictures / "a.png", pictures / "sub" / "copy.png")
    with Image.open(pictures / "b.png") as image:
        Image.fromarray(np.asarray(image) // 2 + 40).save(pictures / "sub" / "darker.png")
    return folder


def test_text(place: Path) -> None:
    done = here("duplicates", "p", cwd=place)
    assert done.status == 0, done.err
    first, second, last = done.out.rstrip().split("\n\n")
    assert first == f"a.png (keep; {BY_NAME})\n  sub/copy.png  identical file"
    assert second.startswith("b.png (keep; ")
    assert "\n  sub/darker.png  brightness or contrast changed, similarity 0.9" in second
    assert last == "6 pictures compared: 2 duplicates in 2 clusters"


def test_json_and_table(place: Path, tmp_path: Path) -> None:
    done = here("duplicates", "p", "--json", "--out", tmp_path / "found.csv", "--threshold", "1.0", cwd=place)
    assert done.status == 0, done.err
    found = done.json
    assert (found["num_images"], found["num_duplicates"], found["skipped"]) == (6, 1, [])
    (cluster,) = found["clusters"]
    (member,) = cluster["members"]
    assert (cluster["keep"], cluster["reason"]) == ("a.png", BY_NAME)
    assert (member["file"], member["similarity"], member["kind"]) == ("sub/copy.png", 1.0, "identical file")
    assert (member["facts"]["format"], member["facts"]["width"]) == ("PNG", 20)
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["keep"]) for row in rows] == [("a.png", "yes"), ("sub/copy.png", "no")]
    assert "found.csv" in done.err


def test_with_a_model(place: Path) -> None:
    done = here("duplicates", "p", "--run", "run", "--threshold", "0.9999999", "--json", cwd=place)
    assert done.status == 0, done.err
    assert {"keep": "a.png"}.items() <= done.json["clusters"][0].items()


def test_unreadable_pictures(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "p", tmp_path / "p")
    (tmp_path / "p" / "bad.png").write_text("no picture")
    assert "p/bad.png to be an image" in failure(here("duplicates", "p", cwd=tmp_path), 1)
    done = here("duplicates", "p", "--on-error", "skip", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert [one["file"] for one in done.json["skipped"]] == ["bad.png"]
    assert "; 1 skipped" in here("duplicates", "p", "--on-error", "skip", cwd=tmp_path).out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["absent"], 1, "Expected a folder of pictures at absent, found no such folder"),
        (["run"], 1, "in run, found none. Left out: 1 file ending in .json (config.json)"),
        (["p", "--run", "run"], 2, "Expected --threshold with --run"),
        (["p", "--threshold", "1.5"], 2, "Expected --threshold to be above 0 and at most 1, got 1.5."),
        (["p", "--threshold", "0"], 2, "Expected --threshold to be above 0 and at most 1, got 0.0."),
        (["p", "--run", "run", "--threshold", "-2"], 2, "Expected --threshold to be in [-1, 1] with --run, got -2.0."),
        (["p", "--on-error", "ignore"], 2, "--on-error"),
        ([], 2, "FOLDER"),
    ],
)
def test_refusals(arguments: list[str], status: int, said: str, place: Path) -> None:
    assert said in failure(here("duplicates", *arguments, cwd=place), status)


def test_help(place: Path) -> None:
    done = here("duplicates", "--help", cwd=place)
    assert done.status == 0
    said = " ".join(done.out.split())
    assert "exactly or nearly; nothing is deleted." in said
    assert "pairsim duplicates photos --out duplicates.csv" in said


def test_target_false_rate(place: Path) -> None:
    message = failure(here("duplicates", "p", "--target-false-rate", "1e-7", cwd=place), 1)
    assert "at least 142 different pictures for a --target-false-rate of 1e-07, got" in message
    both = here("duplicates", "p", "--target-false-rate", "1e-7", "--threshold", "0.9", cwd=place)
    assert "--target-false-rate without --threshold and --run" in failure(both, 2)
    assert "--target-false-rate to be above 0" in failure(
        here("duplicates", "p", "--target-false-rate", "0", cwd=place), 2
    )


def test_an_index(place: Path, tmp_path: Path) -> None:
    index = tmp_path / "p.index"
    first, second = (here("duplicates", "p", "--index", index, "--json", cwd=place) for _ in range(2))
    assert first.status == second.status == 0
    assert index.is_file()
    assert second.json == first.json == here("duplicates", "p", "--json", cwd=place).json
    model = failure(here("duplicates", "p", "--run", "run", "--threshold", "0.9", "--index", index, cwd=place), 2)
    assert "--index without --run, as a model does not use what it holds. Give only one." in model
    assert "--undo without FOLDER and without other options." in failure(
        here("duplicates", "--undo", "j.jsonl", "--index", index, cwd=place), 2
    )


def test_against_a_gallery(place: Path, tmp_path: Path) -> None:
    model = small_model(12)
    gallery = Gallery(model)
    gallery.add([place / "p" / "a.png", place / "p" / "c.png"], ["first", "third"])
    gallery.save(tmp_path / "gallery")
    model.save_pretrained(tmp_path / "run")
    given = ("duplicates", place / "p", "--against", tmp_path / "gallery", "--threshold", "0.9999999")
    done = here(*given, "--run", tmp_path / "run", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    listed = {one["keep"]: [member["file"] for member in one["members"]] for one in done.json["clusters"]}
    assert listed == {"first": ["a.png", "sub/copy.png"], "third": ["c.png"]}
    assert done.json["num_images"] == 8
    assert "Expected --run with --against GALLERY: the model that made it." in failure(here(*given, cwd=tmp_path), 2)
    for option in (("--page", "p.html"), ("--move-to", tmp_path / "out"), ("--link",)):
        said = failure(here(*given, "--run", tmp_path / "run", *option, cwd=tmp_path), 2)
        assert "--against GALLERY without --page, --move-to and --link" in said
    torch.manual_seed(1)
    small_model(13).save_pretrained(tmp_path / "other")
    assert "whose similarities to them mean nothing" in failure(
        here(*given, "--run", tmp_path / "other", cwd=tmp_path), 1
    )
