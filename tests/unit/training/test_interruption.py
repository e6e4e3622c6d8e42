"""A run that is interrupted at any step, and continued, ends with exactly the files of an undisturbed run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sealed_files import content_of
from small_runs import dropout_model, last_state, random_images
from states import assert_same

from pairsim import Callback, TrainConfig, Trainer
from pairsim.training import EpochRecord, History

SAME_FILES = ("log.jsonl", "best_model.pt", "model/model.safetensors", "model/config.json")


class InterruptAt(Callback):
    """Interrupts after some step, or in the validation after some epoch."""

    def __init__(self, step: int | None = None, epoch: int | None = None) -> None:
        self._step = step
        self._epoch = epoch
        self.ended: bool = False

    def on_step_end(self, trainer: Trainer, step: int) -> None:
        if step == self._step:
            trainer.interrupt()

    def on_epoch_end(self, trainer: Trainer, record: EpochRecord) -> None:
        if record.epoch == self._epoch:
            trainer.interrupt()

    def on_fit_end(self, trainer: Trainer, history: History) -> None:
        self.ended = True


def trainer(out: Path | None, *callbacks: Callback, **settings: Any) -> Trainer:
    config = TrainConfig(out=out, batch_size=20, epochs=2, **{"precision": "fp32", **settings})
    return Trainer(dropout_model(), config, train=random_images(), callbacks=callbacks)


READ_BY_WORKERS: list[dict[str, Any]] = [
    {"objective": "all-pairs", "resident": False, **settings}
    for settings in (
        {"num_workers": 0, "scheduler": "none", "grad_accumulation": 2, "ema_decay": 0.9},
        {"num_workers": 1, "scheduler": "plateau", "augment": "affine"},
        {"num_workers": 4, "scheduler": "cosine", "augment": "crop", "checkpoint_steps": 1},
        {"num_workers": 1, "scheduler": "onecycle", "objective": "pairs", "num_pairs": 100, "augment": "affine"},
    )
]


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "all-pairs", "ema_decay": 0.9},
        {"objective": "pairs", "num_pairs": 100, "grad_accumulation": 2, "checkpoint_steps": 2},
        *(pytest.param(settings, marks=pytest.mark.slow) for settings in READ_BY_WORKERS),
    ],
)
def test_an_interrupted_run_equals_an_undisturbed_one_at_every_step(tmp_path: Path, settings: dict[str, Any]) -> None:
    whole = trainer(tmp_path / "whole", **settings)
    whole.fit()
    steps = whole._state.step
    assert steps >= 4
    for step in range(1, steps + 1):
        out, stop = tmp_path / f"run-{step}", InterruptAt(step)
        with pytest.raises(KeyboardInterrupt, match=rf"training ended at step {step}, batch \d+ of epoch \d\. A check"):
            trainer(out, stop, **settings).fit()
        assert not stop.ended
        assert last_state(out)["step"] == step
        trainer(out, **settings).fit()
        assert_same(last_state(tmp_path / "whole"), last_state(out))
        for name in SAME_FILES:
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), (step, name)
        configs = (content_of(folder / "config.json") for folder in (out, tmp_path / "whole"))
        assert len({json.dumps({**config, "out": None}) for config in configs}) == 1
    print(f"{steps} steps interrupted, {steps} runs equal")


def test_an_interruption_during_validation_ends_after_the_checkpoint_of_the_epoch(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="training ended at step 3, batch 0 of epoch 2"):
        trainer(tmp_path / "run", InterruptAt(epoch=1)).fit()
    assert last_state(tmp_path / "run")["next"] == (1, 0)


def test_without_a_run_folder_it_says_that_nothing_is_saved() -> None:
    interrupted = trainer(None, InterruptAt(2))
    with pytest.raises(KeyboardInterrupt, match=r"step 2, .*Nothing is saved without config\.out\."):
        interrupted.fit()
    assert len(interrupted.fit()) == 2  # the request was for that time only


def test_weights_that_are_not_finite_are_not_saved_on_interruption(tmp_path: Path) -> None:
    from pairsim.errors import TrainingError

    class Poison(InterruptAt):
        def on_step_end(self, trainer: Trainer, step: int) -> None:
            super().on_step_end(trainer, step)
            if step == 2:
                trainer.model.projection.weight.data.fill_(float("nan"))

    with pytest.raises((TrainingError, KeyboardInterrupt), match="found NaN or infinity by batch 2") as caught:
        trainer(tmp_path / "run", Poison(2)).fit()
    assert caught.type is TrainingError
    assert not (tmp_path / "run" / "checkpoints").exists()
