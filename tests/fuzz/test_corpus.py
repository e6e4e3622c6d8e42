"""Each input that fuzzing has found interesting is still read, or named in one line."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_targets import CORPUS, TARGETS, run

INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_are_read_or_named(target: str) -> None:
    inputs = [path for path in INPUTS if path.parent.name == target]
    assert inputs
    for path in inputs:
        run(target, path.read_bytes())
