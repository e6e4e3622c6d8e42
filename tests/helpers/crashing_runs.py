"""Runs that are killed: before each of their changes to the disk, in the middle of each write, or at random moments.

Run as a program, it prints what it tried as JSON. A fresh process is needed, as each run is a fork of this one, and
PyTorch cannot compute gradients in a fork of a process that has computed some.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from small_runs import dropout_model, random_images
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, adapt
from pairsim._common import storage
from pairsim.cli import app
from pairsim.data import ImageTensors
from pairsim.errors import RunError
from pairsim.models import pretrained
from pairsim.training.adaptation import class_figures, head_choice

RUN = Path("run")
NOT_COMPARED = {"timings.jsonl"}
"""Its times differ."""


def trainer(**settings: Any) -> None:
    config = TrainConfig(out=RUN, batch_size=8, epochs=2, precision="fp32", num_workers=0, progress=False, **settings)
    history = Trainer(dropout_model(), config, train=random_images(24)).fit()
    problems = [note for note in history.notes if "cannot be used" in note]
    assert not problems, problems


def adapted() -> None:
    torch.manual_seed(0)
    model = SimilarityModel(EmbeddingNet(nn.Conv2d(1, 8, 3), in_channels=1, image_size=8))
    config = TrainConfig(out=RUN, epochs=1, batch_size=16, precision="fp32", num_workers=0, progress=False)
    class_figures._NUM_RESAMPLES, head_choice._MAX_FOLDS = 10, 2  # the choice of a head took most of the time
    adapt(model, config, train=ImageTensors(random_images().images, list(range(10)) * 6), head="whiten")


def train_command(*more: str) -> Callable[[], None]:
    """The command on pictures, or on pairs of them; its words are parsed here, which takes as long as the training."""
    options = "--backbone reference --image-size 8 --epochs 1 --batch-size 8 --no-report --num-workers 0"
    words = ["train", "../data", "--out", str(RUN), *options.split(), "--val-fraction", "0.3", *more]
    parsed = app._parse(words)

    def work() -> None:
        app._parse = lambda tokens: parsed
        status = app.run(words)
        assert status == 0, status

    return work


SCENARIOS: dict[str, Callable[[], Callable[[], None]]] = {
    "pairs": lambda: partial(trainer, objective="pairs", num_pairs=24),
    "pairs, every step": lambda: partial(trainer, objective="pairs", num_pairs=24, checkpoint_steps=1),
    "all-pairs": lambda: partial(trainer, objective="all-pairs", ema_decay=0.9, early_stopping=1),
    "all-pairs, every 2 steps": lambda: partial(trainer, objective="all-pairs", checkpoint_steps=2),
    "adapt": lambda: adapted,
    "command": train_command,
    "command with pairs": lambda: train_command("--pairs", "../data/pairs.csv"),
}
"""What makes each kind of run ready, and returns what is run in a fork."""
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where runs are written: to wait for a drive changes nothing in what a killed process leaves."""


def write_pictures(folder: Path) -> None:
    rows = ["first,second,target"]
    for name, grey in (("dark", 40), ("bright", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), grey + number).save(folder / name / f"{number}.png")
            other = f"{(number + 1) % 10}.png"
            rows += [f"{name}/{number}.png,{kind}/{other},{int(kind == name)}" for kind in ("dark", "bright")]
    (folder / "pairs.csv").write_text("\n".join(rows))


# --- killing ---


class Killer:
    """Ends this process without any clean-up at one of its changes to the disk.

    Args:
        at: Number of the change, from 1; `None` to count only.
    """

    def __init__(self, at: int | None) -> None:
        self.num, self._at = 0, at
        self._synced, self._fsync = storage._synced, os.fsync
        sys.addaudithook(self._hook)
        storage._synced = self._torn
        os.fsync = self._before_fsync  # type: ignore[assignment]

    def _is_next(self) -> bool:
        self.num += 1
        return self.num == self._at

    def _step(self) -> None:
        if self._is_next():
            os.kill(os.getpid(), signal.SIGKILL)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"):
            path = arguments[0]
            if event in ("os.remove", "os.rmdir") and arguments[-1] != -1:  # a name in a folder that is being removed
                self._step()
                return
        else:
            return
        if not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith(os.path.abspath(RUN)):
            self._step()

    def _before_fsync(self, file: Any) -> None:
        self._step()
        self._fsync(file)

    @contextlib.contextmanager
    def _torn(self, path: Path) -> Iterator[Any]:
        killer = self

        class File:
            def __init__(self, file: Any) -> None:
                self._file = file

            def write(self, content: bytes) -> int:
                if killer._is_next():
                    self._file.write(memoryview(content)[: len(content) // 2])
                    self._file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                return int(self._file.write(content))

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

        with self._synced(path) as file:
            yield File(file)


def start(work: Callable[[], None], folder: Path, at: int | None = None, count: int | None = None) -> int:
    """Run in a fork of this process in a folder, where it is killed at a change; return its process.

    Args:
        work: What to run.
        folder: Where.
        at: Number of the change to be killed at.
        count: A file that the number of changes is written to instead.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        os.chdir(folder)
        with open("stderr.txt", "ab", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        killer = None if (at, count) == (None, None) else Killer(at)
        work()
        if killer is not None and count is not None:
            os.write(count, str(killer.num).encode())
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def errors(folder: Path) -> str:
    return (folder / "stderr.txt").read_text()[-1500:]


def content(folder: Path) -> dict[str, bytes | str]:
    """The files of a run by path, and its folders."""
    run = folder / RUN
    return {
        str(path.relative_to(run)): "a folder" if path.is_dir() else path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.name not in NOT_COMPARED
    }


def check_finished(work: Callable[[], None], folder: Path, expected: dict[str, bytes | str], where: str) -> list[str]:
    """Run the same command to the end and compare; return what is wrong."""
    if status_of(start(work, folder)) != 0:
        return [f"{where}: the same command failed: {errors(folder)}"]
    found = content(folder)
    differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return [f"{where}: other {', '.join(differing)}"] if differing else []


def loads(folder: Path) -> bool:
    """Whether there is no model yet, or it can be loaded."""
    try:
        if (folder / RUN / "model" / "config.json").exists():
            pretrained.load(folder / RUN, nn.Identity())
    except RunError:
        return False
    return True


def fresh(above: Path, name: str) -> Path:
    folder = above / name
    folder.mkdir()
    return folder


def run_whole(work: Callable[[], None], folder: Path) -> int:
    """Run to the end and return the number of changes; import here what the run did, so that no later fork has to."""
    reading, writing = os.pipe()

    def listed() -> None:
        work()
        Path("imported.txt").write_text("\n".join(sys.modules))

    assert status_of(start(listed, folder, count=writing)) == 0, errors(folder)
    for name in (folder / "imported.txt").read_text().splitlines():
        with contextlib.suppress(ImportError):  # a name that only stands for another module
            importlib.import_module(name)
    return int(os.read(reading, 20))


def crash_points(names: list[str]) -> dict[str, Any]:
    """Kill runs at each of their changes, and run the same command again."""
    tried, wrong, not_loaded = 0, list[str](), list[str]()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as text:
        above = Path(text)
        write_pictures(above / "data")
        for name in names:
            work = SCENARIOS[name]()
            whole = fresh(above, "whole")
            num = run_whole(work, whole)
            expected = content(whole)
            for at in range(1, num + 1):
                folder = fresh(above, "killed")
                assert status_of(start(work, folder, at)) == -signal.SIGKILL, errors(folder)
                where = f"{name}, {at} of {num}"
                not_loaded += [] if loads(folder) else [where]
                wrong += check_finished(work, folder, expected, where)
                tried += 1
                shutil.rmtree(folder)
            shutil.rmtree(whole)
            print(f"{name}: {num} changes, {tried} tried so far, {wrong}", file=sys.stderr, flush=True)
    return {"tried": tried, "wrong": wrong, "not_loaded": not_loaded}


def random_kills(num: int, seed: int) -> dict[str, Any]:
    """Kill runs at random moments, again and again until each has ended by itself."""
    chance, wrong, kills, not_loaded = random.Random(seed), list[str](), 0, list[str]()

    work = partial(trainer, objective="all-pairs", checkpoint_steps=1)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as text:
        above = Path(text)
        run_whole(work, fresh(above, "first"))
        whole = fresh(above, "whole")
        began = time.monotonic()
        assert status_of(start(work, whole)) == 0, errors(whole)
        seconds = time.monotonic() - began
        expected = content(whole)
        while kills < num:
            folder, ended = fresh(above, "killed"), False
            while not ended and kills < num:
                pid = start(work, folder)
                time.sleep(chance.uniform(0, 1.2 * seconds))
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
                if not ended:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    kills += 1
                    not_loaded += [] if loads(folder) else [f"kill {kills}"]
            wrong += check_finished(work, folder, expected, f"after {kills} kills")
            shutil.rmtree(folder)
    return {"tried": kills, "wrong": wrong, "not_loaded": not_loaded}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenario", action="append", default=[])
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result = random_kills(given.kills, 0) if given.kills else crash_points(given.scenario or [*SCENARIOS])
    print(json.dumps(result))
