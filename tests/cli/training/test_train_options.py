from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cyclopts import App

from pairsim import TrainConfig
from pairsim.cli.training.train_options import TrainOptions, for_command_line
from pairsim.training.config_options import Group, options_of


@for_command_line
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Extended(TrainConfig):
    """A config with one option more."""

    mixing: float = Group.PAIRS.option(0.25, "Share of mixed pairs.", interval="[0, 1)")


def help_of(config_class: type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "160")

    def train(*, options: config_class) -> None:  # type: ignore[valid-type]
        pass

    app = App(result_action="return_value", help_format="plaintext")
    train.__annotations__["options"] = config_class
    app.command(train)
    app(["train", "--help"])
    return capsys.readouterr().out


def test_every_option_has_its_text_group_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(help_of(TrainOptions, capsys, monkeypatch).replace("│", " ").split())
    for name, option in options_of(TrainConfig).items():
        assert f"--{name.replace('_', '-')} " in text or f"--options.{name.replace('_', '-')} " in text
        assert " ".join(option.command_line_help.split()) in text
    titles = [text.index(f"─ {group.value} ─") for group in Group]
    assert titles == sorted(titles)
    assert "Callable" not in text


def test_a_new_field_is_a_new_option(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = help_of(_Extended, capsys, monkeypatch)
    (line,) = [line for line in text.splitlines() if "mixing" in line]
    assert "Share of mixed pairs. In [0, 1). [default: 0.25]" in line
    group = text[text.index("─ Pairs and batches ─") : text.index("─ Optimization ─")]
    assert line in group


def test_options_are_a_config(tmp_path: Path) -> None:
    options = TrainOptions(out=tmp_path, epochs=3)
    assert isinstance(options, TrainConfig)
    assert options.to_dict() == TrainConfig(out=tmp_path, epochs=3).to_dict()
    assert isinstance(options.resolved(100), TrainOptions)
    with pytest.raises(ValueError, match="Expected epochs to be at least 1, got 0"):
        TrainOptions(epochs=0)
