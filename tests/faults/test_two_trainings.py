"""Two trainings with one folder: the second says who uses it, and the first ends as if it were alone."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from held_folders import held
from run_command import COMMAND, environment, failure, here, log_lines, pairsim, wait_for

from pairsim import EmbeddingNet, SimilarityModel
from pairsim.errors import RunError

TRAIN = ["train", "digits", "--batch-size", "128", "--epochs", "4", "--no-report"]


def test_a_command_does_not_write_to_a_folder_in_use(tmp_path: Path) -> None:
    with held(tmp_path / "run"):
        for more in ((), ("--resume", "never", "--seed", "7")):
            said = failure(here(*TRAIN, "--out", "run", *more, cwd=tmp_path), 1)
            assert "run to be free, but process 123 on far, since 2026-01-02T03:04:05+00:00," in said
        said = failure(here("demo", "--out", "run", cwd=tmp_path), 1)
        assert "but process 123 on far" in said
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", ".lock.json"]


def test_a_model_in_training_is_not_calibrated(tmp_path: Path) -> None:
    SimilarityModel(EmbeddingNet(image_size=16)).save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text('{"format": "pairsim-run", "format_version": 1}')
    before = (tmp_path / "run" / "model" / "config.json").read_bytes()
    calibrate = ["calibrate", "run", "digits", "--split", "train"]
    with held(tmp_path / "run"):
        assert "but process 123 on far" in failure(here(*calibrate, cwd=tmp_path), 1)
    assert (tmp_path / "run" / "model" / "config.json").read_bytes() == before
    assert here(*calibrate, cwd=tmp_path).status == 0


@pytest.mark.parametrize(
    ("command", "after_fit"),
    [([*TRAIN[:-2], "1"], "training.train.write_pages"), (["demo", "--epochs", "1"], "training.demo.load_model")],
)
def test_the_lock_is_kept_until_the_last_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], after_fit: str
) -> None:
    def look(*_: object) -> None:
        with pytest.raises(TimeoutError):
            FileLock(tmp_path / "run" / ".lock", timeout=0).acquire()
        raise RunError("It is locked.")

    monkeypatch.setattr(f"pairsim.cli.{after_fit}", look)
    assert failure(here(*command, "--out", "run", cwd=tmp_path), 1) == "pairsim: It is locked."
    with FileLock(tmp_path / "run" / ".lock", timeout=0):
        pass


@pytest.mark.slow
def test_the_first_training_ends_as_if_it_were_alone(tmp_path: Path) -> None:
    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        command = [*COMMAND, *TRAIN, "--out", out, *more]
        return subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)

    with start("run", "--num-workers", "2") as first:
        wait_for(lambda: log_lines(tmp_path / "run") >= 1, first)
        first.send_signal(signal.SIGSTOP)  # so that it does not end before the others begin
        for more in ((), ("--resume", "never", "--seed", "7")):
            second = pairsim(*TRAIN, "--out", "run", *more, cwd=tmp_path)
            assert f"but process {first.pid} on " in failure(second, 1)
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=240) == 0
    with start("alone") as alone:
        assert alone.wait(timeout=240) == 0
    for name in ("log.jsonl", "best_model.pt", "model/config.json", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
