from __future__ import annotations

import csv
from pathlib import Path

import pytest
from picture_files import write_pictures
from run_command import failure, here
from small_models import small_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, four pictures, and lists of pairs of them with and without targets."""
    folder = tmp_path_factory.mktemp("compare")
    small_model(12, threshold=0.9999).save_pretrained(folder / "run")
    write_pictures(folder / "p", ("a.png", "b.png", "c.png", "=d.png"), (12, 12))
    (folder / "p" / "plain.csv").write_text("first,second\na.png,b.png\nc.png,c.png\n=d.png,a.png\n")
    (folder / "labelled.csv").write_text("first,second,target\na.png,b.png,0\nc.png,c.png,1\n=d.png,a.png,1\n")
    (folder / "broken.csv").write_text("a.png,b.png\na.png,absent.png\n")
    return folder


def test_each_pair_is_judged_as_two_pictures_are(place: Path) -> None:
    done = here("compare", "run", "--pairs", "p/plain.csv", "--json", cwd=place)
    assert done.status == 0, done.err
    found = done.json
    assert (found["num_pairs"], found["num_matches"], found["threshold"], found["fmr"]) == (3, 1, 0.9999, 0.01)
    for pair in found["pairs"]:
        alone = here("compare", "run", f"p/{pair['first']}", f"p/{pair['second']}", "--json", cwd=place).json
        assert {"similarity", "probability", "match", "threshold"} <= alone.keys()
        assert pair["similarity"] == pytest.approx(alone["similarity"], abs=1e-6)
        assert pair["probability"] == pytest.approx(alone["probability"], abs=1e-5)
        assert pair["match"] == alone["match"]
    assert [pair["first"] for pair in found["pairs"]] == ["a.png", "c.png", "=d.png"]


def test_table_and_summary(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "verdicts.csv"
    done = here("compare", "run", "--pairs", "labelled.csv", "--root", "p", "--out", out, cwd=place)
    assert done.status == 0, done.err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["first"], row["match"], row["target"], row["correct"]) for row in rows] == [
        ("a.png", "0", "0", "1"),
        ("c.png", "1", "1", "1"),
        ("=d.png", "0", "1", "0"),
    ]
    first, second = done.out.strip().splitlines()
    assert first.endswith("1 match, 2 do not")
    assert second == "accuracy 66.67%: 0 of 1 different pairs match, 1 of 2 same pairs do not"
    assert "verdicts.csv" in done.err


def test_without_a_file_each_pair_has_a_line(place: Path) -> None:
    lines = here("compare", "run", "--pairs", "p/plain.csv", "--threshold", "-1", cwd=place).out.strip().splitlines()
    assert len(lines) == 4
    assert [line.split()[0] for line in lines[:3]] == ["MATCH"] * 3
    assert lines[1].split()[1:3] == ["similarity", "1.0000"]
    assert lines[1].endswith("c.png and c.png")


def test_unreadable_pictures(place: Path) -> None:
    said = failure(here("compare", "run", "--pairs", "broken.csv", "--root", "p", cwd=place), 1)
    assert "Expected an image file at p/absent.png, found none" in said
    done = here("compare", "run", "--pairs", "broken.csv", "--root", "p", "--on-error", "skip", "--json", cwd=place)
    assert done.status == 0, done.err
    assert (done.json["num_pairs"], done.json["num_skipped"]) == (1, 1)
    assert [one["file"] for one in done.json["skipped"]] == ["absent.png"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "Expected two pictures, or --pairs with a CSV file."),
        (["p/a.png"], 2, "Expected two pictures, or --pairs with a CSV file."),
        (["p/a.png", "p/b.png", "--pairs", "p/plain.csv"], 2, "Expected either two pictures or --pairs, got both."),
        (["p/a.png", "p/b.png", "--out", "x.csv"], 2, "Expected --out only with --pairs"),
        (["p/a.png", "p/b.png", "--root", "p"], 2, "Expected --root only with --pairs"),
        (["p/a.png", "p/b.png", "--on-error", "skip"], 2, "Expected --on-error only with --pairs"),
        (["p/a.png", "p/b.png", "--threshold", "2"], 2, "Give a similarity in [-1, 1], such as 0.5."),
        (["--pairs", "absent.csv"], 1, "Expected a readable list of pairs at absent.csv"),
    ],
)
def test_refusals(arguments: list[str], status: int, said: str, place: Path) -> None:
    assert said in failure(here("compare", "run", *arguments, cwd=place), status)


def test_compare_text_says_what_was_decided(run: Path, pictures: Path) -> None:
    picture = pictures / "down" / "0.png"
    done = here("compare", run, picture, picture, cwd=run.parent)
    assert done.status == 0, done.err
    assert done.out.startswith("MATCH: 0.png and 0.png\nsimilarity 1.0000 >= threshold ")


def test_missing_and_unreadable_pictures_are_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    missing = failure(here("compare", run, "absent.png", "text.png", cwd=tmp_path), 1)
    assert "Expected an image file at absent.png, found none" in missing
    unreadable = failure(here("compare", run, "text.png", "text.png", cwd=tmp_path), 1)
    assert "text.png" in unreadable
    assert "not of any known image format" in unreadable


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "Expected a model or run folder" in failure(here("compare", ".", "a.png", "b.png", cwd=tmp_path), 1)
