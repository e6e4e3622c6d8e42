from __future__ import annotations

import json

import pytest

from pairsim.cli.output import UsageError, expect, note, print_result


def test_results_go_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    note("working")
    print_result({"value": 1}, "value 1", False)
    assert capsys.readouterr() == ("value 1\n", "working\n")


def test_json_has_null_for_numbers_that_are_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"name": "ü", "rates": [0.5, float("nan")], "best": {"loss": float("inf")}, "pair": (1, None)}
    print_result(result, "text", True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"name": "ü", "rates": [0.5, None], "best": {"loss": None}, "pair": [1, None]}
    assert out.isascii()
    assert err == ""


def test_expect() -> None:
    expect(True, "nothing")
    with pytest.raises(UsageError, match=r"^Expected --top to be at least 1, got 0\.$"):
        expect(False, "--top to be at least 1, got 0.")
