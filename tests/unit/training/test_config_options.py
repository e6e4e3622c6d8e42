from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pairsim import TrainConfig
from pairsim.errors import RunError
from pairsim.runs import run_records
from pairsim.training.checkpointing import run_folder
from pairsim.training.checkpointing.run_folder import RunFolder, save_checkpoint
from pairsim.training.config_options import Group, Option, document_options, options_of


@document_options
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Extended(TrainConfig):
    """A config with more options.

    Raises:
        ValueError: If a value is out of range.
    """

    mixing: float = Group.PAIRS.option(0.25, "Share of mixed pairs.", interval="[0, 1)")
    order: str | None = Group.READING.option(
        None, "Order of reading.", choices=("up", "down"), python="Also a function.", affects="speed"
    )


def test_a_new_option_is_checked() -> None:
    assert _Extended(mixing=0.0, order="up").to_dict()["mixing"] == 0.0
    with pytest.raises(ValueError, match=r"^Expected mixing to be in \[0, 1\), got 1\.0\.$"):
        _Extended(mixing=1.0)
    with pytest.raises(ValueError, match=r"^Expected order to be one of up, down, got 'left'\.$"):
        _Extended(order="left")
    assert callable(_Extended(order=sorted).order)  # type: ignore[arg-type]


def test_a_new_option_is_in_the_docstring() -> None:
    assert _Extended.__doc__ is not None
    lines = _Extended.__doc__.splitlines()
    assert "    mixing: Share of mixed pairs. In [0, 1)." in lines
    assert '    order: Order of reading. One of "up", "down". Also a function.' in lines
    assert lines[0] == "A config with more options."
    assert lines.index("Args:") < lines.index("Raises:")


@pytest.mark.parametrize(
    ("changed", "allowed"), [({"order": "up"}, True), ({"num_workers": 2}, True), ({"mixing": 0.5}, False)]
)
def test_a_new_option_follows_its_resume_rule(changed: dict[str, Any], allowed: bool, tmp_path: Path) -> None:
    info: dict[str, Any] = {"data": {}, "environment": {}}
    folder = RunFolder(tmp_path / "run")
    folder.start(info, _Extended(scheduler="none"), None, resume=False)
    save_checkpoint(tmp_path / "run", 1, {})
    config = _Extended(scheduler="none", **changed)
    if allowed:
        assert folder.start(info, config, None, resume=True) is not None
    else:
        with pytest.raises(RunError, match=r"found changes: mixing 0\.25 -> 0\.5"):
            folder.start(info, config, None, resume=True)


def test_a_run_from_before_an_option_was_added_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info: dict[str, Any] = {"data": {}, "environment": {}}
    folder = RunFolder(tmp_path / "run")
    folder.start(info, TrainConfig(scheduler="none"), None, resume=False)
    save_checkpoint(tmp_path / "run", 1, {})
    monkeypatch.setattr(run_folder, "TrainConfig", _Extended)
    with pytest.raises(RunError, match=r"found changes: mixing 0\.25 -> 0\.5"):
        folder.start(info, _Extended(scheduler="none", mixing=0.5), None, resume=True)
    assert folder.start(info, _Extended(scheduler="none"), None, resume=True) is not None


@pytest.mark.parametrize(("scheduler", "allowed"), [("none", True), ("plateau", True), ("cosine", False)])
def test_epochs_may_change_unless_the_learning_rate_follows_them(scheduler: Any, allowed: bool, tmp_path: Path) -> None:
    info: dict[str, Any] = {"data": {}, "environment": {}}
    folder = RunFolder(tmp_path / "run")
    folder.start(info, TrainConfig(scheduler=scheduler, epochs=2), None, resume=False)
    save_checkpoint(tmp_path / "run", 1, {})
    config = TrainConfig(scheduler=scheduler, epochs=3)
    if allowed:
        assert folder.start(info, config, None, resume=True) is not None
    else:
        with pytest.raises(RunError, match="found changes: epochs 2 -> 3"):
            folder.start(info, config, None, resume=True)


def test_a_new_option_is_listed_in_records_unless_it_affects_speed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_records, "TrainConfig", _Extended)
    changed = run_records.changed_settings(_Extended(mixing=0.5, order="up").to_dict())
    assert changed["mixing"] == 0.5
    assert "order" not in changed


def test_what_may_change_on_resume() -> None:
    assert {name for name, option in options_of(TrainConfig).items() if option.may_change_on_resume} == {
        *("out", "epochs", "early_stopping", "progress", "checkpoint_steps"),
        *("num_workers", "pin_memory", "resident", "memory_budget_mb", "cache_dir"),
    }


def test_what_is_no_setting_of_a_run() -> None:
    assert {name for name, option in options_of(TrainConfig).items() if not option.is_setting} == {
        *("out", "device", "progress", "checkpoint_steps", "cuda_graph"),
        *("num_workers", "pin_memory", "resident", "memory_budget_mb", "cache_dir"),
    }


def test_options_that_take_functions() -> None:
    functions = [name for name, option in options_of(TrainConfig).items() if option.accepts_callables]
    assert functions == ["objective", "optimizer", "augment"]


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "expected"),
    [
        ("[0, 1]", (0, 0.5, 1), (-0.1, 1.1, float("nan")), "in [0, 1]"),
        ("(0, 1)", (0.5,), (0, 1, float("nan")), "in (0, 1)"),
        ("[0, 1)", (0, 0.5), (1, -1), "in [0, 1)"),
        ("(0, inf)", (1e-9, 1e9), (0, -1, float("inf"), float("nan")), "positive"),
        ("[0, inf)", (0, 1e9), (-1, float("inf")), "at least 0"),
    ],
)
def test_intervals(interval: str, inside: tuple[float, ...], outside: tuple[float, ...], expected: str) -> None:
    option = Option(Group.MAIN, "Text.", interval=interval)
    assert all(option.accepts(value) for value in inside)
    assert not any(option.accepts(value) for value in outside)
    assert option.expected == expected
    assert option.command_line_help == f"Text. {expected.capitalize()}."


def test_whole_numbers() -> None:
    option = Option(Group.MAIN, "Text.", minimum=2)
    assert [option.accepts(value) for value in (1, 2, 2.0, 2.5, 10**6)] == [False, True, True, False, True]
    assert option.expected == "at least 2"


def test_choices_are_left_to_the_command_line() -> None:
    option = Option(Group.MAIN, "Text.", choices=("a", "b"))
    assert [option.accepts(value) for value in ("a", "c", sorted, None)] == [True, False, False, False]
    assert (option.command_line_help, option.python_help) == ("Text.", 'Text. One of "a", "b".')


def test_a_free_option_has_no_range() -> None:
    option = Option(Group.MAIN, "Text.", python="More.")
    assert option.accepts(object())
    assert (option.expected, option.command_line_help, option.python_help) == ("", "Text.", "Text. More.")
