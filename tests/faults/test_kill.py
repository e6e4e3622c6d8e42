"""`pairsim train` killed without warning, and run again, ends like a run that was left alone."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
import torch
from run_command import COMMAND, environment, log_lines, wait_for

ARGUMENTS = ["train", "digits", "--objective", "pairs", "--num-pairs", "3000", "--batch-size", "32", "--epochs", "4"]


def start(out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, *ARGUMENTS, "--out", str(out), *more]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_and_resumed_run_equals_uninterrupted(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0

    first = start(killed, "--checkpoint-steps", "10")
    wait_for(lambda: log_lines(killed) >= 1, first)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL

    before = {place.name for place in (killed / "checkpoints").iterdir()}
    second = start(killed, "--checkpoint-steps", "10")
    # killed again as soon as it has saved in the middle of an epoch
    wait_for(lambda: {place.name for place in (killed / "checkpoints").iterdir()} - before, second)
    second.send_signal(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    assert log_lines(killed) < 4

    assert start(killed, "--checkpoint-steps", "10").wait() == 0
    assert (whole / "log.jsonl").read_bytes() == (killed / "log.jsonl").read_bytes()
    for name in ("model/model.safetensors", "model/config.json"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    a, b = (torch.load(out / "best_model.pt", weights_only=True) for out in (whole, killed))
    assert all(torch.equal(a[name], b[name]) for name in a)
