"""Checkpoints: nested state as files, damaged files, and which checkpoints are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import dropout_model, last_state, random_images
from states import assert_same
from torch import Tensor

from pairsim import History, TrainConfig, Trainer
from pairsim.errors import RunError
from pairsim.training.checkpointing.run_folder import (
    load_checkpoint,
    pack,
    save_checkpoint,
    unpack,
)

NUMBERS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
STATES = st.recursive(
    NUMBERS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(STATES)
def test_nested_state_is_restored_exactly(state: Any) -> None:
    tensors: dict[str, Tensor] = {}
    packed = json.loads(json.dumps(pack(state, tensors), allow_nan=False))
    assert tensors == {}
    restored = unpack(packed, tensors)
    assert restored == state
    assert repr(restored) == repr(state)  # types too


def test_tensors_are_named_by_their_path() -> None:
    state = {"model": {"weight": torch.ones(2)}, "groups": [{"lr": torch.tensor(0.5)}], 3: (torch.zeros(0),)}
    tensors: dict[str, Tensor] = {}
    packed = pack(state, tensors)
    assert sorted(tensors) == ["/3/0", "/groups/0/lr", "/model/weight"]
    assert_same(unpack(packed, tensors), state)


def test_other_types_are_named() -> None:
    with pytest.raises(TypeError, match=r"Expected state of numbers, text and tensors, found set at /a/1\."):
        pack({"a": [1, {2}]}, {})


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, step, {"step": step})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000002", "step-000000010"]
    save_checkpoint(tmp_path, 10, {"step": 10, "again": True})
    assert load_checkpoint(tmp_path) == ({"step": 10, "again": True}, [])
    assert load_checkpoint(tmp_path / "none") == (None, [])


def test_a_newer_format_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.training.checkpointing.run_folder.FORMAT_VERSION", 2)
    save_checkpoint(tmp_path, 1, {"step": 1})
    monkeypatch.undo()
    with pytest.raises(RunError, match="format version 1 at most, found 2"):
        load_checkpoint(tmp_path)


# --- damaged files ---


def train(out: Path) -> History:
    config = TrainConfig(out=out, batch_size=8, epochs=3, precision="fp32")
    return Trainer(dropout_model(), config, train=random_images()).fit()


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("damage", [flip_a_byte, remove])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for out in ("intact", "damaged"):
        train(tmp_path / out)
    newest = sorted((tmp_path / "damaged" / "checkpoints").iterdir())[-1]
    damage(newest / "tensors.safetensors")
    history = train(tmp_path / "damaged")
    assert any(newest.name in line and "cannot be used" in line for line in history.notes)
    assert_same(last_state(tmp_path / "intact"), last_state(tmp_path / "damaged"))


def test_all_checkpoints_damaged(tmp_path: Path) -> None:
    train(tmp_path / "run")
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        flip_a_byte(checkpoint / "tensors.safetensors")
    with pytest.raises(RunError, match=r"All checkpoints in .* are damaged\. .*--resume never"):
        train(tmp_path / "run")
