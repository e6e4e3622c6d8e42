"""The session on a GPU: its parts are kept apart, and what was measured is kept."""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, kernels, syncs
from benchmarks.__main__ import main
from benchmarks.gpu import Part
from benchmarks.options import Options
from benchmarks.registry import BENCHMARKS

QUICK = Options(quick=True)
CODE = {
    "works": "import json, sys; json.dump({'benchmarks': {'works': [1]}}, open(sys.argv[1], 'w'))",
    "fails": "import sys; print('the reason'); sys.exit(3)",
    "hangs": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])",
}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a session of parts that work, fail or hang, and return its status and file."""

    def run(*names: str, budget: float = 430) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(gpu, "PARTS", tuple(Part(name, 2.0 if name == "hangs" else 60.0) for name in names))
        monkeypatch.setattr(gpu, "command", lambda part, _, file: [sys.executable, "-c", CODE[part.name], str(file)])
        file = tmp_path / "new" / "found.json"
        status = main(["gpu", "--device", "cpu", "--quick", "--budget", str(budget), "--json", str(file)])
        return status, json.loads(file.read_text())

    return run


def test_what_was_measured_is_kept_whatever_happens_later(session: Any) -> None:
    status, found = session("works", "fails", "hangs")
    assert status == 1
    assert [part["status"] for part in found["parts"]] == ["done", "failed with status 3", "did not end within 2 s"]
    assert found["parts"][1]["last_lines"] == ["the reason"]
    assert found["benchmarks"] == {"works": [1]}
    assert found["hardware"]["cores"] >= 1


def test_a_session_that_works(session: Any) -> None:
    assert session("works")[0] == 0


def test_without_time_nothing_is_started(session: Any) -> None:
    status, found = session("works", budget=1)
    assert (status, found["parts"]) == (1, [{"name": "works", "status": "no time left"}])


def test_without_a_gpu_it_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["gpu", "--json", "x"])
    assert "expected a CUDA device, PyTorch finds none; --device cpu --quick" in capsys.readouterr().err


def test_parts_are_benchmarks_or_the_tests_that_need_a_gpu() -> None:
    assert {part.name for part in gpu.PARTS if not part.tests} <= set(BENCHMARKS)
    (tests,) = (part for part in gpu.PARTS if part.tests)
    words = gpu.command(tests, Options(device="cuda"), Path("x"))
    assert "tests/gpu/test_on_a_device.py" in words
    assert "--collect-only" not in words
    words = gpu.command(Part("graph", 1, rounds=3), Options(device="cuda", data_dir=Path("d")), Path("x"))
    assert words[3:] == ["graph", "--device", "cuda", "--json", "x", "--rounds", "3", "--data-dir", "d"]


def test_lines_that_wait_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    found = Counter[str]()
    own = Path(syncs._ROOT, "training", "step.py")
    with syncs.waits(found, cuda=True):
        for line in (7, 7, 8):
            warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, str(own), line)
        warnings.warn_explicit("called a synchronizing CUDA operation", UserWarning, "/a/b/c/d.py", 1)
        warnings.warn_explicit("something else", UserWarning, str(own), 9)
    assert found == {"training/step.py:7": 2, "training/step.py:8": 1, "b/c/d.py:1": 1}
    assert modes == ["warn", "default"]


def test_syncs_and_kernels_run() -> None:
    (table,) = syncs.run(QUICK)
    assert table.notes[-1] == "fp32: 12 steps in 3 epochs, 0 waits."
    steps, found = kernels.run(QUICK)
    assert all(row["kernels"] > 50 and row["busy_s"] > 0 for row in steps.rows)
    assert [row["arm"] for row in found.rows] == [
        "matrix product, fp32",
        "matrix product, bf16",
        "copy within the device",
    ]


@pytest.mark.slow
@pytest.mark.mnist
def test_every_part_runs_without_a_gpu(tmp_path: Path) -> None:
    status = main(["gpu", "--device", "cpu", "--quick", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert {part["name"]: part["status"] for part in found["parts"]} == {part.name: "done" for part in gpu.PARTS}
    assert status == 0
    assert set(found["benchmarks"]) == {part.name for part in gpu.PARTS} - {"tests"}
