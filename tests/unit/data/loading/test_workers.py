from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import small_model
from torch.utils.data import Dataset

from pairsim.data.image_sets import ImageFiles
from pairsim.data.loading.batches import SequentialBatches
from pairsim.data.loading.loader import BatchLoader, num_workers
from pairsim.data.loading.resident import read_through
from pairsim.data.loading.workers import read_by_workers, shared, why_no_workers
from pairsim.encoding.datasets import encode_dataset
from pairsim.errors import DataError, ImageReadError

FILES = ImageFiles(["a.png", "b.png"], [0, 1])


class Numbers(Dataset[Any]):
    """Items of a class of a module, with whatever else a dataset holds."""

    def __init__(self, **held: Any) -> None:
        self.held = held

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return torch.full((1, 4, 4), float(index)), 0


class Fifth(Numbers):
    """Something happens at item 5."""

    def __getitem__(self, index: int) -> Any:
        if index == 5:
            self.happens()
        return super().__getitem__(index)

    def happens(self) -> None:
        raise NotImplementedError


class Ending(Fifth):
    def happens(self) -> None:
        time.sleep(0.3)  # so that the other process is between items
        os._exit(3)


class Killed(Fifth):
    def happens(self) -> None:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Fifth):
    def happens(self) -> None:
        time.sleep(1000)


class Deaf(Fifth):
    """It does not end when it is asked to."""

    def happens(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)


class HangingAtOnce(Numbers):
    def __getitems__(self, indices: list[int]) -> Any:
        time.sleep(1000)


class Slow(Numbers):
    def __getitem__(self, index: int) -> Any:
        time.sleep(0.4)
        return super().__getitem__(index)


class Failing(Fifth):
    def happens(self) -> None:
        raise self.held["error"]


def read(dataset: Any, workers: int = 1) -> list[Any]:
    return list(BatchLoader(dataset, SequentialBatches(np.arange(8), 4), num_workers=workers).epoch(0))


@pytest.fixture
def spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are spawned, from a program that has no file, such as a notebook."""
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


def of_main(name: str, monkeypatch: pytest.MonkeyPatch) -> type:
    """A class that pickle finds in the main module."""
    kind = type(name, (Numbers,), {"__module__": "__main__", "__qualname__": name})
    monkeypatch.setattr(sys.modules["__main__"], name, kind, raising=False)
    return kind


@pytest.mark.usefixtures("spawned")
@pytest.mark.parametrize(
    "held",
    [
        {},
        {"transform": str.upper},
        {"pixels": np.zeros((2, 2)), "images": torch.zeros(3)},
        {"lock": multiprocessing.Lock()},
    ],
    ids=lambda held: " ".join(held),
)
def test_datasets_of_modules_are_read_by_processes(held: dict[str, Any]) -> None:
    assert why_no_workers(Numbers(**held)) is None
    assert why_no_workers(FILES) is None
    assert num_workers(Numbers(**held), 3) == 3


@pytest.mark.usefixtures("spawned")
@pytest.mark.parametrize(
    "held",
    [{"transform": lambda image: image}, {"file": threading.Lock()}, {"values": (number for number in range(3))}],
    ids=lambda held: " ".join(held),
)
def test_what_pickle_cannot_hold_is_read_by_this_process(held: dict[str, Any]) -> None:
    reason = why_no_workers(Numbers(**held))
    assert reason is not None
    assert reason.startswith("the dataset cannot be sent to others (")
    assert reason.endswith("Use functions and classes of a module, not lambdas and local ones")
    with pytest.warns(
        UserWarning, match=r"^Images are read by this process alone: the dataset .*, or ask for 0 workers\.$"
    ):
        assert num_workers(Numbers(**held), None) == 0


@pytest.mark.usefixtures("spawned")
def test_classes_of_a_notebook_are_read_by_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "others could not import Own from the main program. Move it to a module"
    assert why_no_workers(of_main("Own", monkeypatch)()) == reason
    assert why_no_workers(Numbers(inside=[of_main("Own", monkeypatch)()])) == reason
    assert num_workers(of_main("Own", monkeypatch)(), 0) == 0  # asked for: no warning


@pytest.mark.usefixtures("spawned")
def test_classes_of_a_script_are_imported_unless_they_are_behind_its_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'class Above: pass\nif __name__ == "__main__":\n    class Within: pass\n'
    (tmp_path / "script.py").write_text(text)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "script.py"), raising=False)
    assert why_no_workers(of_main("Above", monkeypatch)()) is None
    assert why_no_workers(of_main("Within", monkeypatch)()) == (
        "others could not import Within from the main program. Move it to a module"
    )
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="package.__main__"))
    assert why_no_workers(FILES) is None  # as of python -m package, which others do not run


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_scripts_without_a_guard_are_not_run_again(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str | None] = []
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: method)
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    script = tmp_path / "script.py"
    text = '{look}\ndef work():\n    {look}\nwork()\nif __name__ == "__main__":\n    {look}\n    work()\n'
    text = text.format(look="look()")
    script.write_text(text)
    vars(main).update(__file__=str(script), look=lambda: reasons.append(why_no_workers(FILES)))
    exec(compile(text, str(script), "exec"), vars(main))
    without = None if method == "fork" else (
        'others would run the whole script again. Put what it does below `if __name__ == "__main__":`'
    )  # fmt: skip
    assert reasons == [without, without, None, None]


@pytest.mark.usefixtures("spawned")
def test_every_way_to_read_asks_first() -> None:
    unsendable = Numbers(transform=lambda image: image)
    with pytest.warns(UserWarning, match="read by this process alone"):
        assert len(torch.cat(list(read_through(unsendable, workers=2)))) == 8
    with pytest.warns(UserWarning, match="read by this process alone"):
        assert len(encode_dataset(small_model(4), unsendable, workers=2)) == 8


def test_threads_of_a_script_without_a_guard_ask_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str | None] = []
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    main, script = ModuleType("__main__"), tmp_path / "script.py"
    monkeypatch.setitem(sys.modules, "__main__", main)
    text = "from threading import Thread\nthread = Thread(target=look)\nthread.start()\nthread.join()\n"
    script.write_text(text)
    vars(main).update(__file__=str(script), look=lambda: reasons.append(why_no_workers(FILES)))
    exec(compile(text, str(script), "exec"), vars(main))
    assert reasons[0] is not None
    assert "run the whole script again" in reasons[0]


def test_workers_of_multiprocessing_start_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True))
    with pytest.warns(UserWarning, match="which must not start others"):
        assert num_workers(FILES, 2) == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["Ending", "Killed"])
def test_a_worker_that_ends_is_one_line_with_what_it_read(kind: str, workers: int) -> None:
    said = r"^A process that reads images ended while it read item 5 of the dataset, .*exited unexpect.*num_workers=0"
    with pytest.raises(DataError, match=said) as caught:
        read(globals()[kind](), workers)
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("kind", "workers"), [("Hanging", 1), ("Hanging", 2), ("Deaf", 2)])
def test_a_worker_that_hangs_is_ended_and_what_it_read_is_named(
    kind: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pairsim.data.loading.workers._MAX_ITEM_S", 1)
    batches = iter(BatchLoader(globals()[kind](), SequentialBatches(np.arange(8), 4), num_workers=workers).epoch(0))
    assert len(next(batches)[1]) == 4
    said = r"^Expected item 5 of the dataset to be read within 1 seconds, but the process that reads it hangs\. Replace"
    with pytest.raises(DataError, match=said):
        next(batches)
    assert not multiprocessing.active_children()


def test_a_picture_file_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.data.loading.workers._MAX_ITEM_S", 1)
    monkeypatch.setattr("pairsim.data.image_sets.read_image", lambda *_, **__: time.sleep(1000))
    files = ImageFiles([tmp_path / f"{k}.png" for k in range(8)], range(8), image_size=(8, 8))
    with pytest.raises(DataError, match=r"^Expected .*/0\.png to be read within 1 seconds"):
        read(files)


@pytest.mark.slow
def test_processes_that_do_nothing_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairsim.data.loading.workers._MAX_BATCH_S", 1)
    with pytest.raises(DataError, match=r"^Expected a batch of images within 1 seconds, but the processes that read"):
        read(HangingAtOnce(), 2)
    assert not multiprocessing.active_children()


def test_slow_work_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch takes longer than one image may take."""
    monkeypatch.setattr("pairsim.data.loading.workers._MAX_ITEM_S", 1)
    assert len(read(Slow(), 2)) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_a_dataset_name_the_item(workers: int) -> None:
    with pytest.raises(DataError) as caught:
        read(Failing(error=KeyError("a b")), workers)
    said = "Expected to read item 5 of the dataset, but it failed with KeyError: 'a b'. Check the dataset."
    assert str(caught.value) == said
    assert "in __getitem__" in caught.value.__notes__[0]
    with pytest.raises(ImageReadError, match=r"item 5 of the dataset, but it failed with FileNotFoundError: x"):
        read(Failing(error=FileNotFoundError("x")), workers)


def test_workers_that_cannot_be_started_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", fail)
    expected = (
        r"^Processes that read images could not be started: Resource temporarily unavailable\. Use smaller batches"
    )
    with pytest.raises(DataError, match=expected):
        read(Numbers())


def test_a_system_without_semaphores_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", fail)
    with pytest.raises(DataError, match=r"^Processes that read images could not be started: Read-only file system\."):
        read(Numbers())
    assert capfd.readouterr().err == ""


def test_shared_memory_that_is_full_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)\nmore")

    monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
    with pytest.raises(
        DataError, match=r"no shared memory for a batch \(unable .* \(28\)\)\. Use smaller batches, fewer"
    ):
        read(Numbers())
    assert len(read(Numbers(), workers=0)) == 2  # this process shares nothing


def test_processes_end_at_once_after_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for path in paths:
        path.write_text("no picture")
    with pytest.raises(ImageReadError, match="not of any known image format"):
        encode_dataset(small_model(), ImageFiles(paths, range(8), image_size=(8, 8), channels=1), workers=2)
    began = time.monotonic()
    gc.collect()
    assert time.monotonic() - began < 4.0  # PyTorch waits 5 seconds for each that has not ended
    assert not multiprocessing.active_children()


def test_other_errors_stay_as_they_are() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise RuntimeError("of the dataset")

    batches = read_by_workers(failing())
    assert next(batches) == 1
    with pytest.raises(RuntimeError, match=r"^of the dataset$"):
        next(batches)
    images, targets = torch.zeros(1), torch.zeros(2)
    assert shared(images, targets) == (images, targets)


SCRIPT = """
import multiprocessing, sys
import torch
from torch.utils.data import Dataset
from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer
from pairsim.encoding.datasets import encode_dataset

class Own(Dataset):
    targets = [number % 2 for number in range(24)]
    def __len__(self): return 24
    def __getitem__(self, number): return torch.full((1, 8, 8), number / 24), number % 2

def main():
    multiprocessing.set_start_method(sys.argv[1])
    model = SimilarityModel(EmbeddingNet(image_size=8, embedding_dim=8))
    config = TrainConfig(epochs=1, batch_size=8, resident=False, num_workers=1, progress=False)
    Trainer(model, config, train=Own()).fit()
    print(*encode_dataset(model, Own(), workers=1).shape, "workers" if multiprocessing.active_children() else "alone")
"""

GUARDED = 'if __name__ == "__main__":\n    main()'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "end", "by", "reason"),
    [
        ("spawn", "main()", "file", "run the whole script again"),
        ("forkserver", "main()", "file", "run the whole script again"),
        ("spawn", GUARDED, "file", ""),
        ("forkserver", GUARDED, "file", ""),
        ("spawn", "main()", "stdin", "could not import Own from the main program"),
        ("spawn", "main()", "-c", "could not import Own from the main program"),
    ],
)
def test_real_scripts(method: str, end: str, by: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"{SCRIPT}\n{end}\n")
    text = (tmp_path / "script.py").read_text()
    call = {"file": ["script.py"], "stdin": ["-"], "-c": ["-c", text]}[by]
    done = subprocess.run(
        [sys.executable, *call, method],
        cwd=tmp_path, input=text if by == "stdin" else None, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("24 8 ")
    lines = done.stderr.splitlines()
    assert len(lines) in ((2, 4) if reason else (0,))  # Python may print a warning once, and adds the line that warns
    assert all("UserWarning: Images are read by this process alone: others " in line for line in lines[::2])
    assert 2 * done.stderr.count(reason) == len(lines) or not reason


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_embeds_with_one_thread() -> None:
    code = (
        "import multiprocessing, torch\n"
        "from pairsim import EmbeddingNet, SimilarityModel\n"
        "model = SimilarityModel(EmbeddingNet(image_size=64))\n"
        "images = torch.zeros(64, 1, 64, 64, dtype=torch.uint8)\n"
        "def embed():\n"
        "    torch.set_num_threads(1)\n"
        "    model.encode(images)\n"
        "model.encode(images)\n"
        "process = multiprocessing.get_context('fork').Process(target=embed)\n"
        "process.start()\n"
        "process.join(60)\n"
        "print(process.exitcode)\n"
        "process.kill()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "0\n", done.stderr


def test_datasets_are_pickled_without_their_pixels() -> None:
    held = Numbers(pixels=np.zeros(10_000_000), images=torch.zeros(10_000_000))
    assert len(pickle.dumps(Numbers())) < 1000
    assert why_no_workers(held) is None
