from __future__ import annotations

import io
import sys

import pytest

from pairsim._common.progress import print_above_bars, progress_bar


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_hidden_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for shown in (None, False):
        with progress_bar(3, "reading", "images", shown) as bar:
            bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_is_asked_for_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, "reading", "images", True) as bar:
        bar.update(2)
        bar.refresh()
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading:" in err
    assert "2/3" in err
    assert " images/s" in err


@pytest.mark.parametrize(("seconds", "drawn"), [(1.9, False), (2.1, True)])
def test_on_a_terminal_a_bar_appears_after_two_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: float, drawn: bool
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress_bar(10, "reading", "images") as bar:
        bar.start_t -= seconds
        bar.last_print_t -= seconds
        bar.update(1)
    assert ("reading" in terminal.getvalue()) is drawn


def test_large_totals_are_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(60_000, "training", "images", True, initial=12_000, leave=True):
        pass
    err = capsys.readouterr().err
    assert "12.0k/60.0k" in err
    assert err.endswith("\n")  # the bar stays


def test_a_line_is_printed_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(3, "reading", "images", True):
        print_above_bars("epoch 1")
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1\n" in err
