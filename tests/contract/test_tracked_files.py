"""What the repository holds at its top: a run or pictures that were written there by a trial do not belong to it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {".ci", ".github", "benchmarks", "docs", "examples", "src", "tests"}
FILES = {
    *(".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("RELEASING.md", "SECURITY.md", "mkdocs.yml", "pyproject.toml"),
}


@pytest.mark.skipif(not (ROOT / ".git").exists() or shutil.which("git") is None, reason="needs a git checkout")
def test_the_top_level_holds_only_what_belongs_there() -> None:
    command = ["git", "-C", str(ROOT), "ls-files"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {name.partition("/")[0] for name in names} == FOLDERS | FILES
