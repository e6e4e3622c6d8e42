from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_files import write_pictures
from run_command import Result, here
from small_models import small_model

from pairsim import SimilarityModel
from pairsim.images import Preprocessing

NAMES = ["a, b.png", "b.png", "deep/d.PNG", "deep/er/c.png", "ü.png"]


@pytest.fixture(scope="module")
def model() -> SimilarityModel:
    preprocessing = Preprocessing(image_size=(12, 12), channels=1, fit="pad")
    return small_model(12, preprocessing=preprocessing)


@pytest.fixture
def place(model: SimilarityModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "run")
    write_pictures(tmp_path / "g", NAMES, (12, 20))
    return tmp_path


def done_well(done: Result) -> Result:
    assert done.status == 0, done.err
    return done


def test_npz_and_json(place: Path, model: SimilarityModel) -> None:
    found = done_well(here("encode", "run", "g", "--out", "new/e.npz", "--json", cwd=place)).json
    assert (found["num_images"], found["embedding_dim"], found["skipped"]) == (5, 8, [])
    assert found["out"] == "new/e.npz"
    assert found["seconds"] > 0
    assert 0 < found["decoding"] < 1
    expected = model.encode([place / "g" / name for name in NAMES]).numpy()
    with np.load(place / "new" / "e.npz", allow_pickle=False) as saved:
        assert saved["ids"].tolist() == NAMES
        assert saved["embeddings"].dtype == np.float32
        np.testing.assert_allclose(saved["embeddings"], expected, rtol=0, atol=1e-6)
    assert [path.name for path in (place / "new").iterdir()] == ["e.npz"]


def test_csv_and_text(place: Path, model: SimilarityModel) -> None:
    done = done_well(here("encode", "run", "g", "--out", "e.CSV", cwd=place))
    assert done.out.startswith("5 pictures embedded in ")
    assert done.out.endswith("written to e.CSV: 8 numbers for each picture\n")
    with (place / "e.CSV").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", *(f"e{k}" for k in range(8))]
    assert [row[0] for row in rows] == NAMES
    expected = model.encode([place / "g" / name for name in NAMES]).numpy()
    np.testing.assert_allclose(np.array([row[1:] for row in rows], dtype=np.float32), expected, rtol=0, atol=1e-6)


def test_unreadable_pictures(place: Path) -> None:
    (place / "g" / "deep" / "bad.png").write_text("no picture")
    (place / "e.npz").write_bytes(b"older")
    done = here("encode", "run", "g", "--out", "e.npz", cwd=place)
    assert (done.status, done.out) == (1, "")
    assert "Expected g/deep/bad.png to be an image" in done.err
    assert (place / "e.npz").read_bytes() == b"older"
    done = done_well(here("encode", "run", "g", "--out", "e.npz", "--on-error", "skip", "--json", cwd=place))
    (skipped,) = done.json["skipped"]
    assert skipped["id"] == "deep/bad.png"
    assert skipped["reason"].startswith("Expected g/deep/bad.png to be an image")
    assert done.json["num_images"] == 5
    with np.load(place / "e.npz") as saved:
        assert saved["ids"].tolist() == NAMES
    text = done_well(here("encode", "run", "g", "--out", "e.npz", "--on-error", "skip", cwd=place)).out
    assert "1 of 6 skipped as unreadable: g/deep/bad.png" in text
    shutil.rmtree(place / "g")
    (place / "g").mkdir()
    (place / "g" / "bad.png").write_text("no picture")
    done = here("encode", "run", "g", "--out", "e.npz", "--on-error", "skip", cwd=place)
    assert done.status == 1
    assert "none of 1 can be read: g/bad.png" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["run", "g", "--out", "e.txt"], 2, "Expected --out to end in .npz or .csv, got e.txt."),
        (["run", "g"], 2, "--out"),
        (["run", "g", "--out", "e.npz", "--on-error", "ignore"], 2, "raise"),
        (["run", "absent", "--out", "e.npz"], 1, "Expected a folder of pictures at absent, found no such folder"),
        (["run", "g/b.png", "--out", "e.npz"], 1, "Expected a folder of pictures at g/b.png, found no such folder"),
        (["run", "run", "--out", "e.npz"], 1, "in run, found none. Left out: 1 file ending in .json (config.json)"),
        (["g", "g", "--out", "e.npz"], 1, "Expected a model or run folder at g"),
    ],
)
def test_refusals(arguments: list[str], status: int, said: str, place: Path) -> None:
    done = here("encode", *arguments, cwd=place)
    assert done.status == status, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert said in done.err.strip().splitlines()[-1]
    assert not (place / "e.npz").exists()
