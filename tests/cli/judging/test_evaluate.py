from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from picture_files import folder_of_classes
from run_command import failure, here
from sealed_files import edit

from pairsim import PairDataset
from pairsim.data import PairList, load_data

EVALUATE_KEYS = {
    "balanced_accuracy", "accuracy", "roc_auc", "eer", "threshold", "log_loss", "brier", "ece",
    "fnmr_at_fmr", "num_images", "num_pairs", "num_positive", "intervals",
}  # fmt: skip


def test_evaluate_prints_one_json_object(run: Path) -> None:
    done = here("evaluate", run, "digits", "--json", cwd=run.parent)
    assert done.status == 0, done.err
    assert set(done.json) >= EVALUATE_KEYS
    assert done.json["num_images"] == 359
    assert done.json["num_pairs"] == 359 * 358 // 2
    assert done.json["balanced_accuracy"] > 0.9
    low, high = done.json["intervals"]["eer"]
    assert low <= done.json["eer"] <= high


def test_evaluate_as_text(run: Path) -> None:
    done = here("evaluate", run, "digits", cwd=run.parent)
    assert done.status == 0, done.err
    assert "balanced accuracy" in done.out


def test_evaluate_numbered_pairs(run: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("first,second,label\n0,1,0\n2,3,0\n5,6,1\n0,4,1\n")
    done = here("evaluate", run, "digits", "--pairs", tmp_path / "pairs.csv", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert (done.json["num_pairs"], done.json["num_positive"]) == (4, 2)


@pytest.mark.filterwarnings("ignore:3 repeated pairs count")
def test_evaluate_pairs_with_folds(run: Path, tmp_path: Path) -> None:
    test = load_data("digits", "test").dataset
    PairList.of(PairDataset(test, num_pairs=200, seed=1), folds=5).save(tmp_path / "pairs.csv")
    done = here("evaluate", run, "digits", "--pairs", "pairs.csv", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert len(done.json["k_fold"]["folds"]) == 5
    (tmp_path / "pairs.csv").write_text((tmp_path / "pairs.csv").read_text().replace(",1,", ",0,", 1))
    assert "It was changed" in failure(here("evaluate", run, "digits", "--pairs", "pairs.csv", cwd=tmp_path), 1)


@pytest.mark.slow
def test_evaluate_against_another_run(run: Path, tmp_path: Path) -> None:
    done = here("evaluate", run, "digits", "--against", run / "model", "--resamples", "50", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["differences"]["roc_auc"]["difference"] == 0
    assert done.json["differences"]["roc_auc"]["p_value"] == 1
    text = here("evaluate", run, "digits", "--against", run, "--resamples", "20", cwd=tmp_path)
    assert "95 % interval, p" in text.out
    said = failure(here("evaluate", run, "digits", "--against", run, "--threshold", "0.5", cwd=tmp_path), 2)
    assert "--threshold or --against" in said


def test_run_of_a_newer_format(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((run / "model" / "config.json").read_bytes())
    edit(tmp_path / "config.json", format_version=9)
    (tmp_path / "model.safetensors").write_bytes((run / "model" / "model.safetensors").read_bytes())
    line = failure(here("evaluate", tmp_path, "digits", cwd=tmp_path), 1)
    assert "found 9: it was made by a newer pairsim" in line


def test_metrics_are_numbers(run: Path) -> None:
    report = here("evaluate", run, "digits", "--json", cwd=run.parent).json
    for key in EVALUATE_KEYS - {"fnmr_at_fmr", "intervals"}:
        assert math.isfinite(report[key]), key


def test_a_run_that_cannot_be_found(tmp_path: Path) -> None:
    said = failure(here("evaluate", "absent", "digits", cwd=tmp_path), 1)
    assert "Expected a model or run folder at absent, found no such folder" in said


def test_figures_are_printed_though_they_cannot_be_kept(run: Path) -> None:
    (run / "evaluation.json").mkdir()  # a folder in the place of the file
    done = here("evaluate", run, "digits", "--json", cwd=run.parent)
    assert done.status == 0, done.err
    assert set(done.json) >= EVALUATE_KEYS
    assert "Not kept in the run: Could not write" in done.err


def test_pictures_that_the_run_was_trained_on_are_counted(tmp_path: Path) -> None:
    folder_of_classes(tmp_path / "data", "ab", number=20)
    options = ("--epochs", "1", "--val-fraction", "0.5", "--no-report", "--no-progress")
    done = here("train", "data", "--out", "run", *options, cwd=tmp_path)
    assert done.status == 0, done.err
    assert "the model was trained on" not in here("evaluate", "run", "data", cwd=tmp_path).err
    assert "the model was trained on" not in here("evaluate", "run", "data", "--split", "val", cwd=tmp_path).err
    said = "Warning: the model was trained on 16 of these 32 pictures. Expect more errors on others.\n"
    assert said in here("evaluate", "run", "data", "--split", "train", cwd=tmp_path).err
    for path in list((tmp_path / "data").rglob("*.png")):  # other names, by which the folder is split
        path.rename(path.with_stem(f"photo {99 - int(path.stem)}"))
    report = ("report", "run", "data", "--out", "page.html")
    for command in (("evaluate", "run", "data"), report, ("calibrate", "run", "data")):
        said = here(*command, cwd=tmp_path).err
        assert re.search(r"Warning: the model was trained on [0-9]+ of these [0-9]+ pictures\.", said)


def test_images_of_a_named_dataset_that_the_run_was_trained_on(run: Path) -> None:
    for split, warns in (("test", False), ("train", True)):
        done = here("evaluate", run, "digits", "--split", split, cwd=run.parent)
        assert ("Warning: the model was trained on these images." in done.err) == warns
