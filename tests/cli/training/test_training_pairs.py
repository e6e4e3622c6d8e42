from __future__ import annotations

import json
import os
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import environment, failure, here, pairsim

from pairsim.data import PairList
from pairsim.data.pairs.pair_files import read_table
from pairsim.training.objectives.pairs_objective import PairsObjective

TRAIN = ("--epochs", "1", "--batch-size", "64", "--num-workers", "0", "--device", "cpu")
WRITERS, GENUINE, FORGED = 8, 4, 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of writers, genuine and forged, directly in one folder, and lists of pairs of them."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "pics").mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for writer in range(WRITERS):
        own = [f"w{writer}_g{number}.png" for number in range(GENUINE)]
        forged = [f"w{writer}_f{number}.png" for number in range(FORGED)]
        pattern = generator.integers(0, 200, (10, 20))
        for name in (*own, *forged):
            noise = generator.integers(0, 55 if "_g" in name else 200, (10, 20))
            Image.fromarray((pattern + noise).clip(0, 255).astype(np.uint8)).save(folder / "pics" / name)
        rows += [f"{a},{b},1,,w{writer}" for a, b in combinations(own, 2)]
        rows += [f"{a},{b},0,skilled,w{writer}" for a, b in product(own, forged)]
    strangers = [f"w{a}_g0.png,w{b}_g1.png,0,random,w{a}" for a, b in combinations(range(WRITERS), 2)]
    for name, lines in (("train", rows), ("test", [*rows, *strangers])):
        (folder / f"{name}.csv").write_text("\n".join(["first,second,target,kind,group", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    done = here("train", "pics", "--pairs", "train.csv", "--val-fraction", "0.25", "--out", "run", *TRAIN, cwd=place)
    assert done.status == 0, done.err
    assert "Objective pairs" in done.err
    assert f"Split off {2 * 18:,} of {WRITERS * 18} pairs as validation data, by group." in done.err
    assert "added 72 random negative pairs, of pictures of different groups" in done.err
    assert "Next: pairsim evaluate run pics --pairs TEST.csv" in done.out
    return place / "run"


def test_the_run_records_its_pairs(run: Path) -> None:
    record = json.loads((run / "data.json").read_text())["pairs"]
    assert record["negatives"] == {"random": 72, "skilled": 72}
    assert (record["num_pairs"], record["num_val_pairs"], record["num_groups"]) == (6 * 18 + 72, 2 * 18 + 24, 6)
    table = read_table(run / "validation_pairs.csv")
    assert table.frozen
    assert table.kinds is not None
    assert table.kinds.count("random") == 24
    assert len({name[:2] for pair in table.pairs for name in pair}) == 2  # the pictures of two writers
    assert (run / "report.html").is_file()


@pytest.mark.filterwarnings("ignore:12 repeated pairs count")
def test_commands_use_the_validation_pairs_of_the_run(run: Path) -> None:
    place = run.parent
    done = here("evaluate", "run", "pics", "--split", "val", "--json", cwd=place)
    assert done.status == 0, done.err
    assert (done.json["num_pairs"], done.json["groups"], sorted(done.json["kinds"])) == (60, 2, ["random", "skilled"])
    done = here("calibrate", "run", "pics", "--equal-errors", "--json", cwd=place)
    assert done.status == 0, done.err
    assert (done.json["num_positive"], done.json["num_negative"]) == (12, 48)
    done = here("report", "run", "pics", "--split", "val", "--out", "val.html", cwd=place)
    assert done.status == 0, done.err
    assert "60 given pairs of 14 images" in (place / "val.html").read_text()


@pytest.mark.parametrize(("pairs", "num"), [(("--pairs", "train.csv"), 42), (("--split", "val"), 0)])
@pytest.mark.filterwarnings("ignore:12 repeated pairs count")
def test_pairs_of_pictures_that_the_run_was_trained_on(run: Path, pairs: tuple[str, ...], num: int) -> None:
    said = here("evaluate", "run", "pics", *pairs, cwd=run.parent).err
    assert ("Warning: the model was trained on " in said) == bool(num)
    assert not num or f"on {num} of these 56 pictures. Expect more errors on others." in said


def test_a_split_that_the_run_does_not_have(run: Path) -> None:
    said = failure(here("evaluate", "run", "pics", cwd=run.parent), 1)
    assert "Expected --pairs FILE or --split val for run, which was trained on pairs of pictures in pics" in said


def test_each_kind_of_negatives_is_reported(run: Path) -> None:
    done = here("evaluate", "run", "pics", "--pairs", "test.csv", "--json", cwd=run.parent)
    assert done.status == 0, done.err
    found = done.json
    assert {name: row["num_pairs"] for name, row in found["kinds"].items()} == {"random": 28, "skilled": 96}
    false_matches = sum(row["fmr"] * row["num_pairs"] for row in found["kinds"].values())
    assert false_matches == pytest.approx(found["fmr"] * (found["num_pairs"] - found["num_positive"]))
    for row in found["kinds"].values():
        assert row["intervals"]["eer"][0] <= row["eer"] <= row["intervals"]["eer"][1]
    assert found["groups"] == WRITERS
    assert "skilled         96 pairs  FMR" in here("evaluate", "run", "pics", "--pairs", "test.csv", cwd=run.parent).out


def test_the_card_gives_the_command(run: Path) -> None:
    done = here("card", "run", cwd=run.parent)
    assert done.status == 0, done.err
    card = (run / "model" / "README.md").read_text()
    command = next(line for line in card.splitlines() if line.startswith("pairsim train pics --out RUN"))
    assert "--pairs train.csv" in command
    assert "--objective pairs" in command


def test_given_validation_pairs_and_no_random_negatives(place: Path) -> None:
    arguments = ("--pairs", "train.csv", "--val-pairs", "test.csv", "--no-random-negatives", "--no-report", "--json")
    done = here("train", "pics", *arguments, "--out", "given", *TRAIN, cwd=place)
    assert done.status == 0, done.err
    record = json.loads((place / "given" / "data.json").read_text())["pairs"]
    assert (record["num_pairs"], record["num_val_pairs"], record["num_random_negatives"]) == (8 * 18, 8 * 18 + 28, 0)
    assert (done.json["num_train"], done.json["num_val"], done.json["kept"]) == (56, 56, "trained")
    assert 0 <= done.json["baseline"]["eer"] <= 1
    assert any("56 pictures are in train.csv and in test.csv" in line for line in done.json["notes"])
    listed = read_table(place / "given" / "validation_pairs.csv")
    assert (listed.pairs, listed.kinds) == (read_table(place / "test.csv").pairs, read_table(place / "test.csv").kinds)


def test_the_objective_of_an_installed_package_may_use_pairs(place: Path, tmp_path: Path) -> None:
    package = tmp_path / "own-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    point = f"own-pairs = {PairsObjective.__module__}:PairsObjective"
    (package / "entry_points.txt").write_text(f"[pairsim.objectives]\n{point}\n")
    env = environment(PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    arguments = ("--pairs", "train.csv", "--objective", "own-pairs", "--no-report", "--out", "own", *TRAIN)
    done = pairsim("train", "pics", *arguments, cwd=place, env=env)
    assert done.status == 0, done.err
    assert json.loads((place / "own" / "config.json").read_text())["objective"] == "own-pairs"


def test_numbered_pairs_of_a_named_dataset(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    first, second = rng.permutation(400).reshape(2, 200)
    PairList(first, second, rng.integers(0, 2, 200).astype(np.uint8)).save(tmp_path / "pairs.csv")
    done = here("train", "digits", "--pairs", "pairs.csv", "--out", "run", "--no-report", *TRAIN, cwd=tmp_path)
    assert done.status == 0, done.err
    done = here("evaluate", "run", "digits", "--split", "val", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["num_pairs"] == json.loads((tmp_path / "run" / "data.json").read_text())["pairs"]["num_val_pairs"]
    assert "the model was trained on" not in done.err
    done = here("evaluate", "run", "digits", "--pairs", "pairs.csv", "--split", "train", cwd=tmp_path)
    assert "Warning: the model was trained on these images." in done.err


def test_pairs_of_missing_and_broken_pictures_are_skipped_and_counted(place: Path, run: Path) -> None:
    (place / "pics" / "cut.png").write_bytes((place / "pics" / "w0_g0.png").read_bytes()[:50])
    bad = ["w0_g0.png,w9_g0.png,0,random,w0", "cut.png,w1_g0.png,0,random,w1"]
    for name in ("test", "train"):
        (place / f"{name}_bad.csv").write_text("\n".join([(place / f"{name}.csv").read_text().strip(), *bad]) + "\n")
    said = failure(here("evaluate", run, "pics", "--pairs", "test_bad.csv", cwd=place), 1)
    assert "1 picture (pics/w9_g0.png) is missing. " in said
    assert "leave out their pairs with --on-error skip" in said
    done = here("evaluate", run, "pics", "--pairs", "test_bad.csv", "--on-error", "skip", "--json", cwd=place)
    assert done.status == 0, done.err
    line = "2 of 174 pairs skipped, as 2 pictures (pics/w9_g0.png, pics/cut.png) are missing or cannot be read."
    assert line in done.err
    assert done.json["num_skipped"] == 2
    assert [one["file"] for one in done.json["skipped"]] == ["pics/w9_g0.png", "pics/cut.png"]
    clean = here("evaluate", run, "pics", "--pairs", "test.csv", "--json", cwd=place)
    assert (clean.json["num_skipped"], clean.json["skipped"]) == (0, [])
    assert (clean.json["num_pairs"], clean.json["roc_auc"]) == (done.json["num_pairs"], done.json["roc_auc"])
    skip = ("--on-error", "skip", "--json")
    arguments = ("--pairs", "train_bad.csv", "--no-report", "--out", "skips", *TRAIN, *skip)
    done = here("train", "pics", *arguments, cwd=place)
    assert done.status == 0, done.err
    assert done.json["num_skipped"] == 2
    assert len(done.json["skipped"]) == 2
    assert done.json["notes"][0].startswith("2 of 146 pairs skipped")
    assert here("card", "skips", cwd=place).status == 0
    assert "--on-error skip" in (place / "skips" / "model" / "README.md").read_text()
    # what training did is the default of the other commands
    done = here("calibrate", "skips", "pics", "--pairs", "test_bad.csv", "--json", cwd=place)
    assert done.status == 0, done.err
    assert done.json["num_skipped"] == 2
    assert done.json["operating_point"]["source"] == "pairs of test_bad.csv, pictures in pics"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--pairs", "train.csv", "--unseen", "0.3"), 2, "Expected --unseen, --groups and --class-level with labels"),
        (("--pairs", "train.csv", "--backbone", "resnet18", "--head", "whiten"), 2, "got whiten, which needs labels."),
        (("--val-pairs", "test.csv"), 2, "Expected --pairs FILE together with --val-pairs, found none."),
        (("--pairs", "absent.csv"), 1, "Expected a readable list of pairs at absent.csv"),
        (("--pairs", "wrong.csv"), 1, "Expected line 2 of wrong.csv to be path1,path2,label with label 1 (same)"),
        (
            ("--pairs", "train.csv", "--val-pairs", "alike.csv"),
            1,
            "positive and negative pairs for validation, found 1",
        ),
        (("--pairs", "missing.csv"), 1, "Expected the 2 pictures of missing.csv to exist, 1 picture (pics/w9_g1"),
    ],
)
def test_what_cannot_be(place: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    (place / "wrong.csv").write_text("first,second,target\nw0_g0.png,w0_g1.png,2\n")
    (place / "alike.csv").write_text("first,second,target\nw0_g0.png,w0_g1.png,1\n")
    (place / "missing.csv").write_text("first,second,target\nw0_g0.png,w9_g1.png,1\n")
    assert said in failure(here("train", "pics", "--out", "other", *arguments, *TRAIN, cwd=place), status)
    assert not (place / "other").exists()
