"""Standard streams that are closed, full or without a reader, a current folder that is gone, and the traceback."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from run_command import COMMAND, environment, failure, here

from pairsim.cli.output import note

CLOSED = b"pairsim: Expected standard output to be open, found it closed. Redirect it, such as to /dev/null.\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX streams")
@pytest.mark.parametrize(
    ("redirection", "status", "said"),
    [
        (
            ">&-",
            2,
            b"pairsim: Expected standard output to be open, found it closed. Redirect it, such as to /dev/null.\n",
        ),
        ("2>&-", 0, b""),
        ("<&-", 0, b""),
        ("<&- >&- 2>&-", 2, b""),
        pytest.param(">/dev/full", 1, None, marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")),
    ],
)
def test_a_process_with_closed_or_full_streams(
    redirection: str, status: int, said: bytes | None, tmp_path: Path
) -> None:
    command = shlex.join([*COMMAND, "completion", "bash"])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} {redirection}"], cwd=tmp_path, env=environment(), capture_output=True, timeout=240
    )
    assert done.returncode == status
    if said is None:
        assert done.stderr.startswith(b"pairsim: No space left on device.")
        assert done.stderr.count(b"\n") == 1
    else:
        assert done.stderr == said
    assert (b"complete" in done.stdout) == (status == 0)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX folders")
def test_a_process_whose_current_folder_was_deleted(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = shlex.join([*COMMAND, "doctor"])
    done = subprocess.run(
        ["/bin/sh", "-c", f"cd gone; rmdir ../gone; {command}"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "pairsim: Expected a current folder, but it was deleted. Change to another one with cd.\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
@pytest.mark.parametrize(("call", "status"), [(["completion", "bash"], 141), (["--help"], 1)])  # rich ends with 1
def test_a_process_with_a_closed_pipe_ends_quietly(call: list[str], status: int, place: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *call], cwd=place, env=environment(), stdout=writer, stderr=subprocess.PIPE, timeout=240
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
def test_notes_without_a_reader_do_not_end_the_work() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as err, contextlib.redirect_stderr(err):
        note("one")
        note("two")


def test_errors_of_the_system_are_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(13, "Permission denied", "model/config.json")

    monkeypatch.setattr("pairsim.SimilarityModel.from_pretrained", fail)
    line = failure(here("compare", "run", "pics/b/0.png", "pics/b/1.png", cwd=place), 1)
    assert line.startswith("pairsim: Could not open model/config.json: Permission denied.")


@pytest.mark.parametrize("by", ["option", "environment"])
def test_debug_prints_the_traceback_too(by: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if by == "environment":
        monkeypatch.setenv("PAIRSIM_DEBUG", "1")
    done = here("compare", "absent", "a.png", "b.png", *(["--debug"] if by == "option" else []), cwd=place)
    assert done.status == 1
    assert "Traceback (most recent call last)" in done.err
    assert done.err.strip().splitlines()[-1].startswith("pairsim: ")
