from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from run_command import failure, here

from pairsim.cli.config_file import read_config


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.toml", ".".join("a" * 20_000) + " = 1", "more than 100 dots in a line"),
        ("x.toml", "[" + ".".join("a" * 20_000) + "]", "more than 100 dots in a line"),
        ("x.toml", "x = {" + ".".join("a" * 20_000) + " = 1}", "more than 100 dots in a line"),
        ("x.toml", "#" * 70_000, "it has more than 65,536 bytes"),
        ("x.toml", "x = " + "[" * 60_000, "Expected options in TOML in "),
        ("x.toml", b"\xff", "Expected options in TOML in "),
        ("x.toml", "epochs 5", "Expected options in TOML in "),
        ("x.json", '{"a":' * 10_000, "nested too deeply"),
        ("x.toml", "[train]\nepochs = 1.5", "Expected --epochs to be a whole number, got 1.5."),
        ("x.json", "[1]", "it holds list"),
        ("x.toml", "epochs = 1\nunseen = 0.3", "it has epochs, and options are read below [train] only."),
        ("x.toml", "[Train]\nepochs = 1", "it has Train, and options are read below [train] only."),
        ("x.toml", "[train]\nepochs = 1\n[evaluat]\nsplit = 'val'", "it has evaluat, and options are read below"),
        ("x.toml", "", "it has no [train], and options"),
        ("x.json", '{"train": 3}', "it has a value named train, and options"),
        ("x.toml", "[train]\nconfig = 'other.toml'", "it names another file as config, which is not read."),
        ("x.json", "{", "Expected options in JSON in "),
    ],
    ids=lambda value: str(value)[:20],
)
def test_wrong_files_are_one_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    text = failure(here("train", "digits", "--out", "run", "--config", name, cwd=tmp_path), 2)
    assert said in text
    assert len(text) < 400
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    text = failure(here("train", "digits", "--out", "run", "--config", "absent.toml", cwd=tmp_path), 2)
    assert "Expected a TOML or JSON file at absent.toml, found none. Check the path." in text


def test_files_are_read_as_before(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("\ufeff[train]\nepochs = 2\nlearning-rate = 0.1\n")
    (tmp_path / "x.json").write_text('{"train": {"epochs": 2}}')
    assert read_config(tmp_path / "x.toml", "train") == {"train": {"epochs": 2, "learning-rate": 0.1}}
    assert read_config(tmp_path / "x.json", "train") == {"train": {"epochs": 2}}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.toml")
    with socket.socket(socket.AF_UNIX) as listening, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # the path of a socket is short
        listening.bind("y.toml")
        for name in ("x.toml", "y.toml", "/dev/zero", "n" * 300 + ".toml"):
            failure(here("train", "digits", "--out", "run", "--config", name, cwd=tmp_path), 2)
