from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sealed_files import content_of, edit
from trained_run import FOLDER, NAMES, keep, ten_classes

from pairsim import SimilarityModel, TrainConfig, VerificationReport, calibrate, evaluate
from pairsim.errors import RunError
from pairsim.models.pretrained import saved_sha256
from pairsim.runs.run_records import (
    changed_settings,
    first_weights,
    last_name,
    load_evaluation,
    own_code,
    own_net,
    read_run,
    training_command,
)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "my-run"))


@pytest.fixture
def report(run: Path) -> VerificationReport:
    return evaluate(SimilarityModel.from_pretrained(run), ten_classes())


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edit(path, change)


def test_all_records_of_a_run_are_read(run: Path) -> None:
    records = read_run(run)
    assert (records.name, records.model_folder, records.evaluation) == ("my-run", run / "model", None)
    assert records.model == content_of(run / "model" / "config.json")
    assert records.config == content_of(run / "config.json")
    assert records.data["class_names"] == NAMES
    assert records.run["data"]["num_classes"] == 10
    assert [record["epoch"] for record in records.epochs] == [1, 2]
    timings = [json.loads(line)["seconds"] for line in (run / "timings.jsonl").read_text().splitlines()]
    assert records.seconds == sum(timings) > 0


def test_a_model_folder_has_the_records_of_its_run_or_none(run: Path, tmp_path: Path) -> None:
    assert read_run(run / "model") == read_run(run)
    alone = read_run(shutil.copytree(run / "model", tmp_path / "alone"))
    assert (alone.name, alone.run, alone.config, alone.data, alone.epochs) == ("alone", {}, {}, {}, ())
    assert alone.seconds is None
    assert alone.model == read_run(run).model


def test_an_evaluation_is_stored_and_loaded(run: Path, report: VerificationReport) -> None:
    assert load_evaluation(run) is None
    keep(run, report)
    stored = load_evaluation(run / "model")
    assert stored is not None
    assert dict(stored.figures) == report.to_dict()
    assert (stored.data, stored.split, stored.source) == (FOLDER, "test", f"{FOLDER}/test")
    assert stored.class_names == tuple(NAMES)
    assert (stored.of_these_weights, stored.of_this_calibration) == (True, True)
    keep(run, report, split="val")
    assert read_run(run).evaluation == load_evaluation(run) != stored


def test_missing_values_of_an_evaluation_are_empty(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    rewrite(run / "evaluation.json", lambda body: [body.pop(name) for name in ("class_names", "source", "data")])
    stored = load_evaluation(run)
    assert stored is not None
    assert (stored.class_names, stored.source, stored.data, stored.split) == ((), "", "", "test")


def test_an_evaluation_of_another_model_is_marked(run: Path, report: VerificationReport) -> None:
    keep(run, report)
    first = saved_sha256(run / "model")
    model = SimilarityModel.from_pretrained(run)
    calibrate(model, ten_classes(), target_fmr=0.1)
    model.save_pretrained(run / "model")
    second = saved_sha256(run / "model")
    assert first["weights_sha256"] == second["weights_sha256"]
    assert first["config_sha256"] != second["config_sha256"]
    stored = load_evaluation(run)
    assert stored is not None
    assert (stored.of_these_weights, stored.of_this_calibration) == (True, False)
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    model.save_pretrained(run / "model")
    stored = load_evaluation(run)
    assert stored is not None
    assert (stored.of_these_weights, stored.of_this_calibration) == (False, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"report": None}, "has no figures"),
        ({"class_names": "a"}, "has no figures"),
        ({"format": "other"}, "Expected .* to say format pairsim-evaluation, found 'other'"),
        ({"format_version": 99}, "made by a newer pairsim"),
    ],
)
def test_a_damaged_evaluation(run: Path, report: VerificationReport, change: dict[str, Any], message: str) -> None:
    keep(run, report)
    rewrite(run / "evaluation.json", lambda body: body.update(change))
    with pytest.raises(RunError, match=message):
        read_run(run)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}\n{broken", r"Expected a readable JSON file at .*log\.jsonl, line 2, but: "),
        ("[]", r"Expected .*log\.jsonl, line 1 to hold one JSON object, found list"),
    ],
)
def test_a_damaged_log(run: Path, text: str, message: str) -> None:
    (run / "log.jsonl").write_text(text)
    with pytest.raises(RunError, match=message):
        read_run(run)


def test_no_model(tmp_path: Path) -> None:
    for read in (read_run, load_evaluation):
        with pytest.raises(RunError, match="Expected a model or run folder"):
            read(tmp_path / "none")


def test_training_command(run: Path) -> None:
    command = training_command(read_run(run))
    assert command is not None
    words = shlex.split(command)
    assert words[:5] == ["pairsim", "train", "faces", "--out", "RUN"]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert options["--epochs"] == "2"
    assert (options["--batch-size"], options["--seed"], options["--precision"]) == ("32", "7", "fp32")
    assert (options["--embedding-dim"], options["--image-size"], options["--channels"]) == ("8", "8", "1")
    assert not {"--device", "--progress", "--no-progress", "--white"} & set(words)
    rewrite(run / "model" / "config.json", lambda values: values["preprocessing"].update(white=4095))
    assert str(training_command(read_run(run))).endswith("--white 4095")
    reading = {"image_size": [8, 16], "fit": "pad"}
    rewrite(run / "model" / "config.json", lambda values: values["preprocessing"].update(reading))
    assert "--image-size 8x16 --fit pad --channels 1" in str(training_command(read_run(run)))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"objective": "my_losses.triplet"}),
        ("config.json", {"optimizer": "my_optimizers.lion"}),
        ("data.json", {"data": ""}),
        ("model/config.json", {"architecture": {"embedding_net": "my_nets.Net"}}),
    ],
)
def test_what_the_command_line_cannot_train_has_no_command(run: Path, file: str, change: dict[str, Any]) -> None:
    rewrite(run / file, lambda values: values.update(change))
    assert training_command(read_run(run)) is None


@pytest.mark.parametrize(
    ("data", "more", "end"),
    [
        ({}, None, ["--image-size", "8", "--fit", "stretch", "--channels", "1"]),
        ({"weights": None}, "random", ["--image-size", "8", "--fit", "stretch", "--channels", "1"]),
        ({"weights": "pretrained"}, "pretrained", ["--image-size", "8", "--fit", "stretch", "--channels", "1"]),
        ({"weights": "/home/w.pth", "data": "mnist"}, "w.pth", ["--channels", "1"]),
    ],
)
def test_the_command_of_a_named_backbone(run: Path, data: dict[str, Any], more: str | None, end: list[str]) -> None:
    rewrite(run / "model" / "config.json", lambda values: values.update(architecture={"backbone": "resnet18"}))
    rewrite(run / "data.json", lambda values: values.update(data))
    records = read_run(run)
    assert (own_net(records), own_code(records)) == ("resnet18", None)
    assert first_weights(records) == ("/home/w.pth" if more == "w.pth" else more)
    words = shlex.split(training_command(records) or "")
    assert words[words.index("--backbone") + 1] == "resnet18"
    assert (words[words.index("--weights") + 1] if "--weights" in words else None) == (
        None if more == "random" else more
    )
    assert words[-len(end) :] == end


def test_changed_settings() -> None:
    config = TrainConfig(epochs=3, grad_clip=0.5, device="cpu").to_dict() | {"of_a_newer_version": 1}
    changed = changed_settings(config)
    assert {name: changed[name] for name in ("epochs", "grad_clip", "seed")} == {
        "epochs": 3,
        "grad_clip": 0.5,
        "seed": 0,
    }
    assert not {"device", "of_a_newer_version", "ema_decay"} & set(changed)


def test_own_net(run: Path) -> None:
    assert own_net(read_run(run)) is None
    for change in ({"backbone": "resnet18"}, {"embedding_net": "my_nets.Net"}):
        rewrite(run / "model" / "config.json", lambda values, change=change: values.update(architecture=change))  # type: ignore[misc]
        assert own_net(read_run(run)) == next(iter(change.values()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mnist", "mnist"),
        ("digits (scikit-learn, UCI optical recognition)", "digits (scikit-learn, UCI optical recognition)"),
        ("mnist (/data/mnist/MNIST/raw)", "mnist"),
        ("/home/me/my faces/", "my faces"),
        ("test images of /home/me/a, b/faces, pairs of pairs.csv", "test images of faces, pairs of pairs.csv"),
        ("../../clients/acme", "acme"),
        (r"validation images of C:\Users\me\faces", "validation images of faces"),
        ("/home/me (old)/faces (2)", "faces (2)"),
    ],
)
def test_last_name(text: str, expected: str) -> None:
    assert last_name(text) == expected
