"""Files of a run folder, and which runs are resumed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sealed_files import content_of, edit
from small_runs import dropout_model, easy_images, fit, random_images, reference_model

from pairsim import History, TrainConfig, Trainer
from pairsim._common import storage
from pairsim._common.json_files import sealed
from pairsim.data import LabelledImages, RandomAffine, stratified_split
from pairsim.data.splits import read_split
from pairsim.errors import RunError
from pairsim.training import EpochRecord
from pairsim.training.checkpointing.run_folder import (
    RunFolder,
    _check_same_run,
    load_checkpoint,
    read_log,
    save_checkpoint,
)

INFO: dict[str, Any] = {
    "data": {"num_images": 3},
    "precision": "fp32",
    "environment": {"torch": "1"},
}


def train(out: Path, **settings: Any) -> None:
    config = TrainConfig(**{"out": out, "batch_size": 8, "epochs": 3, "precision": "fp32", **settings})
    Trainer(dropout_model(), config, train=random_images()).fit()


def test_run_folder_has_a_log_line_for_each_epoch_and_no_time_in_it(tmp_path: Path) -> None:
    fit(easy_images(), out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert all(
        set(line) == {"sha256", "epoch", "train_loss", "val_loss", "val_balanced_accuracy", "learning_rate", "best"}
        for line in lines
    )
    timings = (tmp_path / "run" / "timings.jsonl").read_text().splitlines()
    assert all(json.loads(line)["images_per_s"] > 0 for line in timings)


def test_a_new_folder_holds_the_run_and_its_settings(tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path / "new").resolved()
    assert RunFolder(tmp_path / "new").start(INFO, config, None, resume=True) is None
    run = content_of(tmp_path / "new" / "run.json")
    assert run == {"format": "pairsim-run", "format_version": 1, **INFO}
    assert content_of(tmp_path / "new" / "config.json") == config.to_dict()
    assert (tmp_path / "new" / "log.jsonl").read_bytes() == b""


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(None)
    assert folder.start(INFO, TrainConfig().resolved(), None, resume=True) is None
    folder.write_log(History())
    folder.write_best(reference_model())
    assert list(tmp_path.iterdir()) == []


def test_the_split_is_recorded(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=1, seed=3)
    split, images = read_split(tmp_path / "run"), LabelledImages.of(random_images())
    assert split is not None
    assert split.data == images.index.fingerprint()
    assert split.held_out.tolist() == stratified_split(images.index, 0.1, seed=3)[1].tolist()
    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=1)
    Trainer(dropout_model(), config, train=random_images(), val=random_images(30)).fit(resume="never")
    assert read_split(tmp_path / "run") is None


def test_logs_and_timings(tmp_path: Path) -> None:
    record = EpochRecord(
        epoch=1, train_loss=0.5, val_loss=0.25, val_balanced_accuracy=1.0, learning_rate=0.1, best=True
    )
    RunFolder(tmp_path).write_log(History([record], [2.0], [0.1235], 90))
    (line,), (timings,) = read_log(tmp_path)
    assert line == json.loads(record.to_json())
    assert timings == {"epoch": 1, "seconds": 2.0, "images_per_s": 45.0, "waiting": 0.1235}


def test_settings_that_may_change(tmp_path: Path) -> None:
    def check(before: TrainConfig, **settings: Any) -> None:
        RunFolder(tmp_path).start(INFO, before, None, resume=False)
        _check_same_run(tmp_path, INFO, dataclasses.replace(before, **settings))

    config = TrainConfig(scheduler="plateau", epochs=3)
    check(config, out=Path("elsewhere"), num_workers=2, resident=True, epochs=9, early_stopping=3)
    with pytest.raises(RunError, match=r"found changes: seed 0 -> 1\."):
        check(config, seed=1, epochs=9)
    with pytest.raises(RunError, match=r"found changes: epochs 3 -> 9\."):
        check(TrainConfig(scheduler="onecycle", epochs=3), epochs=9, progress=True)


def test_changed_settings_are_rejected(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=1, scheduler="none")
    with pytest.raises(RunError, match=r"learning_rate 0.01 -> 0.5.*--resume never"):
        train(tmp_path / "run", epochs=1, scheduler="none", learning_rate=0.5)


def test_another_augmentation_is_rejected(tmp_path: Path) -> None:
    train(tmp_path / "run", augment=RandomAffine(degrees=5))
    with pytest.raises(RunError, match=r"augment 'RandomAffine\(degrees=5, .* -> 'RandomAffine\(degrees=6, "):
        train(tmp_path / "run", augment=RandomAffine(degrees=6))


def test_another_loss_of_the_same_name_is_rejected(tmp_path: Path) -> None:
    class Loss(torch.nn.Module):  # as those of pytorch-metric-learning, its representation does not have its settings
        def __init__(self, temperature: float) -> None:
            super().__init__()
            self.temperature = temperature

        def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return (embeddings.sum(dim=1) * labels).mean() / self.temperature

    train(tmp_path / "run", objective=Loss(0.1))
    with pytest.raises(RunError, match=r"found changes: objective\.temperature 0\.1 -> 0\.9\. Restore them"):
        train(tmp_path / "run", objective=Loss(0.9))
    train(tmp_path / "run", objective=Loss(0.1))
    values = content_of(tmp_path / "run" / "config.json")
    del values["functions"]  # as earlier versions wrote it
    (tmp_path / "run" / "config.json").write_bytes(sealed(values))
    train(tmp_path / "run", objective=Loss(0.9))


def test_a_run_without_graphs_is_not_resumed_with_them(tmp_path: Path) -> None:
    train(tmp_path / "run", cuda_graph=False)  # its learning rate is a number, which a graph would record as a constant
    with pytest.raises(RunError, match="found changes: cuda_graph False -> None"):
        train(tmp_path / "run")


def test_changed_data_is_rejected(tmp_path: Path) -> None:
    train(tmp_path / "run")
    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=3, precision="fp32")
    with pytest.raises(RunError, match="Expected the data that"):
        Trainer(dropout_model(), config, train=random_images(72)).fit()


def test_a_checkpoint_with_nan_is_passed_over(tmp_path: Path) -> None:
    weight = torch.ones(3)
    save_checkpoint(tmp_path, 1, {"weight": weight, "mask": torch.tensor([-torch.inf])})
    save_checkpoint(tmp_path, 2, {"weight": torch.where(weight > 0, torch.nan, weight)})
    state, problems = load_checkpoint(tmp_path)
    assert state is not None
    assert torch.equal(state["weight"], weight)
    assert problems == ["Checkpoint step-000000002 cannot be used: Expected numbers in /weight, found NaN."]


def test_a_setting_that_an_older_version_did_not_have(tmp_path: Path) -> None:
    train(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = content_of(path)
    del config["freeze"]
    path.write_bytes(sealed(config))
    train(tmp_path / "run")  # as with its default
    path.write_bytes(sealed(config))
    with pytest.raises(RunError, match="freeze 'none' -> 'backbone'"):
        train(tmp_path / "run", freeze="backbone")


def test_a_newer_format_is_rejected(tmp_path: Path) -> None:
    train(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    edit(file, format_version=99)
    with pytest.raises(RunError, match=r"format version 1 at most, found 99"):
        train(tmp_path / "run")


@pytest.mark.parametrize(("path", "found"), [("", "other files"), ("thesis.txt", "a file")])
def test_other_files_are_not_overwritten(tmp_path: Path, path: str, found: str) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match=f"run folder or empty, found {found}"):
        train(tmp_path / path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_another_environment_is_noted(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=1, scheduler="none")
    path = tmp_path / "run" / "run.json"
    run = content_of(path)
    run["environment"]["num_threads"] = 99
    path.write_bytes(sealed(run))
    history = Trainer(
        dropout_model(),
        TrainConfig(out=tmp_path / "run", batch_size=8, epochs=2, precision="fp32", scheduler="none"),
        train=random_images(),
    ).fit()
    assert any(note.startswith("Resumed in another environment (num_threads 99 -> ") for note in history.notes)


def test_a_folder_that_a_kill_left_before_the_run_was_written_is_used(tmp_path: Path) -> None:
    for name in (".lock", ".lock.json", ".run.json.0123456789abcdef.tmp"):
        (tmp_path / name).write_text("")
    (tmp_path / "features" / ".x.0123456789abcdef.tmp").mkdir(parents=True)
    train(tmp_path)
    (tmp_path / "checkpoints" / ".x.0123456789abcdef.tmp").mkdir()
    train(tmp_path)
    assert list(tmp_path.rglob("*.tmp")) == []
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunError, match="found other files"):
        train(tmp_path)


def test_the_run_is_written_first_and_a_checkpoint_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write_file, write_folder = storage.write_file, storage.write_folder

    def watched_file(path: Path, content: bytes) -> None:
        written.append(path.name)
        write_file(path, content)

    def watched_folder(path: Path, files: dict[str, bytes]) -> None:
        written.append(path.name)
        write_folder(path, files)

    monkeypatch.setattr(storage, "write_file", watched_file)
    monkeypatch.setattr(storage, "write_folder", watched_folder)
    train(tmp_path / "run", epochs=1)
    start = [".lock.json", "run.json", "config.json", "split.json", "log.jsonl", "timings.jsonl"]
    assert written == [*start, "best_model.pt", "log.jsonl", "timings.jsonl", "step-000000007"]


def test_a_new_run_removes_what_an_earlier_one_left(tmp_path: Path) -> None:
    train(tmp_path)
    written = ("evaluation.json", "calibration.json", "report.html", "curves.png", "data.json", "validation_pairs.csv")
    for name in (*written, "mine.txt"):
        (tmp_path / name).write_text("")
    config = TrainConfig(out=tmp_path).resolved()
    assert RunFolder(tmp_path).start(INFO, config, None, resume=False) is None
    left = {"run.json", "config.json", "log.jsonl", "timings.jsonl", "mine.txt"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_folder_of_another_run_is_not_changed(tmp_path: Path) -> None:
    train(tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    (newest / "state.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match="found changes: seed 0 -> 1"):
        train(tmp_path / "run", seed=1)
    assert sorted(tmp_path.rglob("*")) == before
