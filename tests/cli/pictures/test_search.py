from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from picture_files import write_pictures
from run_command import failure, here
from small_models import small_model

from pairsim import SimilarityModel


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    return small_model(12, threshold=0.9999)


@pytest.fixture(scope="module")
def place(model: SimilarityModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a folder of seven pictures, one of them in capitals, and what is no picture or hidden."""
    folder = tmp_path_factory.mktemp("search")
    model.save_pretrained(folder / "run")
    names = ("b.png", "a.png", "deep/er/c.png", "deep/d.PNG", "deep/e.bmp", "f.png", "ü g.png")
    write_pictures(folder / "g", names, (12, 12))
    (folder / "g" / "notes.txt").write_text("no picture")
    (folder / "g" / ".kept").mkdir()
    (folder / "g" / ".kept" / "copy.png").write_text("hidden")
    return folder


def test_json(place: Path, model: SimilarityModel) -> None:
    queries = ["g/deep/er/c.png", "g/a.png"]
    done = here("search", "run", "g", *queries, "--top", "3", "--json", cwd=place)
    assert done.status == 0, done.err
    found = done.json
    assert (found["num_images"], found["threshold"]) == (7, 0.9999)
    assert [result["query"] for result in found["results"]] == queries
    names = ["a.png", "b.png", "deep/d.PNG", "deep/e.bmp", "deep/er/c.png", "f.png", "ü g.png"]
    matrix = model.similarity_matrix([place / name for name in queries], [place / "g" / name for name in names])
    for result, own, row in zip(found["results"], ["deep/er/c.png", "a.png"], matrix.tolist(), strict=True):
        neighbors = result["neighbors"]
        order = sorted(range(7), key=lambda k: -row[k])[:3]
        assert [neighbor["id"] for neighbor in neighbors] == [names[k] for k in order]
        assert neighbors[0]["id"] == own
        assert [neighbor["similarity"] for neighbor in neighbors] == pytest.approx([row[k] for k in order], abs=1e-6)
        assert neighbors[0]["match"] is True
        expected = model.probability(torch.tensor([neighbor["similarity"] for neighbor in neighbors])).tolist()
        assert [neighbor["probability"] for neighbor in neighbors] == pytest.approx(expected, abs=1e-6)


def test_text(place: Path) -> None:
    done = here("search", "run", "g", "g/f.png", "g/b.png", "--top", "100", cwd=place)
    assert done.status == 0, done.err
    first, second, last = done.out.rstrip().split("\n\n")
    lines = first.splitlines()
    assert lines[0] == "g/f.png"
    assert len(lines) == len(second.splitlines()) == 8
    assert lines[1].split() == ["1.", "f.png", "similarity", "1.0000", "probability", lines[1].split()[5], "match"]
    assert len({line.index("similarity") for line in lines[1:]}) == 1
    assert last == "7 pictures searched; match: similarity >= threshold 0.9999"


def test_unreadable_pictures_are_named_at_once(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "g", tmp_path / "g")
    for name in ("bad.png", "deep/worse.jpg"):
        (tmp_path / "g" / name).write_text("no picture")
    said = failure(here("search", place / "run", "g", "g/a.png", cwd=tmp_path), 1)
    assert "Expected 9 readable pictures, found 2 that cannot be read: g/bad.png, g/deep/worse.jpg." in said
    said = failure(here("search", place / "run", "g", "absent.png", cwd=tmp_path), 1)
    assert "Expected an image file at absent.png, found none" in said


def test_unreadable_pictures_are_skipped_if_asked(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "g", tmp_path / "g")
    (tmp_path / "g" / "bad.png").write_text("no picture")
    done = here("search", place / "run", "g", "g/a.png", "--on-error", "skip", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "7 pictures searched, 1 skipped;" in done.out
    notes = [line for line in done.err.splitlines() if line.startswith("Skipped: ")]
    assert len(notes) == 1
    assert "g/bad.png" in notes[0]
    done = here("search", place / "run", "g", "g/a.png", "--on-error", "skip", "--json", cwd=tmp_path)
    assert (done.json["num_images"], done.json["num_skipped"]) == (7, 1)


def test_a_gallery_is_saved_and_searched_again(place: Path, tmp_path: Path) -> None:
    first = here("search", "run", "g", "g/a.png", "--save", tmp_path / "kept", "--json", cwd=place)
    assert first.status == 0, first.err
    again = here("search", "run", tmp_path / "kept", "g/a.png", "--json", cwd=place)
    assert again.status == 0, again.err
    assert again.json["results"] == first.json["results"]
    assert (first.json["saved"], again.json["saved"]) == (str(tmp_path / "kept"), None)
    said = here("search", "run", tmp_path / "kept", "g/a.png", "--save", tmp_path / "two", cwd=place).out
    assert said.splitlines()[-1].startswith(f"The gallery is saved in {tmp_path / 'two'}")
    other = small_model(12, seed=1)
    other.save_pretrained(tmp_path / "other")
    said = failure(here("search", tmp_path / "other", tmp_path / "kept", "g/a.png", cwd=place), 1)
    assert "found those of another" in said
    (tmp_path / "kept" / "embeddings-00000.safetensors").write_bytes(b"")
    said = failure(here("search", "run", tmp_path / "kept", "g/a.png", cwd=place), 1)
    assert "embeddings-00000.safetensors is damaged" in said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["run", "absent", "g/a.png"], 1, "Expected a folder of pictures at absent, found no such folder"),
        (["run", "run", "g/a.png"], 1, "in run, found none. Left out: 1 file ending in .json (config.json)"),
        (["g", "g", "g/a.png"], 1, "Expected a model or run folder at g"),
        (["run", "g", "g/a.png", "--top", "0"], 2, "Expected --top to be at least 1, got 0."),
        (["run", "g"], 2, "QUERY"),
    ],
)
def test_refusals(arguments: list[str], status: int, said: str, place: Path) -> None:
    assert said in failure(here("search", *arguments, cwd=place), status)
