"""Commands with a closed pipe, with an output that has few characters, and with errors of the system."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from picture_files import folder_of_classes
from run_command import COMMAND, environment, failure, here
from small_models import small_model

from pairsim.cli.app import run
from pairsim.cli.output import note

NAME = "ü \u4e2d.png"
FEW_CHARACTERS = ("ascii", "cp1252")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a folder of pictures, one of which has a name that not all encodings have."""
    folder = tmp_path_factory.mktemp("surroundings")
    small_model(12, threshold=0.9).save_pretrained(folder / "model")
    folder_of_classes(folder / "pics", ("a", "b"))
    first = next(path for path in sorted((folder / "pics" / "a").iterdir()))
    first.rename(first.with_name(NAME))
    return folder


def commands(json_output: bool) -> list[list[str]]:
    other = "pics/b/0.png"
    return [
        [*command, "--json"] if json_output else command
        for command in (
            ["compare", "model", f"pics/a/{NAME}", other],
            ["search", "model", "pics", f"pics/a/{NAME}", "--top", "2"],
            ["duplicates", "pics"],
            ["doctor"],
        )
    ]


def written(command: list[str], encoding: str, place: Path) -> bytes:
    """What a command prints to a stdout of an encoding."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with contextlib.chdir(place), contextlib.redirect_stdout(out):
        assert run(command) == 0
    found: bytes = out.detach().getvalue()
    return found


@pytest.mark.parametrize("encoding", FEW_CHARACTERS)
@pytest.mark.parametrize("command", commands(True), ids=lambda command: command[0])
def test_json_is_complete_in_any_encoding(command: list[str], encoding: str, place: Path) -> None:
    found = json.loads(written(command, encoding, place).decode("ascii"))
    assert command[0] not in ("compare", "search") or NAME in json.dumps(found, ensure_ascii=False)


@pytest.mark.parametrize("encoding", FEW_CHARACTERS)
def test_text_has_escapes_for_other_characters(encoding: str, place: Path) -> None:
    assert b"\\u4e2d.png" in written(commands(False)[0], encoding, place)


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The end of a pipe that nothing reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
@pytest.mark.parametrize(
    ("command", "status"),
    [(commands(True)[0], 141), (["--help"], 1)],  # rich, which prints the help, ends with 1
    ids=["compare", "help"],
)
def test_a_closed_pipe_ends_quietly(command: list[str], status: int, place: Path, closed_pipe: int) -> None:
    done = subprocess.run(
        [*COMMAND, *command], cwd=place, env=environment(), stdout=closed_pipe, stderr=subprocess.PIPE, timeout=240
    )
    assert done.returncode == status
    assert done.stderr == b""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
def test_notes_without_a_reader_do_not_end_the_work(closed_pipe: int) -> None:
    with open(closed_pipe, "w", closefd=False) as err, contextlib.redirect_stderr(err):
        note("one")
        note("two")


def test_errors_of_the_system_are_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied", "model/config.json")

    monkeypatch.setattr("pairsim.SimilarityModel.from_pretrained", fail)
    line = failure(here(*commands(False)[0], cwd=place), 1)
    assert line.startswith("pairsim: Could not open model/config.json: Permission denied.")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_debug_prints_the_traceback_too(by: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "environment":
        monkeypatch.setenv("PAIRSIM_DEBUG", "1")
    done = here("compare", "absent", "a.png", "b.png", *(["--debug"] if by == "option" else []), cwd=place)
    assert done.status == 1
    assert "Traceback (most recent call last)" in done.err
    assert done.err.strip().splitlines()[-1].startswith("pairsim: ")
