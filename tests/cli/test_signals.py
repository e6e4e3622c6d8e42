"""Ctrl-C, SIGTERM and SIGHUP: training ends at its next step, anything else at once, without a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from picture_files import write_pictures
from run_command import COMMAND, environment, here
from small_models import small_model

from pairsim import Trainer
from pairsim.cli import signals

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
INTERRUPTED = f"pairsim: interrupted: {signals.INTERRUPTED}\n"
AT_STEP = (
    "pairsim: interrupted: training ended at step {step}, batch {step} of epoch 1. A checkpoint is saved: "
    "the same command with --resume auto continues from it."
)


@pytest.fixture(autouse=True)
def _not_ignored() -> Iterator[None]:
    """As in a terminal; a process that runs in the background, or by nohup, and those that it starts ignore some."""
    before = {number: signal.getsignal(number) for number in STATUS}
    for number in STATUS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Signals are caught in this process; where it would end at once, the status is noted in place of that."""
    ended: list[int] = []
    for name in ("received", "at_step", "was_called", "may_raise"):
        monkeypatch.setattr(signals._Next, name, getattr(signals._Next, name))
    monkeypatch.setattr(os, "_exit", ended.append)
    signals.catch_signals()
    return ended


@pytest.mark.parametrize("number", STATUS)
def test_the_first_signal_interrupts_and_the_second_ends(number: int, caught: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert caught == []
    assert signals.exit_status() == STATUS[signal.Signals(number)]
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert caught == [STATUS[signal.Signals(number)]]


def test_a_signal_after_the_command_ends_at_once(caught: list[int]) -> None:
    signals.expect_no_more()
    signal.raise_signal(signal.SIGTERM)
    assert caught == [143]


def test_a_signal_that_is_ignored_stays_ignored(caught: list[int]) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.catch_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_after_the_last_step_is_not_lost(caught: list[int]) -> None:
    calls: list[str] = []
    signals.at_next_step(lambda: calls.append("end"))
    signal.raise_signal(signal.SIGTERM)
    assert calls == ["end"]
    with pytest.raises(KeyboardInterrupt):
        signals.at_once()
    signals.at_once()


@pytest.mark.parametrize("number", STATUS)
def test_training_ends_at_the_next_step(
    number: int, caught: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signalled(trainer: Trainer) -> None:
        after_update(trainer)
        if trainer._state.step == 3:
            signal.raise_signal(number)

    after_update = Trainer._after_update
    monkeypatch.setattr(Trainer, "_after_update", signalled)
    call = ("train", "digits", "--out", "run", "--epochs", "2", "--batch-size", "64", "--no-report", "--json")
    done = here(*call, cwd=tmp_path)
    assert (done.status, done.out) == (STATUS[signal.Signals(number)], "")
    assert done.err.splitlines()[-1] == AT_STEP.format(step=3)
    assert (tmp_path / "run" / "checkpoints" / "step-000000003").is_dir()
    assert caught == []


def test_a_second_signal_does_not_wait_for_the_step(
    caught: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hung(trainer: Trainer) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal did not end it")

    monkeypatch.setattr(Trainer, "_after_update", hung)
    done = here("train", "digits", "--out", "run", "--epochs", "1", "--no-report", cwd=tmp_path)
    assert (done.status, done.err.splitlines()[-1] + "\n") == (130, INTERRUPTED)
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize("ending", [".npz", ".csv"])
def test_encode_leaves_the_old_file_or_none(
    ending: str, caught: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model().save_pretrained(tmp_path / "run")
    write_pictures(tmp_path / "pics", ["0.png", "1.png"])
    out = tmp_path / "out" / f"embeddings{ending}"
    call = ("encode", "run", "pics", "--out", out, "--json")
    assert here(*call, cwd=tmp_path).status == 0
    before, sync = out.read_bytes(), os.fsync

    def signalled(handle: int) -> None:  # everything is written, and not renamed yet
        sync(handle)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(os, "fsync", signalled)
    done = here(*call, cwd=tmp_path)
    assert (done.status, done.out, done.err.splitlines()[-1] + "\n") == (143, "", INTERRUPTED)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.read_bytes() == before


# --- in processes of their own ---

WHILE_IMPORTING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            try:
                signal.raise_signal(signal.{name})
            except KeyboardInterrupt:  # as packages do that go on without another
                pass
sys.meta_path.insert(0, Finder())
from pairsim.cli import main
sys.argv = ["pairsim", *{call}]
main()
"""


@pytest.mark.parametrize(
    ("module", "call"), [("cyclopts", []), ("pairsim.cli.tools.completion", []), ("json", ["doctor"])]
)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_importing_ends_without_a_traceback(
    module: str, call: list[str], name: str, tmp_path: Path
) -> None:
    code = WHILE_IMPORTING.format(module=module, name=name, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240
    )
    status = STATUS[signal.Signals[name]]
    assert (done.returncode, done.stdout, done.stderr) == (status, "", INTERRUPTED)


def test_a_signal_while_the_process_ends_is_quiet(tmp_path: Path) -> None:
    code = (
        "import atexit, signal, sys\n"
        "atexit.register(lambda: signal.raise_signal(signal.SIGINT))\n"
        "from pairsim.cli import main\n"
        "sys.argv = ['pairsim', '--version']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stderr) == (130, "")


def signal_when(
    ready: Callable[[], bool], call: list[str], cwd: Path, *numbers: int, within_s: float = 60
) -> tuple[int, str]:
    """Run a command in a process, send signals when it is ready, and return its status and what it said."""
    process = subprocess.Popen(
        [*COMMAND, *call], cwd=cwd, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lines.extend, args=(process.stderr,))
    reader.start()
    try:
        deadline = time.monotonic() + 240
        while not ready():
            assert process.poll() is None, lines
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.3)
        status = process.wait(timeout=within_s)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()
    return status, "".join(lines)


@pytest.mark.slow
def test_a_run_in_a_process_is_ended_twice_and_continued(tmp_path: Path) -> None:
    for name, brightest in (("a", 60), ("b", 255)):
        write_pictures(tmp_path / "data" / name, [f"{number}.png" for number in range(40)], brightest=brightest)
    call = ["train", "data", "--epochs", "6", "--batch-size", "8", "--no-report", "--num-workers", "2"]
    call += ["--objective", "pairs", "--num-pairs", "200", "--no-resident"]

    def log_lines(run: str) -> int:
        log = tmp_path / run / "log.jsonl"
        return len(log.read_text().splitlines()) if log.exists() else 0

    numbers = signal.SIGTERM, signal.SIGINT
    for epochs, number in zip((1, 3), numbers, strict=True):
        status, said = signal_when(
            lambda epochs=epochs: log_lines("run") >= epochs,  # type: ignore[misc]
            [*call, "--out", "run"], tmp_path, number,
        )  # fmt: skip
        assert status == STATUS[number]
        assert "Traceback" not in said
        assert "pairsim: interrupted: training ended at step" in said.splitlines()[-1]
    assert log_lines("run") < 6
    for out in ("run", "whole"):
        done = subprocess.run([*COMMAND, *call, "--out", out], cwd=tmp_path, env=environment(), capture_output=True)
        assert done.returncode == 0
    for name in ("log.jsonl", "best_model.pt", "model/model.safetensors", "model/config.json", "data.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert len(json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])) > 1
