"""One training at a time writes to a run folder, and the other is told who does."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from pathlib import Path

import pytest
from filelock import FileLock
from held_folders import held
from small_runs import fit, random_images, reference_model
from torch import nn

from pairsim import EmbeddingNet, SimilarityModel, TrainConfig, Trainer, adapt
from pairsim.errors import RunError
from pairsim.training.checkpointing.run_lock import locked, training_in


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trainer(out: Path) -> Trainer:
    return Trainer(reference_model(), TrainConfig(out=out, epochs=2, batch_size=16), train=random_images())


def test_a_folder_in_use_is_not_changed_and_the_holder_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(random_images(), out=run, epochs=1)
    said = (
        r"^Expected .*run to be free, but process 123 on far, since 2026-01-02T03:04:05\+00:00, writes to it\. "
        r"Wait until that has ended, or use another folder\.$"
    )
    with held(run):
        before = content(run)
        for resume in ("auto", "never"):
            with pytest.raises(RunError, match=said):
                trainer(run).fit(resume=resume)
        with pytest.raises(RunError, match=said):
            trainer(run).save_current()
        model = SimilarityModel(EmbeddingNet(nn.Conv2d(1, 4, 3), in_channels=1, image_size=8))
        with pytest.raises(RunError, match=said):
            adapt(model, TrainConfig(out=run), train=random_images())
        assert content(run) == before
        (run / ".lock.json").unlink()
        with pytest.raises(RunError, match="but another process writes to it"):
            trainer(run).fit()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with held(tmp_path / "run") as process:
        with pytest.raises(RunError, match="but process 123 on far"), locked(tmp_path / "run"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(tmp_path / "run"):
            holder = json.loads((tmp_path / "run" / ".lock.json").read_text())
    assert holder["pid"] == os.getpid()
    assert set(holder) == {"pid", "host", "since"}


def test_the_whole_of_fit_is_locked(tmp_path: Path) -> None:
    run = tmp_path / "run"
    records = trainer(run).epochs()
    next(records)
    other = FileLock(run / ".lock", timeout=0)  # as of another process: not the one that this process shares
    with pytest.raises(TimeoutError):
        other.acquire()
    with pytest.raises(RunError, match=r"but another trainer of this process writes to it\."):
        trainer(run).fit()
    assert len(list(records)) == 1
    with other:
        pass
    trainer(run).fit()


def test_a_dropped_iterator_frees_the_folder(tmp_path: Path) -> None:
    for _ in trainer(tmp_path / "run").epochs():
        break
    trainer(tmp_path / "run").fit()


def test_the_block_may_lock_again(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        with training_in(tmp_path / "run"):
            pass
        with pytest.raises(TimeoutError):
            FileLock(tmp_path / "run" / ".lock", timeout=0).acquire()
        (tmp_path / "run" / "run.json").write_text("{}")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_the_lock_is_kept_until_the_last_block_ends(tmp_path: Path) -> None:
    outer, inner = locked(tmp_path), locked(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(outer)
        with inner:
            stack.close()
            assert (tmp_path / ".lock.json").exists()
            with pytest.raises(TimeoutError):
                FileLock(tmp_path / ".lock", timeout=0).acquire()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):  # it was there before
        pass
    assert tmp_path.is_dir()
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="run folder or empty, found other files"), locked(tmp_path):
        pass
    assert content(tmp_path) == {"thesis.txt": b"precious"}


def test_a_file_system_that_cannot_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("filelock.FileLock.acquire", fail)
    said = r"Expected to lock .*run, but: No locks available\. Use a folder on a file system with locks"
    with pytest.raises(RunError, match=said), locked(tmp_path / "run"):
        pass
