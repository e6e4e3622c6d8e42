"""A run that is killed at any of its changes to the disk, or at any moment, is finished by the same command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import crashing_runs
import pytest
from run_command import environment

HELPERS = Path(crashing_runs.__file__).parent


def crashing(*arguments: str, timeout_s: float) -> dict[str, Any]:
    """Run `crashing_runs`, print what it tried, and check that every killed run ended like one left alone."""
    path = os.pathsep.join([str(HELPERS), *sys.path])
    done = subprocess.run(
        [sys.executable, str(HELPERS / "crashing_runs.py"), *arguments],
        env=environment(PYTHONPATH=path), capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"crash points tried {result['tried']}, survived {result['tried'] - len(result['wrong'])}")
    assert result["wrong"] == []
    assert result["not_loaded"] == []
    return result


@pytest.mark.slow
@pytest.mark.parametrize("scenario", crashing_runs.SCENARIOS)
def test_runs_killed_at_every_change(scenario: str) -> None:
    assert crashing("--scenario", scenario, timeout_s=3600)["tried"] >= 60


@pytest.mark.slow
def test_runs_killed_at_random_moments() -> None:
    assert crashing("--kills", "200", timeout_s=3600)["tried"] == 200
