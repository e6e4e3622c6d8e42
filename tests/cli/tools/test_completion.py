from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from run_command import here, pairsim


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_command(shell: str, tmp_path: Path) -> None:
    done = here("completion", shell, cwd=tmp_path)
    assert done.status == 0
    assert all(command in done.out for command in ("train", "duplicates", "report", "--seed", "all-pairs"))
    assert list(tmp_path.iterdir()) == []


def test_bash_completes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "script").write_text(pairsim("completion", "bash", cwd=tmp_path).out)
    lines = "source ./script; COMP_WORDS=(pairsim dup); COMP_CWORD=1; _pairsim; echo ${COMPREPLY[@]}"
    done = subprocess.run([bash, "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["duplicates"], done.stderr
