"""The site of the documentation, built once for all test processes, with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
ABSENT = [name for name in ("sphinx", "mkdocs", "material", "furo") if find_spec(name) is None]
SITE_MISSING = f"needs {', '.join(ABSENT)}: pip install 'pairsim[docs]'" if ABSENT else ""


def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site. Whichever process needs it first builds it, as `make docs` does."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all processes
    built, unfinished = shared / "site", shared / "unfinished-site"
    with FileLock(shared / "site.lock"):
        if not built.is_dir():
            environment = {**os.environ, "PAIRSIM_API_PAGES": str(shared / "api"), "NO_MKDOCS_2_WARNING": "1"}
            for command in (
                ["sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "docs/api", str(shared / "api")],
                ["mkdocs", "build", "--strict", "-d", str(unfinished)],  # with -q it would not count warnings
            ):
                done = subprocess.run(
                    [sys.executable, "-m", *command],
                    cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
                )  # fmt: skip
                assert done.returncode == 0, done.stdout + done.stderr
                assert "WARNING" not in done.stdout + done.stderr
            unfinished.rename(built)
    return built
