"""Pipes, devices, files and folders where a command expects something else, and folders that are read-only."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from folder_trees import locked
from run_command import failure, here


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    """Fail if the body hangs, as on a pipe that nothing writes to."""

    def fail(*_: object) -> None:
        raise AssertionError("It hangs.")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


LONG = "x" * 300
READ = {
    "model": ["compare {} a.png b.png", "app {}", "card {}", "export {} --out x.onnx", "evaluate {} data"],
    "picture": ["compare run {} pics/b/0.png", "search run pics {}"],
    "folder": ["search run {} pics/b/0.png", "duplicates {}", "encode run {} --out x.csv", "app run --gallery {}"],
    "data": ["train {} --out out/x", "evaluate run {}", "report run {} --out out/x.html"],
    "pairs": ["compare run --pairs {}", "evaluate run data --pairs {}", "calibrate run data --split test --pairs {}"],
    "config": ["train data --out out/x --config {}"],
    "weights": ["train data --out out/x --backbone resnet18 --weights {}"],
}
WRITTEN = {
    "file": ["duplicates pics --out {}", "card run --overwrite --out {}", "compare run --pairs pairs.csv --out {}"],
    "folder": ["train data --epochs 1 --out {}", "search run pics pics/b/0.png --save {}"],
}


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
@pytest.mark.parametrize("found", ["pipe", "/dev/null", "/dev/zero", "file", "file/below", LONG])
@pytest.mark.parametrize("kind", READ)
def test_other_things_than_what_is_read(kind: str, found: str, place: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(place / "pipe")
    (place / "file").write_text("one")
    for call in READ[kind]:
        with no_longer_than(20):
            failure(here(*call.format(found).split(), cwd=place), 2 if kind == "config" else 1)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
@pytest.mark.parametrize("found", ["pipe", "/dev/null", "a folder", "file/below", LONG])
@pytest.mark.parametrize("kind", WRITTEN)
def test_other_things_than_what_is_written(kind: str, found: str, place: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(place / "pipe")
    (place / "file").write_text("one")
    (place / "a folder").mkdir(exist_ok=True)
    (place / "a folder" / "other").write_text("one")
    (place / "pairs.csv").write_text("pics/b/0.png,pics/b/1.png\n")
    if (kind, found) == ("folder", "a folder"):
        return
    before = os.stat(place / found).st_mode if "below" not in found and found != LONG else None
    for call in WRITTEN[kind]:
        with no_longer_than(20):
            said = failure(here(*[word.format(found) for word in call.split()], cwd=place), 1)
        assert said.startswith(f"pairsim: Could not write {found}")
    assert before is None or os.stat(place / found).st_mode == before


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_run_that_is_read_only_is_evaluated(place: Path) -> None:
    (place / "run" / "evaluation.json").unlink(missing_ok=True)
    with locked(place / "run", mode=0o500):
        done = here("evaluate", "run", "data", "--json", cwd=place)
    assert done.status == 0
    assert done.json["num_images"] == 4
    said = done.err.splitlines()[-1]
    assert said.startswith("Not kept in the run: Could not write ")
    assert "run/evaluation.json: Permission denied." in said


@pytest.mark.parametrize(
    "call",
    [
        *(
            "train data --out out/r",
            "demo --out out/r",
            "encode run pics --out out/x.npz",
            "report run data --out out/x.html",
        ),
        *(
            "export run --out out/x.onnx",
            "search run pics pics/b/0.png --save out/g",
            "duplicates pics --out out/x.csv",
        ),
        "calibrate run data --split test",
    ],
)
def test_a_folder_that_is_read_only_fails_before_the_work(
    call: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("The work has begun.")

    for name in ("pairsim.Trainer", "pairsim.encode_pictures", "pairsim.find_duplicates", "pairsim.calibrate"):
        monkeypatch.setattr(name, fail)
    monkeypatch.setattr("pairsim.report.write_report", fail)
    monkeypatch.setattr("pairsim.export.export_onnx", fail)
    monkeypatch.setattr("pairsim.Gallery", fail)
    (place / "out").mkdir(exist_ok=True)
    with locked(place / "out", mode=0o500), locked(place / "run" / "model", mode=0o500):
        said = failure(here(*call.split(), cwd=place), 1)
    assert said.startswith(f"pairsim: Could not write {'run/model' if 'calibrate' in call else 'out/'}")
    assert "Permission denied" in said
