"""A progress bar is shown when it is asked for, and only on stderr."""

from __future__ import annotations

import pytest

from pairsim._common.progress import progress_bar


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_shown_when_asked_for(progress: bool | None, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(4, "reading", "files", progress) as bar:  # stderr of a test is no terminal
        for _ in range(4):
            bar.update(1)
    output = capsys.readouterr()
    assert output.out == ""
    assert ("reading" in output.err and "files" in output.err) == shown


def test_the_total_need_not_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(None, "reading", "files", progress=True) as bar:
        bar.update(2)
    assert "files" in capsys.readouterr().err
