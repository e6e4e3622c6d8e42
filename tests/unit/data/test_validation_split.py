from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairsim.data import ClassIndex, stratified_split
from pairsim.data.validation_split import ValidationSplit, read_split, write_split
from pairsim.errors import RunError


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_json_gives_the_split_back(held_out: list[bool]) -> None:
    index = ClassIndex.from_labels(np.arange(len(held_out)) % 3)
    split = ValidationSplit.of(index, np.flatnonzero(held_out))
    found = ValidationSplit.from_dict(json.loads(json.dumps(split.to_dict())))
    assert found.held_out.tolist() == np.flatnonzero(held_out).tolist()
    assert found.held_out.dtype == np.int64
    assert found.data == index.fingerprint()


def test_the_file_of_a_run(tmp_path: Path) -> None:
    index = ClassIndex.from_labels(np.repeat(np.arange(10), 600))
    _, held_out = stratified_split(index, 0.1, seed=1)
    assert read_split(tmp_path) is None
    write_split(tmp_path, ValidationSplit.of(index, held_out))
    found = read_split(tmp_path)
    assert found is not None
    assert np.array_equal(found.held_out, held_out)
    values = json.loads((tmp_path / "split.json").read_text())
    assert values["held_out"][:4] != "AAAA"
    assert {name: values[name] for name in ("num_images", "num_classes", "num_held_out")} == {
        "num_images": 6000,
        "num_classes": 10,
        "num_held_out": 600,
    }
    assert (tmp_path / "split.json").stat().st_size < 1500  # 6,000 bits in base64 and some names
    write_split(tmp_path, None)  # a run that is given its validation data
    write_split(tmp_path, None)
    assert read_split(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "pairsim-run"}, "expected format pairsim-split, found 'pairsim-run'"),
        ({"format_version": 2}, "its format version 2 needs a newer pairsim"),
        ({"num_held_out": 3}, "expected 3 of 20 images, found others"),
        ({"num_images": 30}, "expected 2 of 30 images, found others"),
        ({"num_images": 5}, "expected 2 of 5 images, found others"),
        ({"held_out": "!"}, ""),
        ({"held_out": None}, ""),
        ({"labels": ...}, "'labels'"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    index = ClassIndex.from_labels(np.arange(20) % 2)
    values = {**ValidationSplit.of(index, np.array([4, 17])).to_dict(), **change}
    kept = {name: value for name, value in values.items() if value is not ...}
    (tmp_path / "split.json").write_text(json.dumps(kept))
    with pytest.raises(RunError, match=f"Expected the validation split of a run in .*split.json, but: .*{said}"):
        read_split(tmp_path)
