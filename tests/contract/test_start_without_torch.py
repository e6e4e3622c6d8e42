from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import pytest
from run_command import environment

from pairsim.cli.app import COMMANDS, run

INVOCATIONS = [
    ["--version"],
    ["--help"],
    [],
    *([command.__name__, "--help"] for command in COMMANDS),
    *(["completion", shell] for shell in ("bash", "zsh", "fish")),
]


def outputs(invocations: list[list[str]]) -> list[tuple[int, str]]:
    """The exit status and the output of each command."""
    found = []
    for tokens in invocations:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = run(tokens)
        found.append((status, out.getvalue()))
    return found


def test_help_and_completion_are_the_same_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch takes seconds, so help and completion must not."""
    code = (
        "import json, sys\n"
        "for name in ('torch', 'numpy', 'torchvision', 'PIL', 'tqdm', 'safetensors'): sys.modules[name] = None\n"
        "from test_start_without_torch import INVOCATIONS, outputs\n"
        "print(json.dumps(outputs(INVOCATIONS)))\n"
    )
    monkeypatch.setenv("COLUMNS", "100")
    path = [*sys.path, *[entry for entry in [__file__.rpartition("/")[0]] if entry]]
    env = environment(PYTHONPATH=":".join(path))
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    without = [(status, text) for status, text in json.loads(done.stdout)]
    assert without == outputs(INVOCATIONS)
    assert all(status == 0 and text for status, text in without)
