"""A disk that fills up, and pictures that cannot be read: one line, and nothing that was saved is lost."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_command import COMMAND, environment, here, pairsim

ARGUMENTS = ["train", "digits", "--batch-size", "128", "--scheduler", "plateau"]


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_disk_full_while_saving(tmp_path: Path) -> None:
    full, whole = tmp_path / "full", tmp_path / "whole"
    assert pairsim(*ARGUMENTS, "--out", full, "--epochs", "1", cwd=tmp_path).status == 0
    saved = {path: path.read_bytes() for path in full.rglob("*.safetensors")}
    done = subprocess.run(
        [*COMMAND, *ARGUMENTS, "--out", str(full), "--epochs", "3"],
        preexec_fn=limit_file_size, env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "Could not write" in last
    assert "untouched" in last
    assert {path: path.read_bytes() for path in full.rglob("*.safetensors")} == saved
    assert not list(full.rglob("*.tmp"))
    # with room again the same command ends like a run that always had it
    assert pairsim(*ARGUMENTS, "--out", full, "--epochs", "3", cwd=tmp_path).status == 0
    assert pairsim(*ARGUMENTS, "--out", whole, "--epochs", "3", cwd=tmp_path).status == 0
    assert (full / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()
    name = Path("model/model.safetensors")
    assert (full / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(("content", "num_workers"), [(b"", 0), (b"not a picture", 2), (None, 0)])
def test_unreadable_picture_in_a_folder_is_named(tmp_path: Path, content: bytes | None, num_workers: int) -> None:
    for name, grey in (("dark", 20), ("bright", 220)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(40):
            Image.fromarray(np.full((16, 16), grey + number // 2, np.uint8)).save(
                tmp_path / "data" / name / f"{number}.png"
            )
    broken = tmp_path / "data" / "dark" / "7.png"
    broken.write_bytes(broken.read_bytes()[:50] if content is None else content)
    done = here("train", "data", "--out", "run", "--epochs", "1", "--num-workers", str(num_workers), cwd=tmp_path)
    assert done.status == 1
    assert "Traceback" not in done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("pairsim: Expected ")
    assert "7.png" in last
