"""Starting the command line as a process."""

from __future__ import annotations

import sys
import warnings

import pytest

from pairsim.cli import main, start


def test_main_exits_with_the_status_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(start, "catch_signals", lambda: ended.append("caught"))
    monkeypatch.setattr(start, "expect_no_more", lambda: ended.append("over"))
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    for call, status in ((["--version"], 0), (["compare"], 2)):
        monkeypatch.setattr(sys, "argv", ["pairsim", *call])
        with pytest.raises(SystemExit) as exited:
            main()
        assert exited.value.code == status
        assert warnings.formatwarning("a\nb", UserWarning, "x.py", 1) == "a\\nb\n"
    assert ended == ["caught", "over"] * 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_interruption_that_leaves_the_command_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "catch_signals", lambda: None)
    monkeypatch.setattr(start, "expect_no_more", lambda: None)
    monkeypatch.setattr("pairsim.cli.app.run", interrupted)
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 130
    assert capsys.readouterr().err.startswith("pairsim: interrupted: ")
