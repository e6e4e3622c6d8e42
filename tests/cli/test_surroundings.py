"""Every command in surroundings that are not those of its author: streams, permissions, users, names, libraries."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folder_trees import locked
from run_command import COMMAND, UNUSUAL_NAME, environment

from pairsim.cli.app import COMMANDS, run

NOT_UTF_8 = os.fsdecode(b"caf\xe9")
CALLS = {
    "demo": "--epochs 1 --out {out}",
    "train": "{data} --epochs 1 --out {out}",
    "evaluate": "{run} {data}",
    "calibrate": "{run} {data} --split test",
    "compare": "{run} {picture} pics/b/0.png",
    "search": "{run} {pics} {picture} --top 2",
    "gallery": "add {out} {pics} --run {run} --replace",
    "identify": "{run} gallery {picture} --threshold 0.5",
    "duplicates": "{pics} --out {out}.csv",
    "encode": "{run} {pics} --out {out}.csv",
    "report": "{run} {data} --out {out}.html",
    "card": "{run} --overwrite --out {out}.md",
    "export": "{run} --out {out}.onnx",
    "app": "{run} --gallery {pics} --examples {pics}",
    "serve": "{run} --port 0",
    "doctor": "",
    "completion": "bash",
}
WITHOUT_JSON = ("app", "serve", "completion")
WITHOUT_OUTPUT = ("app", "serve")
SLOW = ("demo", "export")  # each takes some seconds


def arguments(command: str, **paths: str) -> list[str]:
    """A command with its arguments; all paths are ordinary unless others are given."""
    values = {
        "run": "run",
        "data": "data",
        "pics": "pics",
        "picture": f"pics/a/{UNUSUAL_NAME}",
        "out": f"out/{command}",
    }
    call = [word.format(**values | paths) for word in CALLS[command].split()]
    return [command, *call, *([] if command in WITHOUT_JSON else ["--json"])]


@pytest.fixture(autouse=True)
def _page_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """`app` and `serve` end where they would wait for visitors."""

    class Page:
        def close(self, *, verbose: bool) -> None:
            pass

    monkeypatch.setattr("pairsim.integrations.build_app", lambda *_, **__: Page())
    monkeypatch.setattr("pairsim.integrations.serve", lambda *_, **__: "http://127.0.0.1:7860")
    monkeypatch.setattr("pairsim.cli.pictures.serve_app.wait_for_signal", lambda: None)

    class Server:
        num_dropped = 0

        def __init__(self, *_: object, **__: object) -> None:
            pass

        def stop(self) -> None:
            pass

        join = close = stop

    for name in ("Service", "ServerThread"):
        monkeypatch.setattr(f"pairsim.integrations.service.http_service.{name}", Server)
    monkeypatch.setattr("pairsim.cli.pictures.serve.at_next_step", lambda _: None)


def outcome(call: list[str], place: Path, encoding: str = "utf-8") -> tuple[int, str]:
    """Run a command, check that it ended as it should, and return its status and its last words.

    It ends with its result, of which `--json` can be parsed, or with status 1, one line and no result.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with contextlib.chdir(place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(call)
    result, notes = (stream.detach().getvalue() for stream in (out, err))
    words = notes.decode(encoding)
    assert status in (0, 1), words
    assert "Traceback" not in words
    if status == 1:
        assert result == b""
        last = words.splitlines()[-1]
        assert last.startswith("pairsim: ")
        return status, last
    if "--json" in call:
        json.loads(result.decode("ascii"))
    return status, result.decode(encoding)


Surroundings = Callable[[str, Path, pytest.MonkeyPatch], None]


def few_characters(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("ascii", "cp1252"):
        status, found = outcome(arguments(command), place, encoding)
        assert status == 0
    if command == "search":
        assert json.loads(found)["results"][0]["neighbors"][0]["id"] == f"a/{UNUSUAL_NAME}"


def closed_pipe(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    err = io.StringIO()
    with (
        open(writer, "w") as out,
        contextlib.chdir(place),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = run(arguments(command))
    assert status == (0 if command in WITHOUT_OUTPUT else 141)
    assert "pairsim: " not in err.getvalue()


def no_home(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PAIRSIM_DATA", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)

    def fail(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", fail)
    with pytest.raises(RuntimeError):
        Path.home()
    assert outcome(arguments(command), place)[0] == 0


def locked_parent(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(place / "locked"):
        monkeypatch.setenv("PAIRSIM_DATA", str(place / "locked"))
        if command == "doctor":
            problems = json.loads(outcome(arguments(command), place)[1])["problems"]
            assert any("permission was denied" in problem and "locked" in problem for problem in problems)
        for name in ("run", "data", "pics", "picture", "out"):
            if f"{{{name}}}" not in CALLS[command]:
                continue
            status, said = outcome(arguments(command, **{name: f"locked/{name}"}), place)
            assert (status, f"locked/{name}" in said) == (1, True), said
            assert "ermission" in said


def locked_parent_in_python_3_14(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `Path.exists` and the like say no there where permission is denied; before they raise an error.
    for name, function in (("exists", os.path.exists), ("is_file", os.path.isfile), ("is_dir", os.path.isdir)):
        monkeypatch.setattr(Path, name, lambda path, found=function, **_: found(path))
    locked_parent(command, place, monkeypatch)


def backend_of_a_notebook(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in ("module://matplotlib_inline.backend_inline", "TkAgg"):
        monkeypatch.setenv("MPLBACKEND", backend)
        assert outcome(arguments(command), place)[0] == 0


def name_not_utf_8(command: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd, out = f"odd-{NOT_UTF_8}", f"out/{command}-{NOT_UTF_8}"
    with contextlib.suppress(FileExistsError):
        (place / odd).mkdir()
        for name in ("run", "data", "pics"):
            shutil.copytree(place / name, place / odd / name)
        for folder, name in (("pics/a", "1.png"), ("data", "a")):
            (place / odd / folder / name).rename(place / odd / folder / f"{NOT_UTF_8}{name[1:]}")
    paths = {"run": f"{odd}/run", "data": f"{odd}/data", "pics": f"{odd}/pics", "out": out}
    status, said = outcome(arguments(command, **paths, picture=f"{odd}/pics/a/{NOT_UTF_8}.png"), place)
    assert status == 0, said
    if command == "compare":
        (place / odd / "pairs.csv").write_bytes(b"pics/b/0.png,pics/a/caf\xe9.png\n")
        call = ["compare", "run", "--pairs", f"{odd}/pairs.csv", "--out", f"{out}.csv", "--json"]
        assert outcome(call, place)[0] == 0
        assert b"\npics/b/0.png,pics/a/caf\xe9.png," in (place / f"{out}.csv").read_bytes()
    if command == "search":
        found = json.loads(said)["results"][0]
        assert os.fsencode(found["query"]).endswith(b"/caf\xe9.png")
        assert os.fsencode(found["neighbors"][0]["id"]) == b"a/caf\xe9.png"
    if command == "encode":
        assert b"\na/caf\xe9.png," in (place / f"{out}.csv").read_bytes()
    if command == "report":
        assert "caf\\udce9" in (place / f"{out}.html").read_text(encoding="utf-8")
    if command == "train":
        assert f"{NOT_UTF_8}" in json.loads((place / out / "data.json").read_text(encoding="utf-8"))["class_names"]


SURROUNDINGS: tuple[Surroundings, ...] = (
    few_characters,
    closed_pipe,
    no_home,
    locked_parent,
    locked_parent_in_python_3_14,
    backend_of_a_notebook,
    name_not_utf_8,
)


def test_all_commands_are_in_the_table() -> None:
    assert set(CALLS) == {command.__name__ for command in COMMANDS}


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="needs POSIX, and names that are not UTF-8")
@pytest.mark.parametrize(
    "command",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CALLS],
)
@pytest.mark.parametrize("surroundings", SURROUNDINGS, ids=lambda surroundings: surroundings.__name__)
def test_every_command_ends_as_it_should(
    surroundings: Surroundings, command: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "locked").mkdir(exist_ok=True)
    surroundings(command, place, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda changes: " ".join(changes.values()),
)
def test_a_process_with_another_encoding(changes: dict[str, str], place: Path) -> None:
    call = ["search", "run", "pics", f"pics/a/{UNUSUAL_NAME}", "--top", "1"]
    options: dict[str, Any] = {"cwd": place, "env": environment(**changes), "capture_output": True, "timeout": 240}
    done = subprocess.run([*COMMAND, *call, "--json"], **options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.decode("ascii"))["results"][0]["neighbors"][0]["id"]
    assert found.encode("utf-8", "surrogateescape").decode() == f"a/{UNUSUAL_NAME}"
    done = subprocess.run([*COMMAND, *call], **options)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert b".png  similarity" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("command", ["doctor", "train", "demo", "export"])
def test_a_process_of_a_user_without_name_and_home(command: str, place: Path) -> None:
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    env = environment(PYTHONDONTWRITEBYTECODE="1")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PAIRSIM_DATA", "USER", "LOGNAME"):
        env.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("run", "data"):
            shutil.copytree(place / name, Path(folder, name))
        Path(folder).chmod(0o777)
        options: dict[str, Any] = {"cwd": folder, "env": env, "capture_output": True, "text": True, "timeout": 240}
        if subprocess.run([*user, sys.executable, "-c", "import torch, pairsim"], **options).returncode != 0:
            pytest.skip("another user cannot start this Python")
        done = subprocess.run([*user, *COMMAND, *arguments(command, out=command)], **options)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_text_has_escapes_for_other_characters(place: Path) -> None:
    call = [word for word in arguments("compare") if word != "--json"]
    assert "\\u4e2d.png" in outcome(call, place, "cp1252")[1]
