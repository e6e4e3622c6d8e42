"""A long run: neither memory nor open files grow, and the log is complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import long_run
import pytest
from run_command import environment

EPOCHS = 2_000
WARM_UP = 500
MAX_GROWTH = 16_000_000  # bytes; the records of 1,500 epochs need less than 2 million


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_and_files_stay_flat_over_many_epochs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, long_run.__file__, str(tmp_path / "run"), str(EPOCHS)],
        env=environment(PYTHONPATH=os.pathsep.join(sys.path)), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    watch = json.loads(done.stdout.splitlines()[-1])
    memory, files = watch["memory"], watch["files"]
    early, late = max(memory[:WARM_UP]), max(memory[WARM_UP:])
    print(f"{EPOCHS} epochs: {early / 1e6:.1f} MB after {WARM_UP}, {late / 1e6:.1f} MB at most, {files[-1]} files")
    assert late - early < MAX_GROWTH
    assert set(files[WARM_UP:]) == {files[WARM_UP]}
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == list(range(1, EPOCHS + 1))
    assert len((tmp_path / "run" / "timings.jsonl").read_text().splitlines()) == EPOCHS
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
