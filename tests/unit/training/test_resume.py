"""An interrupted and resumed run ends with exactly the same checkpoint, log and model as a complete run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_runs import CutOff, CutOffError, dropout_model, last_state, random_images
from states import assert_same
from torch.utils.data import Dataset

from pairsim import Callback, TrainConfig, Trainer
from pairsim.training import EpochRecord


def train(out: Path, settings: dict[str, Any], cut: int | None = None) -> None:
    config = TrainConfig(out=out, batch_size=8, epochs=3, **settings)
    callbacks = () if cut is None else (CutOff(cut),)
    Trainer(dropout_model(), config, train=random_images(), callbacks=callbacks).fit()


SETTINGS: list[dict[str, Any]] = [
    {"objective": "all-pairs", "precision": "fp32"},
    {"objective": "all-pairs", "precision": "bf16", "ema_decay": 0.9},
    {"objective": "pairs", "num_pairs": 50, "precision": "fp32", "optimizer": "sgd", "scheduler": "cosine"},
    {"objective": "pairs", "num_pairs": 50, "optimizer": "adamw", "grad_accumulation": 2, "grad_clip": 0.5},
    {"objective": "pairs", "num_pairs": 50, "scheduler": "none", "negatives": "instance", "channels_last": False},
    {"objective": "all-pairs", "augment": "affine", "resident": True},
    {"objective": "all-pairs", "memory_size": 24, "hard_pairs": 1.0, "prior": 0.3},
    {"objective": "all-pairs", "ema_decay": 0.9, "batch_norm_batches": 2},
    {"objective": "all-pairs", "freeze": "0,1", "backbone_learning_rate": 1e-3, "ema_decay": 0.9},
    {"objective": "pairs", "num_pairs": 50, "freeze": "backbone", "scheduler": "onecycle"},
    {"objective": "all-pairs", "optimizer": "muon", "precision": "bf16"},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("cut", "checkpoint_steps"), [(4, 3), (9, None)])
def test_resumed_run_equals_uninterrupted(
    tmp_path: Path, settings: dict[str, Any], cut: int, checkpoint_steps: int | None
) -> None:
    complete, interrupted = tmp_path / "complete", tmp_path / "interrupted"
    settings = {**settings, "checkpoint_steps": checkpoint_steps}
    train(complete, settings)
    with pytest.raises(CutOffError):
        train(interrupted, settings, cut=cut)
    train(interrupted, settings)
    assert_same(last_state(complete), last_state(interrupted))
    assert (complete / "log.jsonl").read_bytes() == (interrupted / "log.jsonl").read_bytes()
    weights = Path("model/model.safetensors")
    assert (complete / weights).read_bytes() == (interrupted / weights).read_bytes()


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    steps: list[int] = []

    class Count(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            steps.append(step)

    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=3, **SETTINGS[0])
    history = Trainer(dropout_model(), config, train=random_images(), callbacks=[Count()]).fit()
    assert steps == []
    assert len(history) == 3


def test_resume_never_starts_again(tmp_path: Path) -> None:
    train(tmp_path / "run", SETTINGS[0])
    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=2, **SETTINGS[0])
    assert len(Trainer(dropout_model(), config, train=random_images()).fit(resume="never")) == 2


def test_epochs_can_be_added_if_the_schedule_does_not_depend_on_them(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"objective": "all-pairs", "scheduler": "plateau", "batch_size": 8}
    short = TrainConfig(out=tmp_path / "a", epochs=2, **settings)
    Trainer(dropout_model(), short, train=random_images()).fit()
    longer = TrainConfig(out=tmp_path / "a", epochs=4, **settings)
    assert len(Trainer(dropout_model(), longer, train=random_images()).fit()) == 4


def test_a_resumed_run_knows_the_best_loss_so_far(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 8, "learning_rate": 0.3, "scheduler": "none"}

    def run(*callbacks: Callback) -> list[EpochRecord]:
        config = TrainConfig(out=tmp_path / "run", **settings)
        return list(Trainer(dropout_model(), config, train=random_images(), callbacks=callbacks).fit())

    with pytest.raises(CutOffError):
        run(CutOff(4 * 7 - 1))
    records = run()
    losses = [record.val_loss for record in records if record.val_loss is not None]
    assert [record.best for record in records] == [loss == min(losses[: n + 1]) for n, loss in enumerate(losses)]
    first_resumed = 3
    assert not all(record.best for record in records[first_resumed:])
    assert min(losses[:first_resumed]) < losses[first_resumed]  # which a run that begins here would take for the best


def test_a_run_that_was_stopped_stays_stopped(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            trainer.stop()

    config = TrainConfig(out=tmp_path / "run", batch_size=8, epochs=3, **SETTINGS[0])
    for callbacks in ([Stop()], []):  # the same command again
        assert len(Trainer(dropout_model(), config, train=random_images(), callbacks=callbacks).fit()) == 1


class ReadOneByOne(Dataset[Any]):
    """The same images in a dataset that a trainer does not know to be in memory."""

    def __init__(self) -> None:
        self.images = random_images()
        self.targets = self.images.targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index]


def test_a_run_can_be_resumed_with_its_images_in_another_place(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 8, "epochs": 3, "augment": "affine", "precision": "fp32"}

    def run(name: str, cut: int | None = None, **where: Any) -> None:
        config = TrainConfig(out=tmp_path / name, **settings, **where)
        callbacks = () if cut is None else (CutOff(cut),)
        Trainer(dropout_model(), config, train=ReadOneByOne(), callbacks=callbacks).fit()

    run("complete", resident=True)
    with pytest.raises(CutOffError):
        run("interrupted", cut=9, resident=True)
    with pytest.raises(CutOffError):
        run("interrupted", cut=16, resident=False, num_workers=1)
    run("interrupted", resident=None, num_workers=0, memory_budget_mb=1, cache_dir=tmp_path / "cache")
    assert_same(last_state(tmp_path / "complete"), last_state(tmp_path / "interrupted"))
    assert (tmp_path / "complete" / "log.jsonl").read_bytes() == (tmp_path / "interrupted" / "log.jsonl").read_bytes()
