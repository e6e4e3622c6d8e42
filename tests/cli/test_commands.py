from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import environment, failure, here, pairsim

from pairsim import PairDataset
from pairsim.data import PairList, load_data

EVALUATE_KEYS = {
    "balanced_accuracy", "accuracy", "roc_auc", "eer", "threshold", "log_loss", "brier", "ece",
    "fnmr_at_fmr", "num_images", "num_pairs", "num_positive", "intervals",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = pairsim("train", "digits", "--out", folder, "--epochs", "4", "--batch-size", "64", cwd=folder.parent)
    assert done.status == 0, done.err
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sub-folder per class: stripes across and stripes down."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for name in ("across", "down"):
        (folder / name).mkdir()
        for number in range(20):
            pixels = np.zeros((20, 20), np.uint8)
            pixels[int(generator.integers(0, 4)) :: 4] = 255
            pixels = np.clip(pixels + generator.integers(0, 50, pixels.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels if name == "across" else pixels.T).save(folder / name / f"{number}.png")
    return folder


def test_train_leaves_a_run_folder(run: Path) -> None:
    names = {entry.name for entry in run.iterdir()}
    assert {
        "run.json",
        "config.json",
        "data.json",
        "log.jsonl",
        "timings.jsonl",
        "best_model.pt",
        "model",
        "checkpoints",
        "report.html",
        "curves.png",
    } == names
    assert "These images chose the epoch" in (run / "report.html").read_text()
    assert len((run / "log.jsonl").read_text().splitlines()) == 4


def test_evaluate_prints_one_json_object(run: Path) -> None:
    done = pairsim("evaluate", run, "digits", "--json", cwd=run.parent)
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


@pytest.mark.slow
def test_calibrate_stores_what_compare_and_evaluate_use(run: Path, pictures: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    shutil.copytree(run, own)
    before = here("evaluate", own, "digits", "--json", cwd=tmp_path).json
    done = pairsim("calibrate", own, "digits", "--target-fmr", "0.01", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    found = done.json
    assert found["operating_point"]["fmr"] <= 0.01
    assert found["source"] == "validation images of digits"
    after = here("evaluate", own, "digits", "--json", cwd=tmp_path).json
    assert after["threshold"] == found["threshold"] != before["threshold"]
    assert after["ece"] < before["ece"]
    compared = here("compare", own, *sorted((pictures / "across").iterdir())[:2], "--json", cwd=tmp_path).json
    assert compared["threshold"] == found["threshold"]
    text = here("calibrate", own, "digits", "--prior", "0.01", "--method", "isotonic", "--equal-errors", cwd=tmp_path)
    assert text.status == 0, text.err
    assert "isotonic calibration on" in text.out
    assert "equal errors: FMR" in text.out
    on_test = here("calibrate", own, "digits", "--split", "test", cwd=tmp_path)
    assert "will look better than they are" in on_test.err


def test_calibrate_refuses_what_it_cannot_know(run: Path, pictures: Path, tmp_path: Path) -> None:
    said = failure(here("calibrate", run, "digits", "--target-fmr", "0.00001", cwd=tmp_path), 1)
    assert "300,000 negative pairs" in said
    said = failure(here("calibrate", run / "model", "digits", cwd=tmp_path), 1)
    assert "Expected a run folder" in said
    said = failure(here("calibrate", run, pictures, cwd=tmp_path), 1)
    assert "Expected the data that" in said


def test_evaluate_pairs_with_folds(run: Path, tmp_path: Path) -> None:
    test = load_data("digits", "test").dataset
    PairList.of(PairDataset(test, num_pairs=200, seed=1), folds=5).save(tmp_path / "pairs.csv")
    done = here("evaluate", run, "digits", "--pairs", "pairs.csv", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert len(done.json["k_fold"]["folds"]) == 5
    (tmp_path / "pairs.csv").write_text((tmp_path / "pairs.csv").read_text().replace(",1,", ",0,", 1))
    assert "It was changed" in failure(
        here("evaluate", run, "digits", "--pairs", "pairs.csv", cwd=tmp_path), 1
    )


@pytest.mark.slow
def test_evaluate_against_another_run(run: Path, tmp_path: Path) -> None:
    done = pairsim("evaluate", run, "digits", "--against", run / "model", "--resamples", "50", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["differences"]["roc_auc"]["difference"] == 0
    assert done.json["differences"]["roc_auc"]["p_value"] == 1
    text = here("evaluate", run, "digits", "--against", run, "--resamples", "20", cwd=tmp_path)
    assert "95 % interval, p" in text.out
    said = failure(here("evaluate", run, "digits", "--against", run, "--threshold", "0.5", cwd=tmp_path), 2)
    assert "--threshold or --against" in said


def test_folder_train_evaluate_compare(pictures: Path, tmp_path: Path) -> None:
    arguments = ("--epochs", "6", "--batch-size", "16", "--seed", "1")
    trained = pairsim("train", pictures, "--out", "run", *arguments, "--json", cwd=tmp_path)
    assert trained.status == 0, trained.err
    evaluated = pairsim("evaluate", "run", pictures, "--json", cwd=tmp_path)
    assert evaluated.status == 0, evaluated.err
    assert evaluated.json["num_images"] == 8
    a, b, c = pictures / "across" / "0.png", pictures / "across" / "1.png", pictures / "down" / "0.png"
    alike = here("compare", "run", a, b, "--json", cwd=tmp_path).json
    apart = here("compare", "run", a, c, "--json", cwd=tmp_path).json
    assert set(alike) >= {"similarity", "probability", "match", "threshold"}
    assert alike["similarity"] > apart["similarity"]
    assert (alike["match"], apart["match"]) == (True, False)
    rows = "across/0.png,across/1.png,1\nacross/0.png,down/0.png,0\n"
    (tmp_path / "pairs.csv").write_text(rows)
    listed = here("evaluate", "run", pictures, "--pairs", "pairs.csv", "--json", cwd=tmp_path)
    assert listed.json["num_pairs"] == 2


def test_compare_text_says_what_was_decided(run: Path, pictures: Path) -> None:
    picture = pictures / "down" / "0.png"
    done = here("compare", run, picture, picture, cwd=run.parent)
    assert done.status == 0, done.err
    assert done.out.startswith("MATCH: 0.png and 0.png\nsimilarity 1.0000 >= threshold ")


def test_options_from_a_config_file(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[train]\nepochs = 3\nbatch_size = 64\nobjective = "pairs"\n')
    done = pairsim("train", "digits", "--out", "run", "--config", "my.toml", "--epochs", "1", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["epochs"] == 1  # the command line wins over the file
    assert '"objective": "pairs"' in (tmp_path / "run" / "config.json").read_text()


def test_doctor(tmp_path: Path) -> None:
    done = pairsim("doctor", "--json", cwd=tmp_path)
    assert done.status == 0, done.err
    assert done.json["versions"]["torch"]
    assert here("doctor", cwd=tmp_path).status == 0


def test_demo_leaves_model_metrics_and_pictures(tmp_path: Path) -> None:
    done = pairsim("demo", "--out", "d", "--epochs", "6", cwd=tmp_path)
    assert done.status == 0, done.err
    for name in ("best_model.pt", "model/model.safetensors", "metrics.json", "pairs.png", "ranking.png"):
        assert (tmp_path / "d" / name).stat().st_size > 0
    assert "Try next:" in done.out
    with Image.open(tmp_path / "d" / "pairs.png") as picture:
        assert picture.width > 300
    again = pairsim("demo", "--out", "d", "--epochs", "6", "--json", cwd=tmp_path)
    assert again.status == 0, again.err
    assert again.json["metrics"]["balanced_accuracy"] > 0.9


def test_help_and_version(tmp_path: Path) -> None:
    for arguments in (["--help"], ["train", "--help"], ["evaluate", "--help"]):
        done = here(*arguments, cwd=tmp_path)
        assert done.status == 0
        assert "Usage: pairsim" in done.out
    assert "Callable" not in here("train", "--help", cwd=tmp_path).out
    assert pairsim("--version", cwd=tmp_path).out.strip().count(".") == 2


# --- failures: one line, status 1; wrong usage: status 2 ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], 'Did you mean "train"'),
        (["train", "digits", "--out", "r", "--epocs", "3"], "Did you mean --epochs"),
        (["train", "digits", "--out", "r", "--epochs", "0"], "Expected epochs to be at least 1, got 0."),
        (
            ["train", "digits", "--out", "r", "--positive-fraction", "1.5"],
            "positive_fraction to be in [0, 1], got 1.5.",
        ),
        (["train", "digits", "--out", "r", "--objective", "triplet"], "--objective"),
        (["train", "digits", "--out", "r", "--config", "absent.toml"], "absent.toml"),
        (["train"], "DATA"),
        (["train", "digits"], "--out"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in failure(here(*arguments, cwd=tmp_path), 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "mnits", "--out", "r"], "Did you mean mnist"),
        (["train", ".", "--out", "r"], "one sub-folder per class"),
        (["evaluate", "absent", "digits"], "Expected a model or run folder at absent, found no such folder"),
        (["compare", ".", "a.png", "b.png"], "Expected a model or run folder"),
    ],
)
def test_failures(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in failure(here(*arguments, cwd=tmp_path), 1)


def test_missing_and_unreadable_pictures_are_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    missing = failure(here("compare", run, "absent.png", "text.png", cwd=tmp_path), 1)
    assert "Expected an image file at absent.png, found none" in missing
    unreadable = failure(here("compare", run, "text.png", "text.png", cwd=tmp_path), 1)
    assert "text.png" in unreadable
    assert "not of any known image format" in unreadable


def test_no_data_and_no_network(tmp_path: Path) -> None:
    # a proxy that nobody answers at is a network that is not there
    env = environment(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", PAIRSIM_DATA=str(tmp_path))
    line = failure(pairsim("train", "mnist", "--out", "r", cwd=tmp_path, env=env), 1)
    assert str(tmp_path / "MNIST" / "raw") in line
    assert "--data-dir" in line


def test_run_of_a_newer_format(run: Path, tmp_path: Path) -> None:
    config = (run / "model" / "config.json").read_text().replace('"format_version": 1', '"format_version": 9')
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").write_bytes((run / "model" / "model.safetensors").read_bytes())
    line = failure(here("evaluate", tmp_path, "digits", cwd=tmp_path), 1)
    assert "found 9: it was made by a newer pairsim" in line


def test_metrics_are_numbers(run: Path) -> None:
    report = here("evaluate", run, "digits", "--json", cwd=run.parent).json
    for key in EVALUATE_KEYS - {"fnmr_at_fmr", "intervals"}:
        assert math.isfinite(report[key]), key
