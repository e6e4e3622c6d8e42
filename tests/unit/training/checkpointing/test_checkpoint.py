"""Checkpoints: nested state as files, damaged files, and which checkpoints are kept."""

from __future__ import annotations

import json
import re
import shutil
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
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000000002", "step-000000010"]
    assert load_checkpoint(tmp_path) == ({"step": 10}, [])
    assert load_checkpoint(tmp_path / "none") == (None, [])


def test_a_newer_format_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.training.checkpointing.run_folder.FORMAT_VERSION", 3)
    save_checkpoint(tmp_path, 1, {"step": 1})
    monkeypatch.undo()
    with pytest.raises(RunError, match="format version 2 at most, found 3"):
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


# --- the history, which is in the log ---


def resume(out: Path, epochs: int) -> History:
    config = TrainConfig(out=out, batch_size=8, epochs=epochs, precision="fp32", scheduler="none")
    return Trainer(dropout_model(), config, train=random_images()).fit()


def test_a_checkpoint_refers_to_the_log(tmp_path: Path) -> None:
    sizes = []
    for epochs in (2, 6):
        resume(tmp_path / "run", epochs)
        newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
        text = (newest / "state.json").read_text()
        assert "train_loss" not in text
        sizes.append(len(text))
    assert sizes[1] - sizes[0] < 50  # longer numbers, no longer lists


def test_a_resumed_run_has_the_history_of_the_files(tmp_path: Path) -> None:
    whole, first = resume(tmp_path / "whole", 4), resume(tmp_path / "run", 2)
    for name in ("log.jsonl", "timings.jsonl"):  # of an epoch whose checkpoint was not written
        with (tmp_path / "run" / name).open("a") as file:
            file.write("not JSON\n")
    history = resume(tmp_path / "run", 4)
    assert history.records == whole.records
    assert (history.seconds[:2], history.waiting[:2]) == (first.seconds, first.waiting)
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()
    assert len((tmp_path / "run" / "timings.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("log.jsonl", r"log\.jsonl was changed: the SHA-256 of its first 3 lines differs from the one stored"),
        ("timings.jsonl", r"Expected 3 lines in .*timings\.jsonl, found 2"),
    ],
)
def test_a_log_that_was_changed_is_named(tmp_path: Path, name: str, said: str) -> None:
    resume(tmp_path / "run", 3)
    file = tmp_path / "run" / name
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    history = resume(tmp_path / "run", 3)  # the checkpoint before refers to two lines
    (note,) = [note for note in history.notes if "cannot be used" in note]
    assert re.search(said, note)
    assert len(history) == 3
    file.write_text("")
    with pytest.raises(RunError, match=r"All checkpoints in .* are damaged\. .*--resume never"):
        resume(tmp_path / "run", 3)


def test_a_checkpoint_with_its_own_history_is_resumed(tmp_path: Path) -> None:
    whole = resume(tmp_path / "whole", 4)
    resume(tmp_path / "run", 2)
    state, _ = load_checkpoint(tmp_path / "run")  # with the history, as version 1 wrote it
    assert state is not None
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.MonkeyPatch.context() as before:
        before.setattr("pairsim.training.checkpointing.run_folder.FORMAT_VERSION", 1)
        save_checkpoint(tmp_path / "run", state["step"], state)
    (tmp_path / "run" / "log.jsonl").write_text("")
    assert resume(tmp_path / "run", 4).records == whole.records
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()


def test_a_damaged_checkpoint_does_not_count_as_one_of_those_kept(tmp_path: Path) -> None:
    train(tmp_path)
    *_, good, newest = sorted((tmp_path / "checkpoints").iterdir())
    (tmp_path / "checkpoints" / "step-000000001").mkdir()  # was being removed
    flip_a_byte(newest / "tensors.safetensors")
    config = TrainConfig(out=tmp_path, batch_size=8, epochs=3, precision="fp32")
    trainer = Trainer(dropout_model(), config, train=random_images())
    trainer._start(resume="auto")
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-000000001", good.name]
